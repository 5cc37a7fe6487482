"""``hwnas lut diff``: what changed between two tables beyond the noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import emit, guarded, table
from hwnas.cli.options import JsonOption

if TYPE_CHECKING:
    from latency_luts.diff import TableDiff

CHANGED = 3
_SHOWN = 5e-4


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas lut diff runs/monday.lut.jsonl runs/friday.lut.jsonl --tolerance 0.03")(diff)


@guarded
def diff(
    before: Annotated[Path, typer.Argument(help="A latency table.")],
    after: Annotated[Path, typer.Argument(help="Another one of the same operators.")],
    confidence: Annotated[
        float, typer.Option(help="That nothing is called changed that is not, over all operators together.")
    ] = 0.95,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="What is smaller than this share never counts; 0.02, or 0 for estimates."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say what changed beyond the noise. Exit code 0: nothing; 3: something did."""
    from latency_luts import LatencyLut
    from latency_luts.diff import compare

    one, two = LatencyLut.load(before), LatencyLut.load(after)
    found = compare(one, two, confidence=confidence, tolerance=tolerance)
    document = {"before": str(before), "after": str(after), "source": one.source, **found.as_dict()}
    emit(document, json, lambda: _told(found, one.origin))
    if found.changed:
        raise SystemExit(CHANGED)


def _told(found: TableDiff, origin: str) -> str:
    low, high = found.shift_interval
    beyond = "beyond the noise" if found.shifted else "within the noise"
    lines = [f"differs: {what}" for what in found.described]
    lines.append(
        f"{len(found.operators)} operators in both ({origin}), all together {found.shift - 1:+.1%}"
        f" [{low - 1:+.1%}, {high - 1:+.1%}], {beyond}"
    )
    lines += level_of(found)
    changed = sorted((c for c in found.operators if c.changed), key=lambda change: -abs(change.ratio - 1))
    rows = [
        [c.operator, f"{1000 * c.before_ms:.2f}", f"{1000 * c.after_ms:.2f}", f"{c.ratio - 1:+.1%}", _share(c.interval)]
        for c in changed
    ]
    if rows:
        lines.append(table(["operator", "us before", "us after", "change", "interval"], rows))
    lines += [f"gone: {name}" for name in found.missing] + [f"new: {name}" for name in found.added]
    unknown = sum(c.interval is None for c in found.operators)
    if unknown:
        lines.append(f"{unknown} of them tell nothing of their noise, so they were not judged")
    lines.append(f"{len(rows)} operators changed beside that" if rows else "no operator changed beside that")
    return "\n".join(lines)


def level_of(found: TableDiff) -> list[str]:
    """What is taken out, if anything is."""
    slower = 0.0 if found.level is None else found.level - 1
    what = f"the device itself: compute reference {slower:+.1%}, taken out of everything above"
    return [what] if abs(slower) >= _SHOWN else []


def _share(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"[{interval[0] - 1:+.1%}, {interval[1] - 1:+.1%}]"
