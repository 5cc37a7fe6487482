"""``hwnas lut check``: how far predictions are off, tested on fresh whole models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
    TargetTokensOption,
    VocabularyOption,
    WaitOption,
    cache_folder,
    load,
    workload_of,
)
from hwnas.cli.tables import covered, describe, phrase, summary

if TYPE_CHECKING:
    from latency_luts import LatencyLut, WholeModel


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas lut check --space g2p --device x86 --models 50 --out runs/check.lut.jsonl")(
        check
    )


@guarded
def check(
    space: Annotated[str, typer.Option("--space", help="A shipped search space or a YAML file of yours.")],
    out: Annotated[Path, typer.Option("--out", help="Table of this check; its journal stands beside it.")],
    device: Annotated[str, typer.Option("--device", help="A device of devices.yaml.")] = "x86",
    against: Annotated[
        Path | None,
        typer.Option("--against", help="An older table of this target: also test what it predicts now."),
    ] = None,
    models: Annotated[int, typer.Option(min=2, help="Fresh whole models, none used for calibration.")] = 50,
    calibration: Annotated[int, typer.Option(min=3, help="Whole models to calibrate on.")] = 10,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds over everything at most.")] = 20,
    samples: Annotated[int, typer.Option(min=1, help="Samples a visit.")] = 5,
    memory_limit_mib: Annotated[int, typer.Option(min=64, help="Keep loaded graphs under this.")] = 8192,
    batch: BatchOption = None,
    beam: BeamOption = None,
    source_tokens: SourceTokensOption = None,
    target_tokens: TargetTokensOption = None,
    vocabulary: VocabularyOption = None,
    cache_tokens: CacheTokensOption = None,
    seed: SeedOption = 1,
    devices: DevicesOption = None,
    cache: CacheOption = None,
    family: FamilyOption = None,
    wait: WaitOption = False,
    json: JsonOption = False,
) -> None:
    """Say how far a table is off. Operators and fresh whole models are measured in the same rounds.

    The noise floor beside the error is what the two halves of the same rounds differ by, about
    twice the noise of the whole. Intervals are tested too: how many of the models lie in them.
    """
    from hwnas.latency import TableLatency
    from hwnas.profiling import profile_space, require_target
    from hwnas.sampling import Sampling
    from latency_luts import LatencyLut
    from profiler import load_devices
    from profiler.errors import DeviceError
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
    older = None if against is None else LatencyLut.load(against)
    target = load_devices(devices).get(device)
    if isinstance(target, SimulatedDevice):
        raise DeviceError(
            f"{device!r} is simulated, so there is nothing to measure;"
            " `hwnas profile` tests its table on whole models as it makes it"
        )
    if older is not None:
        require_target(older.target, target)
        TableLatency(loaded, kind, older, workload=workload)
    with progress_bar("exporting") as exporting, progress_bar("measuring") as measuring:
        content = profile_space(
            loaded,
            kind,
            workload,
            target,
            out,
            Sampling(
                rounds=rounds,
                samples=samples,
                calibration=calibration,
                check=models,
                seed=seed,
                memory_limit_mib=memory_limit_mib,
            ),
            cache=cache_folder(cache),
            exporting=exporting.update,
            measuring=measuring.update,
            waiting=say if wait else None,
        )
    fresh, document, lines = content.models_of("check"), summary(content), [describe(content)]
    unseen = replace(content, models=content.models_of("calibration"))
    document["coverage"] = _coverage(unseen, fresh, lines, "of them, without having seen them")
    if older is not None and older.calibration is not None:
        then = older.calibration.evaluate(fresh)
        document["against"] = then.as_dict()
        lines.append(f"{against} predicts them with: {phrase(then)}")
        slower = content.slower_than(older)
        document["slower"] = slower
        if slower is not None:
            fresh = tuple(model.scaled(1 / slower) for model in fresh)
            at_its_level = older.calibration.evaluate(fresh)
            document["against_at_its_level"] = at_its_level.as_dict()
            lines.append(
                f"at the level the device had then (compute reference {slower - 1:+.1%} since): {phrase(at_its_level)}"
            )
        level = "" if slower is None else " at that level"
        document["against_coverage"] = _coverage(older, fresh, lines, f"of them{level} by {against}")
    emit(document, json, "\n".join(lines))


def _coverage(lut: LatencyLut, fresh: Sequence[WholeModel], lines: list[str], whose: str) -> dict[str, object] | None:
    """How often the table's intervals hold fresh models; ``None``, with the reason told, if it has none."""
    from latency_luts import LutError

    try:
        found = lut.uncertainty().coverage(fresh)
    except LutError as exc:
        lines.append(f"no intervals {whose}: {exc}")
        return None
    lines.append(f"intervals {whose}: {covered(found)}")
    return found.as_dict()
