"""``hwnas lut``: what a latency table holds, and whether it can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import emit, guarded, progress_bar, table
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
    cache_folder,
    load,
    workload_of,
)

if TYPE_CHECKING:
    from latency_luts import CheckReport, LatencyLut

NOISY = 0.1
"""Noise floor above which a table cannot be trusted: all rounds together are then about 5 % off."""

app = typer.Typer(help="Latency tables.", no_args_is_help=True)

TableArgument = Annotated[Path, typer.Argument(help="A latency table made by hwnas profile.")]


@app.command(epilog="Example: hwnas lut show runs/x86.lut.jsonl --space g2p")
@guarded
def show(
    lut: TableArgument,
    space: Annotated[str | None, typer.Option("--space", help="Also say which of its operators are missing.")] = None,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """A table's target, rows and calibration. With --space, also what it lacks."""
    from hwnas.latency import operators_of
    from hwnas.workload import Workload
    from latency_luts import LatencyLut

    content = LatencyLut.load(lut)
    missing: list[str] | None = None
    if space is not None:
        loaded, kind = load(space, family)
        wanted = operators_of(loaded, kind, Workload.from_dict(content.workload))
        missing = [str(operator) for operator in content.missing(wanted)]
    document = summary(content) | {
        "rows": [{"operator": str(row.operator), "latency_ms": row.latency_ms} for row in content.rows.values()],
        "missing": missing,
    }

    def text() -> str:
        rows = [[str(row.operator), f"{1000 * row.latency_ms:.2f}"] for _, row in sorted(content.rows.items())]
        lines = [describe(content), table(["operator", "us"], rows)]
        if missing is not None:
            other = "" if loaded.fingerprint == content.subject.fingerprint else " (the table is of another space)"
            lines.append(f"missing for {space}{other}: {len(missing)}" + "".join(f"\n  {name}" for name in missing))
        return "\n".join(lines)

    emit(document, json, text)


@app.command(epilog="Example: hwnas lut check --space g2p --device x86 --models 50 --out runs/check.lut.jsonl")
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
    rounds: Annotated[int, typer.Option(min=2, help="Rounds over everything.")] = 20,
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
    json: JsonOption = False,
) -> None:
    """Say how far a table is off. Operators and fresh whole models are measured in the same rounds.

    The noise floor beside the error is what the two halves of the same rounds differ by, about
    twice the noise of the whole.
    """
    from hwnas.latency import TableLatency
    from hwnas.profiling import Sampling, profile_space, require_target
    from latency_luts import LatencyLut, check_report
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
    older = None if against is None else LatencyLut.load(against)
    target = load_devices(devices).get(device)
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
        )
    assert content.calibration is not None
    fresh, document, lines = content.models_of("check"), summary(content), [describe(content)]
    if older is not None and older.calibration is not None:
        import numpy as np

        predicted = np.array([older.calibration.predict(model.operators) for model in fresh])
        then = check_report(fresh, predicted)
        document["against"] = then.as_dict()
        lines.append(f"{against} predicts them with: {phrase(then)}")
    emit(document, json, "\n".join(lines))


def summary(content: LatencyLut) -> dict[str, object]:
    """A table's header, JSON-able; ``check`` is its error on the models held out from the calibration."""
    fresh = content.models_of("check")
    check = content.calibration.evaluate(fresh).as_dict() if content.calibration is not None and fresh else None
    return {
        "target": str(content.target),
        "source": content.source,
        "space": content.subject.space,
        "workload": dict(content.workload),
        "operators": len(content.rows),
        "models": len(content.models),
        "rounds": content.rounds,
        "calibration": None if content.calibration is None else content.calibration.as_dict(),
        "check": check,
        "incomplete": content.incomplete,
    }


def describe(content: LatencyLut) -> str:
    """A table in two or three lines."""
    workload = ", ".join(f"{name} {value}" for name, value in content.workload.items())
    lines = [
        f"{content.target}, {content.source}: {len(content.rows)} operators of {content.subject.space},"
        f" {len(content.models)} whole models, {content.rounds} rounds",
        f"workload: {workload}",
    ]
    calibration, fresh = content.calibration, content.models_of("check")
    if calibration is not None and fresh:
        lines.append(f"{len(fresh)} held-out models: {phrase(calibration.evaluate(fresh))}")
    if calibration is not None and calibration.held_out is not None:
        lines.append(
            f"calibrated on {calibration.models} models, each left out in turn: {phrase(calibration.held_out)}"
        )
        floor = calibration.held_out.split_half_floor
        if floor > NOISY:
            lines.append(
                f"NOISY: half the rounds differ by {floor:.0%} from the other half; measure again on a quieter machine,"
                " or with more --rounds"
            )
    if content.incomplete is not None:
        lines.append(f"INCOMPLETE: {content.incomplete}")
    return "\n".join(lines)


def phrase(report: CheckReport) -> str:
    """An error with its noise floor, in one line."""
    return (
        f"mean error {report.mape:.1%}, worst {report.worst:.1%}, within 5 %: {report.within_5:.0%},"
        f" within 10 %: {report.within_10:.0%}, Spearman {report.spearman:.3f}"
        f" (noise floor of the truth {report.split_half_floor:.1%})"
    )
