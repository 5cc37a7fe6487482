"""``hwnas search``: the best candidate under a latency limit, measured on the device in the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.co_search import given, require_unused, run_co_search
from hwnas.cli.console import emit, guarded, progress_bar, say, table, with_interval
from hwnas.cli.options import (
    BatchOption,
    BeamOption,
    CacheOption,
    CacheTokensOption,
    DevicesOption,
    FamilyOption,
    JsonOption,
    SeedOption,
    SourceTokensOption,
    SpaceOption,
    TargetTokensOption,
    ThreadsOption,
    VocabularyOption,
    WaitOption,
    WorkersOption,
    cache_folder,
    load,
    note_losses,
    workload_of,
)

if TYPE_CHECKING:
    from hwnas.families.base import Family
    from hwnas.finalists import Finalist, SearchLatency
    from hwnas.searching import SearchOutcome
    from hwnas.space import SearchSpace
    from latency_luts import LatencyLut

_OF_ONE_DEVICE = (
    "lut", "predictor", "method", "parents", "mutants", "crossovers", "finalists", "confidence", "margin", "exclude",
    "device", "measure", "rounds", "wait",
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
    supernet: Annotated[Path, typer.Option("--supernet", help="Checkpoint made by hwnas train.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the journals, search.json and winner.yml.")],
    lut: Annotated[Path | None, typer.Option("--table", help="Latency table made by hwnas profile.")] = None,
    predictor: Annotated[
        Path | None, typer.Option("--predictor", help="Instead: a model made by hwnas predictor fit.")
    ] = None,
    design: Annotated[
        Path | None,
        typer.Option("--co-search", help="Instead: search for an accelerator too, within this file's design space."),
    ] = None,
    latency_ms: Annotated[float | None, typer.Option(help="Hard limit on the latency.")] = None,
    energy_mj: Annotated[float | None, typer.Option(help="Hard limit on the energy, where the table has it.")] = None,
    params_m: Annotated[
        float | None, typer.Option(help="Hard limit on the parameters, all counted, in millions.")
    ] = None,
    peak_memory_mib: Annotated[
        float | None, typer.Option(help="Hard limit on weights, caches and activations, counted in fp32.")
    ] = None,
    data: Annotated[str, typer.Option("--data", help="g2p, or a folder made by hwnas data.")] = "g2p",
    method: Annotated[
        str, typer.Option(help="evolution (HAT's) or random (the baseline, at equal cost).")
    ] = "evolution",
    population: Annotated[int, typer.Option(min=1)] = 125,
    parents: Annotated[int, typer.Option(min=1)] = 25,
    mutants: Annotated[int, typer.Option(min=0)] = 50,
    crossovers: Annotated[int, typer.Option(min=0)] = 50,
    iterations: Annotated[int, typer.Option(min=0)] = 30,
    mutation_probability: Annotated[float, typer.Option()] = 0.3,
    validation_pairs: Annotated[
        int | None, typer.Option(min=1, help="Score on this many validation pairs; else on all, as HAT does.")
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

    With --co-search, pairs of a network and a simulated accelerator that no other betters in loss, latency
    and energy (NSGA-II: --population pairs in each of --iterations generations).
    """
    import torch

    from hwnas.changed import note_of
    from hwnas.data import load_task
    from hwnas.errors import SearchError
    from hwnas.latency import TableLatency
    from hwnas.limits import CandidateLimits
    from hwnas.profiling import require_target
    from hwnas.search.evolution import EvolutionSettings
    from hwnas.search.journal import read_candidates
    from hwnas.search.nsga2 import Nsga2Settings
    from hwnas.searching import JOURNAL, SearchRequest, search_and_measure
    from hwnas.training import load_supernet
    from profiler import load_devices

    torch.set_num_threads(threads)
    if method not in ("evolution", "random"):
        raise SearchError(f"--method {method!r} is unknown; known: evolution, random")
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
        run_co_search(
            loaded,
            kind,
            workload_of(loaded.workload, **sizes),
            design,
            supernet,
            data,
            out,
            settings=Nsga2Settings(
                population, iterations, mutation_probability if given(context, "mutation_probability") else None
            ),
            limits={
                "latency_ms": latency_ms,
                "energy_mj": energy_mj,
                "params_m": params_m,
                "peak_memory_mib": peak_memory_mib,
            },
            validation_pairs=validation_pairs,
            seed=seed,
            devices=devices,
            cache=cache_folder(cache),
            workers=workers,
            json=json,
        )
        return
    content, latency = _latency(loaded, kind, lut, predictor, sizes)
    if energy_mj is not None and not isinstance(latency, TableLatency):
        raise SearchError("--energy-mj needs a --table that has energies: a predictor knows latencies alone")
    limits = CandidateLimits(
        loaded,
        kind,
        latency.workload,
        latency,
        latency_ms=latency_ms,
        params_m=params_m,
        peak_memory_mib=peak_memory_mib,
        energy=latency.metric("energy_mj") if energy_mj is not None and isinstance(latency, TableLatency) else None,
        energy_mj=energy_mj,
    )
    limits.check()
    chosen = _measured_on(content, device)
    if measure and chosen is None:
        why = "name a --device to measure them" if content is None else f"the table is {content.origin}"
        say(f"note: the finalists are not measured: {why}")
    here = load_devices(devices).get(chosen) if measure and chosen is not None else None
    if here is not None and content is not None:
        require_target(content.target, here)
    task = load_task(data, say=say)
    settings = EvolutionSettings(population, parents, mutants, crossovers, iterations, mutation_probability)
    request = SearchRequest(
        method="random" if method == "random" else "evolution",
        settings=settings,
        seed=seed,
        validation_pairs=validation_pairs,
        finalists=finalists,
        rounds=rounds,
        margin=margin,
        confidence=confidence,
    )
    with progress_bar("searching") as searching, progress_bar("measuring finalists") as measuring:
        outcome = search_and_measure(
            loaded,
            kind,
            load_supernet(supernet, loaded, kind, task),
            task,
            content,
            limits,
            request,
            out,
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
    emit(outcome.as_dict(), json, lambda: _told(outcome, out))
    if outcome.winner is None:
        raise SystemExit(3)


def _latency(
    space: SearchSpace, family: Family, lut: Path | None, predictor: Path | None, sizes: Mapping[str, int | None]
) -> tuple[LatencyLut | None, SearchLatency]:
    """What predicts the latencies: a table, or a whole-model predictor (and then no table)."""
    from hwnas.latency import TableLatency
    from hwnas.predictors import FittedModel, PredictorLatency
    from hwnas.workload import Workload
    from latency_luts import LatencyLut, LutMismatchError

    if (lut is None) == (predictor is None):
        raise typer.BadParameter("give either --table or --predictor, or --co-search", param_hint="--table")
    if lut is not None:
        content = LatencyLut.load(lut)
        workload = workload_of(Workload.from_dict(content.workload), **sizes)
        latency = TableLatency(space, family, content, workload=workload)
        note_losses(content)
        return content, latency
    assert predictor is not None
    fitted = PredictorLatency(space, FittedModel.load(predictor))
    if workload_of(fitted.workload, **sizes) != fitted.workload:
        raise LutMismatchError(
            f"{predictor} is of another workload ({fitted.workload}); fit it with the one you ask about"
        )
    return None, fitted


def _measured_on(content: LatencyLut | None, device: str | None) -> str | None:
    """The device that finalists are measured on; ``None`` if nothing can be or none is named."""
    if content is None:
        return device
    return (device or content.target.device) if content.source == "measured" else None


def _measured(found: Finalist) -> str:
    if found.measured_ms is None:
        return "-" if found.failed is None else "not measured"
    return with_interval(found.measured_ms, found.interval_ms) + (" UNSTABLE" if found.status == "unstable" else "")


def _told(outcome: SearchOutcome, out: Path) -> str:
    energies = any(found.energy_mj is not None for found in outcome.finalists)
    rows = [
        [
            "*" if outcome.winner is not None and found.candidate == outcome.winner.candidate else "",
            found.candidate.key,
            f"{found.loss:.4f}",
            with_interval(found.predicted_ms, found.predicted_interval_ms),
            _measured(found),
            *(["-" if found.energy_mj is None else f"{found.energy_mj:.4g}"] if energies else []),
            "-" if found.peak_memory_mib is None else f"{found.peak_memory_mib:.3g}",
        ]
        for found in outcome.finalists
    ]
    lines = [
        f"{outcome.evaluations} candidates evaluated ({outcome.method}), limit: {outcome.limits}"
        + ("" if outcome.searched == outcome.limits else f" (searched: {outcome.searched})"),
        table(
            [
                *("", "candidate", "loss", "predicted ms", "measured ms"),
                *(["energy mJ"] if energies else []),
                "peak memory MiB (fp32)",
            ],
            rows,
        ),
    ]
    if outcome.predictions != "measured":
        lines.append(f"predicted latencies{' and energies' if energies else ''}: {outcome.predictions}")
    if outcome.drift is not None:
        lines.append(f"device now against the table's rounds: {outcome.drift - 1:+.1%}")
    lines += [f"not measured: {found.failed}" for found in outcome.finalists if found.failed is not None]
    if outcome.winner is None:
        lines.append("no finalist meets the limit as measured: raise --confidence or --margin, or profile anew")
    else:
        lines.append(f"winner: {out / 'winner.yml'}")
    return "\n".join(lines)
