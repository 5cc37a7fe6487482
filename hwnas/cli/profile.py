"""``hwnas profile``: measure every operator of a space on a device and build its latency table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, progress_bar, say
from hwnas.cli.lut import describe, summary
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
    VocabularyOption,
    WaitOption,
    cache_folder,
    load,
    workload_of,
)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas profile --space g2p --device x86 --out runs/x86.lut.jsonl")(profile)


@guarded
def profile(
    space: SpaceOption,
    out: Annotated[Path, typer.Option("--out", help="The table; its journal of raw samples stands beside it.")],
    device: Annotated[str, typer.Option("--device", help="A device of devices.yaml.")] = "x86",
    rounds: Annotated[int, typer.Option(min=2, help="Rounds over all operators and models.")] = 15,
    samples: Annotated[int, typer.Option(min=1, help="Samples a visit.")] = 5,
    calibration: Annotated[int, typer.Option(min=0, help="Whole models to calibrate the sum on; 0 for none.")] = 10,
    check: Annotated[int, typer.Option(min=0, help="Whole models held out to test the table on.")] = 10,
    memory_limit_mib: Annotated[int, typer.Option(min=64, help="Keep loaded graphs under this.")] = 8192,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be measured and leave.")] = False,
    seed: SeedOption = 0,
    batch: BatchOption = None,
    beam: BeamOption = None,
    source_tokens: SourceTokensOption = None,
    target_tokens: TargetTokensOption = None,
    vocabulary: VocabularyOption = None,
    cache_tokens: CacheTokensOption = None,
    devices: DevicesOption = None,
    cache: CacheOption = None,
    family: FamilyOption = None,
    wait: WaitOption = False,
    json: JsonOption = False,
) -> None:
    """Build the latency table of a space on a device. Run it again to resume."""
    from hwnas.latency import operators_of
    from hwnas.profiling import Sampling, estimate_s, profile_space
    from profiler import load_devices

    loaded, kind = load(space, family)
    workload = workload_of(
        loaded.workload,
        batch=batch,
        beam=beam,
        source_tokens=source_tokens,
        target_tokens=target_tokens,
        vocabulary=vocabulary,
        cache=cache_tokens,
    )
    chosen = load_devices(devices).get(device)
    sampling = Sampling(
        rounds=rounds,
        samples=samples,
        calibration=calibration,
        check=check,
        seed=seed,
        memory_limit_mib=memory_limit_mib,
    )
    operators = operators_of(loaded, kind, workload)
    seconds = estimate_s(loaded, kind, workload, sampling)
    say(
        f"{len(operators)} operators and {calibration + check} whole models of {loaded.name} on {chosen.name},"
        f" {rounds} rounds: about {max(1, round(seconds / 60))} min"
    )
    if dry_run:
        counts = {"operators": len(operators), "models": calibration + check, "rounds": rounds, "estimate_s": seconds}
        emit(counts, json, "\n".join(map(str, operators)))
        return
    began = time.monotonic()
    with progress_bar("exporting") as exporting, progress_bar("measuring") as measuring:
        content = profile_space(
            loaded,
            kind,
            workload,
            chosen,
            out,
            sampling,
            cache=cache_folder(cache),
            exporting=exporting.update,
            measuring=measuring.update,
            waiting=say if wait else None,
        )
    elapsed_s = time.monotonic() - began
    document = summary(content) | {"table": str(out), "elapsed_s": elapsed_s}
    emit(document, json, f"{describe(content)}\n{out} ({elapsed_s:.0f} s)")
