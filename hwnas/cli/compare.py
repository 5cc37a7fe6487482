"""``hwnas compare``: what differs between two runs, and whether it is more than noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import emit, guarded, table, with_interval
from hwnas.cli.lut_diff import level_of
from hwnas.cli.options import FamilyOption, JsonOption

if TYPE_CHECKING:
    from hwnas.report.compare import Comparison, Fact, Latencies, Value


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas compare runs/monday runs/friday")(compare)


@guarded
def compare(
    one: Annotated[Path, typer.Argument(help="Folder made by hwnas search, demo or export.")],
    two: Annotated[Path, typer.Argument(help="Another one.")],
    tables: Annotated[
        list[Path] | None, typer.Option("--table", help="A table that a run used, if it is not in or above its folder.")
    ] = None,
    space: Annotated[
        str | None, typer.Option("--space", help="File of the search space, where it is not a shipped one.")
    ] = None,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Say what differs between two runs.

    What was asked, who won, loss, latency and the tables beneath; a difference of latencies is held against noise.
    """
    from hwnas.report.compare import compare_runs

    found = compare_runs(one, two, tables or (), space=space, family=family)
    emit(found.as_dict(), json, lambda: _told(found))


def _told(found: Comparison) -> str:
    rows = [_row(fact) for fact in found.asked if not fact.same]
    rows.append(["loss", _shown(found.losses.one), _shown(found.losses.two), _losses(found)])
    for name, told in (("predicted ms", found.predicted), ("measured ms", found.measured)):
        one, two = (
            "-" if ms is None else with_interval(ms, interval)
            for ms, interval in ((told.one_ms, told.one_interval_ms), (told.two_ms, told.two_interval_ms))
        )
        rows.append([name, one, two, _ratio(told)])
    rows += [[f"{fact.name}, exported", *_row(fact)[1:]] for fact in found.quality if not fact.same]
    lines = [table(["", found.one, found.two, ""], rows)]
    same = [fact.name for fact in found.asked if fact.same and fact.one is not None]
    if same:
        lines.append(f"the same: {', '.join(same)}")
    lines.append(_winners(found))
    lines.append(_tables(found))
    return "\n".join(lines)


def _row(fact: Fact) -> list[object]:
    return [fact.name, _shown(fact.one), _shown(fact.two), ""]


def _shown(value: Value) -> str:
    return "-" if value is None else f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _losses(found: Comparison) -> str:
    if not isinstance(found.losses.one, float) or not isinstance(found.losses.two, float):
        return ""
    if not found.same_scores:
        return "not comparable: other weights, data or pairs"
    return f"{found.losses.two - found.losses.one:+.4f}, by the same weights on the same pairs"


def _ratio(told: Latencies) -> str:
    if told.ratio is None:
        return ""
    change = f"{told.ratio - 1:+.1%}"
    if told.beyond_noise is None or told.noise is None:
        return change
    low, high = told.noise
    beyond = "beyond" if told.beyond_noise else "within"
    return f"{change}, {beyond} the noise [{low - 1:+.1%}, {high - 1:+.1%}]"


def _winners(found: Comparison) -> str:
    if not found.choices:
        return "winner: the same architecture"
    rows = [[fact.name, _shown(fact.one), _shown(fact.two)] for fact in found.choices]
    return table(["winner's choices that differ", found.one, found.two], rows)


def _tables(found: Comparison) -> str:
    diff = found.table
    if diff is None:
        return f"tables: {found.no_table}"
    low, high = diff.shift_interval
    beyond = "beyond" if diff.shifted else "within"
    changed = sum(change.changed for change in diff.operators)
    return (
        f"tables: all together {diff.shift - 1:+.1%} [{low - 1:+.1%}, {high - 1:+.1%}], {beyond} the noise;"
        f" {changed} of {len(diff.operators)} operators changed beside that"
        + "".join(f"; {told}" for told in level_of(diff))
    )
