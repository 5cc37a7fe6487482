"""``hwnas profile``: measure every operator of a space on a device and build its latency table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import emit, guarded, progress_bar, say
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
from hwnas.cli.profile_fleet import profile_by_all
from hwnas.cli.profile_runtimes import profile_each
from hwnas.cli.tables import describe, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hwnas.families.base import Family
    from hwnas.sampling import Sampling
    from hwnas.space import SearchSpace
    from hwnas.workload import Workload
    from latency_luts import LatencyLut, WholeModel
    from profiler import Device
    from profiler.simulators.device import SimulatedDevice


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas profile --space g2p --device x86 --out runs/x86.lut.jsonl")(profile)


@guarded
def profile(
    space: SpaceOption,
    out: Annotated[Path, typer.Option("--out", help="The table; its journal of raw samples stands beside it.")],
    device: Annotated[
        str, typer.Option("--device", help="A device of devices.yaml; equal boards, with commas, share the work.")
    ] = "x86",
    half_width: Annotated[
        float | None,
        typer.Option(min=0.001, max=0.5, help="Stop at 95 % intervals of at most this share to either side: 0.02."),
    ] = None,
    min_rounds: Annotated[int, typer.Option(min=2, help="Rounds before anything may stop.")] = 10,
    rounds: Annotated[
        int | None, typer.Option(min=2, help="Rounds at most, each in a fresh process: 40, by a virtual clock 3.")
    ] = None,
    budget_minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Minutes of measuring at most, spent where they tell most.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Samples a visit: 5, by a virtual clock 2.")] = None,
    calibration: Annotated[int, typer.Option(min=0, help="Whole models to calibrate the sum on; 0 for none.")] = 10,
    check: Annotated[
        int | None,
        typer.Option(min=0, help="Whole models held out to test the table on; else 10, on a simulated device 2."),
    ] = None,
    memory_limit_mib: Annotated[int, typer.Option(min=64, help="Keep loaded graphs under this.")] = 8192,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, int8 or int8-dynamic, as the runtime has it; default by the device.")
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="Several with commas, or all: a table of each into the folder --out, measured in the same rounds."
        ),
    ] = None,
    anchor: Annotated[
        Path | None, typer.Option("--anchor", help="An earlier table of the device: tell latencies at its level.")
    ] = None,
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
    """Build the latency table of a space on a device. Run it again to resume.

    A simulated device's table is estimated, in seconds; what says how to measure has no meaning there.
    """
    from hwnas.families.deployed import as_deployed
    from hwnas.latency import operators_of
    from hwnas.profiling import estimate_s, journal_of, profile_space
    from hwnas.sampling import Sampling
    from profiler import load_devices, read_journal
    from profiler.devices import require_times
    from profiler.hardware import HardwareDevice
    from profiler.outcome import Outcome
    from profiler.simulators.device import SimulatedDevice

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
    boards = [load_devices(devices).get(name) for name in dict.fromkeys(device.split(","))]
    chosen = boards[0]
    earlier = _earlier(anchor, boards, runtime)
    if runtime is None:
        kind = as_deployed(kind, chosen.runtime, precision)
    if isinstance(chosen, SimulatedDevice) and len(boards) == 1:
        few = Sampling(check=2 if check is None else check, seed=seed)
        _estimate(loaded, kind, workload, chosen, out, few, dry_run, cache, json)
        return
    require_times(chosen)
    for board in boards:
        if isinstance(board, HardwareDevice) and board.provider != "cpu":
            say(f"{board.name} is {board.note}")
    check = 10 if check is None else check
    usual = Sampling.usual(chosen)
    sampling = Sampling(
        rounds=rounds or usual.rounds,
        samples=samples or usual.samples,
        min_rounds=min_rounds,
        half_width=half_width or usual.half_width,
        budget_s=None if budget_minutes is None else 60 * budget_minutes,
        calibration=calibration,
        check=check,
        seed=seed,
        memory_limit_mib=memory_limit_mib,
    )
    if len(boards) > 1:
        told = profile_by_all(
            loaded, kind, workload, boards, out, sampling, cache=cache, wait=wait, dry_run=dry_run, json=json
        )
        raise SystemExit(told)
    if runtime is not None:
        told = profile_each(
            loaded, kind, workload, chosen, runtime, precision or "fp32", out, sampling,
            cache=cache, wait=wait, dry_run=dry_run, json=json,
        )  # fmt: skip
        raise SystemExit(told)
    operators = operators_of(loaded, kind, workload)
    seconds = estimate_s(loaded, kind, workload, sampling)
    say(
        f"{len(operators)} operators and {calibration + check} whole models of {loaded.name} on {chosen.name},"
        f" {min(min_rounds, sampling.rounds)} to {sampling.rounds} rounds: about {max(1, round(seconds / 60))} min"
    )
    if dry_run:
        counts: dict[str, float] = {"operators": len(operators), "models": calibration + check}
        counts |= {"rounds": sampling.rounds, "estimate_s": seconds}
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
            at_level_of=earlier,
        )
    elapsed_s = time.monotonic() - began
    journal = read_journal(journal_of(out))
    outcome = Outcome.of(journal, content.target)
    document = summary(content) | {"outcome": outcome.as_dict(), "table": str(out), "elapsed_s": elapsed_s}
    emit(document, json, f"{describe(content)}\n{outcome}\n{out} ({elapsed_s:.0f} s)")
    if not journal.complete:
        raise SystemExit(3)


def _earlier(anchor: Path | None, devices: Sequence[Device], runtime: str | None) -> LatencyLut | None:
    """The table at whose level latencies are told, if one is given."""
    from hwnas.errors import HwnasError
    from latency_luts import LatencyLut
    from profiler.hardware import HardwareDevice

    if anchor is None:
        return None
    if len(devices) > 1 or runtime is not None or not isinstance(devices[0], HardwareDevice):
        raise HwnasError("--anchor is for one device that is measured, with the runtime it is told of; leave it out")
    return LatencyLut.load(anchor)


def _estimate(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    device: SimulatedDevice,
    out: Path,
    sampling: Sampling,
    dry_run: bool,
    cache: Path | None,
    json: bool,
) -> None:
    """The table of a simulated device."""
    from hwnas.estimating import estimate_space, left_to_host
    from hwnas.latency import operators_of

    operators = operators_of(space, family, workload)
    say(
        f"{len(operators)} operators and {sampling.check} whole models of {space.name}, estimated for {device.name}"
        f" by {device.engine}: nothing is measured"
    )
    if dry_run:
        counts = {"operators": len(operators), "models": sampling.check, "source": "estimated"}
        emit(counts, json, "\n".join(map(str, operators)))
        return
    began = time.monotonic()
    with progress_bar("exporting") as exporting, progress_bar("estimating") as estimating:
        content = estimate_space(
            space,
            family,
            workload,
            device,
            out,
            sampling,
            cache=cache_folder(cache),
            exporting=exporting.update,
            estimating=estimating.update,
        )
    elapsed_s = time.monotonic() - began
    document = summary(content) | {"table": str(out), "elapsed_s": elapsed_s}
    lines = [describe(content)]
    if content.models:
        off = max(abs(_sum_ms(content, model) / model.latency_ms - 1) for model in content.models)
        document["sum_off_by"] = off
        lines.append(
            f"the sum of operators is off by at most {off:.2%} from {len(content.models)} whole models, estimated too"
        )
    shared = left_to_host(content)
    document["left_to_host"] = shared
    if shared:
        named = ", ".join(f"{kind} ({share:.0%} its own)" for kind, share in sorted(shared.items()))
        lines.append(f"the host runs a part of {named}; all other operators are the accelerator's alone")
    emit(document, json, "\n".join([*lines, f"{out} ({elapsed_s:.0f} s)"]))


def _sum_ms(table: LatencyLut, model: WholeModel) -> float:
    return sum(count * table.latency_ms(operator) for operator, count in model.operators.items())
