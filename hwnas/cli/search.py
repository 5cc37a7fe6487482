"""``hwnas search``: the best candidate under a latency limit, measured on the device in the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    cache_folder,
    load,
    note_losses,
    workload_of,
)

if TYPE_CHECKING:
    from hwnas.searching import SearchOutcome


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(
        epilog="Example: hwnas search --space g2p --table runs/x86.lut.jsonl --supernet runs/supernet.pt"
        " --latency-ms 0.5 --out runs/search"
    )(search)


@guarded
def search(
    space: SpaceOption,
    lut: Annotated[Path, typer.Option("--table", help="Latency table made by hwnas profile.")],
    supernet: Annotated[Path, typer.Option("--supernet", help="Checkpoint made by hwnas train.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the journals, search.json and winner.yml.")],
    latency_ms: Annotated[float | None, typer.Option(help="Hard limit on the latency.")] = None,
    energy_mj: Annotated[float | None, typer.Option(help="Hard limit on the energy, where the table has it.")] = None,
    params_m: Annotated[
        float | None, typer.Option(help="Hard limit on the parameters, all counted, in millions.")
    ] = None,
    peak_memory_mib: Annotated[
        float | None, typer.Option(help="Hard limit on weights, caches and activations.")
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
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Measure the finalists.")] = True,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of that measurement at most.")] = 40,
    batch: BatchOption = None,
    beam: BeamOption = None,
    source_tokens: SourceTokensOption = None,
    target_tokens: TargetTokensOption = None,
    vocabulary: VocabularyOption = None,
    cache_tokens: CacheTokensOption = None,
    threads: ThreadsOption = 1,
    seed: SeedOption = 0,
    devices: DevicesOption = None,
    cache: CacheOption = None,
    family: FamilyOption = None,
    wait: WaitOption = False,
    json: JsonOption = False,
) -> None:
    """Search a space for the lowest validation loss under hard limits. Run it again to resume."""
    import torch

    from hwnas.changed import note_of
    from hwnas.data import load_task
    from hwnas.errors import SearchError
    from hwnas.latency import TableLatency
    from hwnas.limits import CandidateLimits
    from hwnas.profiling import require_target
    from hwnas.search.evolution import EvolutionSettings
    from hwnas.search.journal import read_candidates
    from hwnas.searching import JOURNAL, SearchRequest, search_and_measure
    from hwnas.training import load_supernet
    from hwnas.workload import Workload
    from latency_luts import LatencyLut
    from profiler import load_devices

    torch.set_num_threads(threads)
    if method not in ("evolution", "random"):
        raise SearchError(f"--method {method!r} is unknown; known: evolution, random")
    loaded, kind = load(space, family)
    content = LatencyLut.load(lut)
    workload = workload_of(
        Workload.from_dict(content.workload),
        batch=batch,
        beam=beam,
        source_tokens=source_tokens,
        target_tokens=target_tokens,
        vocabulary=vocabulary,
        cache=cache_tokens,
    )
    latency = TableLatency(loaded, kind, content, workload=workload)
    note_losses(content)
    limits = CandidateLimits(
        loaded,
        kind,
        workload,
        latency,
        latency_ms=latency_ms,
        params_m=params_m,
        peak_memory_mib=peak_memory_mib,
        energy=None if energy_mj is None else latency.metric("energy_mj"),
        energy_mj=energy_mj,
    )
    limits.check()
    if measure and content.source != "measured":
        say(f"note: the latencies of this table are {content.origin}, so the finalists are not measured")
    device = load_devices(devices).get(content.target.device) if measure and content.source == "measured" else None
    if device is not None:
        require_target(content.target, device)
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
            device=device,
            exclude=() if exclude is None else read_candidates(exclude / JOURNAL, loaded),
            cache=cache_folder(cache),
            searching=searching.update,
            measuring=measuring.update,
            waiting=say if wait else None,
        )
    for change in outcome.changed:
        say(note_of(change))
    emit(outcome.as_dict(), json, lambda: _told(outcome, out))
    if outcome.winner is None:
        raise SystemExit(3)


def _told(outcome: SearchOutcome, out: Path) -> str:
    rows = [
        [
            "*" if outcome.winner is not None and found.candidate == outcome.winner.candidate else "",
            found.candidate.key,
            f"{found.loss:.4f}",
            with_interval(found.predicted_ms, found.predicted_interval_ms),
            "-" if found.measured_ms is None else with_interval(found.measured_ms, found.interval_ms),
        ]
        for found in outcome.finalists
    ]
    lines = [
        f"{outcome.evaluations} candidates evaluated ({outcome.method}), limit: {outcome.limits}"
        + ("" if outcome.searched == outcome.limits else f" (searched: {outcome.searched})"),
        table(["", "candidate", "loss", "predicted ms", "measured ms"], rows),
    ]
    if outcome.predictions != "measured":
        lines.append(f"predicted latencies are {outcome.predictions}, not measured")
    if outcome.drift is not None:
        lines.append(f"device now against the table's rounds: {outcome.drift - 1:+.1%}")
    if outcome.winner is None:
        lines.append("no finalist meets the limit as measured: raise --confidence or --margin, or profile anew")
    else:
        lines.append(f"winner: {out / 'winner.yml'}")
    return "\n".join(lines)
