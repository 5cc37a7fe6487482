"""``hwnas search``: the best candidate under a latency limit, measured on the device in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.co_search import require_unused, run_co_search
from hwnas.cli.console import emit, guarded, progress_bar, say
from hwnas.cli.options import (
    BatchOption,
    BeamOption,
    CacheOption,
    CacheTokensOption,
    DataOption,
    DevicesOption,
    FamilyOption,
    JsonOption,
    SeedOption,
    SourceTokensOption,
    SpaceOption,
    SupernetOption,
    TargetTokensOption,
    ThreadsOption,
    VocabularyOption,
    WaitOption,
    WorkersOption,
    cache_folder,
    load,
    workload_of,
)
from hwnas.cli.search_limits import devices_of, measured_on
from hwnas.cli.search_told import told

if TYPE_CHECKING:
    from hwnas.search.methods import Settings

_OF_ONE_DEVICE = (
    "luts", "runtime", "predictor", "method", "given_settings", "evaluations", "objective", "seeds", "baseline",
    "parents", "mutants", "crossovers", "finalists", "confidence", "margin", "exclude", "device", "measure", "rounds",
    "wait",
)  # fmt: skip
"""Options without a meaning where the accelerator is searched for too."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(
        epilog="Example: hwnas search --space g2p --table runs/x86.lut.jsonl --supernet runs/supernet.pt"
        " --latency-ms 0.5 --out runs/search"
    )(search)


@guarded
def search(
    context: typer.Context,
    space: SpaceOption,
    supernet: SupernetOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for the journals, search.json and winner.yml.")],
    luts: Annotated[
        list[Path] | None,
        typer.Option("--table", help="Latency table made by hwnas profile; the first is of what finalists run on."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", help="best: search for the runtime too; --table is the folder of their tables."),
    ] = None,
    predictor: Annotated[
        Path | None, typer.Option("--predictor", help="Instead: a model made by hwnas predictor fit.")
    ] = None,
    design: Annotated[
        Path | None,
        typer.Option("--co-search", help="Instead: search for an accelerator too, within this file's design space."),
    ] = None,
    latency_ms: Annotated[
        list[float] | None, typer.Option(help="Hard limit on the latency, one for each table in their order.")
    ] = None,
    energy_mj: Annotated[float | None, typer.Option(help="Hard limit on the energy, where the table has it.")] = None,
    params_m: Annotated[
        float | None, typer.Option(help="Hard limit on the parameters, all counted, in millions.")
    ] = None,
    peak_memory_mib: Annotated[
        float | None, typer.Option(help="Hard limit on weights, caches and activations, counted in fp32.")
    ] = None,
    data: DataOption = "g2p",
    method: Annotated[
        str,
        typer.Option(
            help="evolution (HAT's), random (the baseline), nsga2, linas, bayes, reinforce, regularised, local,"
            " exhaustive, or by gradients darts, gumbel, proxyless."
        ),
    ] = "evolution",
    evaluations: Annotated[
        int | None, typer.Option(min=1, help="Candidates to evaluate; else as many as the method's settings say.")
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(help="Search for a front of loss and these: latency_ms, energy_mj, params_m, peak_memory_mib."),
    ] = None,
    given_settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method, as batch=10; repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Searches to make, of this seed and the next ones.")] = 1,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Make random searches of equal cost beside them.")
    ] = False,
    population: Annotated[int | None, typer.Option(min=1, help="HAT's is 125.")] = None,
    parents: Annotated[int | None, typer.Option(min=1, help="HAT's are 25.")] = None,
    mutants: Annotated[int | None, typer.Option(min=0, help="HAT's are 50.")] = None,
    crossovers: Annotated[int | None, typer.Option(min=0, help="HAT's are 50.")] = None,
    iterations: Annotated[int | None, typer.Option(min=0, help="HAT's are 30.")] = None,
    mutation_probability: Annotated[float | None, typer.Option(help="HAT's is 0.3.")] = None,
    validation_pairs: Annotated[
        int | None, typer.Option(min=1, help="Score on this many validation pairs; else on all, as HAT does.")
    ] = None,
    subset: Annotated[
        Path | None,
        typer.Option(
            "--subset", help="Instead: on this subset, made by hwnas subset; the best in the end on all pairs."
        ),
    ] = None,
    finalists: Annotated[int, typer.Option(min=1, help="Best candidates to measure on the device in the end.")] = 5,
    confidence: Annotated[
        float | None,
        typer.Option(
            help="Hold the latency limit against what a measurement stays below so often; 0.95 unless --margin"
            " is given or the table knows no intervals."
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Instead: search this share below the latency limit; 0.02 where there are no intervals."),
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option("--exclude", help="Folder of another search: evaluate none of its candidates."),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="What to measure the finalists on; else the table's device.")
    ] = None,
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Measure the finalists.")] = True,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of that measurement at most.")] = 40,
    batch: BatchOption = None,
    beam: BeamOption = None,
    source_tokens: SourceTokensOption = None,
    target_tokens: TargetTokensOption = None,
    vocabulary: VocabularyOption = None,
    cache_tokens: CacheTokensOption = None,
    threads: ThreadsOption = 1,
    workers: WorkersOption = 1,
    seed: SeedOption = 0,
    devices: DevicesOption = None,
    cache: CacheOption = None,
    family: FamilyOption = None,
    wait: WaitOption = False,
    json: JsonOption = False,
) -> None:
    """Search a space for the lowest loss under hard limits. Run it again to resume.

    The loss is that of the validation data, with weights inherited from the SuperTransformer.

    With several tables a candidate meets the limit of each, and nsga2 and linas search a front of all latencies.

    With --runtime best a candidate has the latency of the runtime that is fastest for it: --table is the folder made
    by hwnas profile --runtime all, or several tables of one device and precision.

    With --co-search, pairs of a network and a simulated accelerator that no other betters in loss, latency
    and energy (NSGA-II: --population pairs in each of --iterations generations).
    """
    import torch

    from hwnas.changed import note_of
    from hwnas.data import load_task
    from hwnas.evaluators.subset_file import ChosenSubset
    from hwnas.profiling import on_runtime_of
    from hwnas.search.journal import read_candidates
    from hwnas.search.nsga2 import Nsga2Settings
    from hwnas.search.request import SearchRequest
    from hwnas.searching import JOURNAL, search_and_measure
    from hwnas.training import load_supernet
    from profiler import load_devices
    from profiler.devices import require_measures

    torch.set_num_threads(threads)
    evolution = {
        "population": population,
        "parents": parents,
        "mutants": mutants,
        "crossovers": crossovers,
        "iterations": iterations,
        "mutation_probability": mutation_probability,
    }
    settings = _settings(method, evolution, given_settings or (), evaluations)
    loaded, kind = load(space, family)
    sizes = {
        "batch": batch,
        "beam": beam,
        "source_tokens": source_tokens,
        "target_tokens": target_tokens,
        "vocabulary": vocabulary,
        "cache": cache_tokens,
    }
    if design is not None:
        require_unused(context, _OF_ONE_DEVICE)
        if len(latency_ms or ()) > 1:
            raise typer.BadParameter("give one with --co-search", param_hint="--latency-ms")
        run_co_search(
            loaded,
            kind,
            workload_of(loaded.workload, **sizes),
            design,
            supernet,
            data,
            out,
            settings=Nsga2Settings(
                125 if population is None else population,
                30 if iterations is None else iterations,
                mutation_probability,
            ),
            limits={
                "latency_ms": latency_ms[0] if latency_ms else None,
                "energy_mj": energy_mj,
                "params_m": params_m,
                "peak_memory_mib": peak_memory_mib,
            },
            validation_pairs=validation_pairs,
            subset=subset,
            seed=seed,
            devices=devices,
            cache=cache_folder(cache),
            workers=workers,
            json=json,
        )
        return
    asked = devices_of(
        loaded,
        kind,
        luts or (),
        predictor,
        sizes,
        latency_ms=latency_ms or (),
        energy_mj=energy_mj,
        params_m=params_m,
        peak_memory_mib=peak_memory_mib,
        runtime=runtime,
    )
    asked.limits.check()
    chosen = measured_on(asked.table, device)
    if measure and chosen is None:
        why = "name a --device to measure them" if asked.table is None else f"the table is {asked.table.origin}"
        say(f"note: the finalists are not measured: {why}")
    here = load_devices(devices).get(chosen) if measure and chosen is not None else None
    if here is not None:
        require_measures(here)
    if here is not None and device is None and asked.table is not None:
        here = on_runtime_of(asked.table.target, here)
    if here is not None:
        asked.require_targets(here)
    request = SearchRequest(
        method=method,
        settings=settings,
        seed=seed,
        validation_pairs=validation_pairs,
        finalists=finalists,
        rounds=rounds,
        margin=margin,
        confidence=confidence,
        objectives=None if objective is None else tuple(objective),
        seeds=seeds,
        baseline=baseline,
        subset=None if subset is None else ChosenSubset.load(subset),
    )
    task = load_task(data, say=say)
    with progress_bar("searching") as searching, progress_bar("measuring finalists") as measuring:
        outcome = search_and_measure(
            loaded,
            kind,
            load_supernet(supernet, loaded, kind, task),
            task,
            None if asked.runtimes else asked.table,
            asked.limits,
            request,
            out,
            elsewhere=asked.elsewhere,
            device=here,
            exclude=() if exclude is None else read_candidates(exclude / JOURNAL, loaded),
            cache=cache_folder(cache),
            searching=searching.update,
            measuring=measuring.update,
            waiting=say if wait else None,
            workers=workers,
            say=say,
        )
    for change in outcome.changed:
        say(note_of(change))
    emit(outcome.as_dict(), json, lambda: told(outcome, out))
    if outcome.winner is None:
        raise SystemExit(3)


def _settings(
    method: str, evolution: Mapping[str, float | None], more: Sequence[str], evaluations: int | None
) -> Settings:
    """The method's settings as given; ``random`` without a budget spends what evolution with these options would."""
    from hwnas.search.methods import settings_of

    given: dict[str, object] = {name: value for name, value in evolution.items() if value is not None}
    for setting in more:
        name, equals, value = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"{setting!r} is not like batch=10", param_hint="--set")
        given[name.strip()] = value.strip()
    if method == "random" and evaluations is None:
        method = "evolution"
    return settings_of(method, given, evaluations)
