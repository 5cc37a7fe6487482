"""``hwnas explain``: which operators of a candidate cost what, with the runtime's own profile beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import emit, guarded, say, table
from hwnas.cli.options import (
    CacheOption,
    DevicesOption,
    FamilyOption,
    JsonOption,
    WaitOption,
    cache_folder,
    load,
    note_losses,
)
from hwnas.cli.predict import TableOption

if TYPE_CHECKING:
    from hwnas.cross_check import CrossCheck
    from hwnas.explain import Explanation


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    example = "hwnas explain winner.yml --space g2p --table runs/x86.lut.jsonl --measure --picture winner.png"
    app.command(epilog=f"Example: {example}")(explain)


@guarded
def explain(
    candidate: Annotated[Path, typer.Argument(help="A candidate file: ours, or HAT's YAML.")],
    lut: TableOption,
    space: Annotated[str, typer.Option("--space", help="The search space it is from.")],
    measure: Annotated[
        bool, typer.Option("--measure", help="Also time the whole model and take the runtime's own profile of it.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="Where; else the device of the table.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw it, as .png or .svg.")] = None,
    devices: DevicesOption = None,
    cache: CacheOption = None,
    wait: WaitOption = False,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Say which operators of a candidate cost what."""
    from hwnas.candidates import read_candidate
    from hwnas.explain import explain as taken_apart
    from hwnas.latency import TableLatency
    from latency_luts import LatencyLut

    if picture is not None:
        from hwnas.explain_picture import draw, require_format

        require_format(picture)
    loaded, kind = load(space, family)
    table_file = LatencyLut.load(lut)
    note_losses(table_file)
    model = TableLatency.from_lut(loaded, kind, table_file)
    found = taken_apart(model, read_candidate(candidate, loaded))
    check = None
    if measure:
        from hwnas.changed import note_of
        from hwnas.cross_check import measured_check, require_profile
        from hwnas.profiling import on_runtime_of, require_target
        from profiler import load_devices

        chosen = load_devices(devices).get(device or table_file.target.device)
        if device is None:
            chosen = on_runtime_of(table_file.target, chosen)
        require_profile(chosen)
        require_target(table_file.target, chosen)
        check = measured_check(found, model, kind, chosen, cache_folder(cache), say if wait else None)
        for change in check.changed:
            say(note_of(change))
    if picture is not None:
        draw(found, check, picture, f"{candidate.name}: {found.latency_ms:.4f} ms predicted on {found.target}")
    document = found.as_dict() | {"cross_check": None if check is None else check.as_dict()}
    emit(document | {"picture": None if picture is None else str(picture)}, json, lambda: _told(found, check))


def _told(found: Explanation, check: CrossCheck | None) -> str:
    beside = {} if check is None else {row.operator: row for row in check.rows}
    header = ["operator", "calls", "ms each", "ms", "share", "95 % interval"]
    header += ["profile ms", "profile share"] if check is not None else []
    rows = []
    for cost in found.costs:
        interval = "-" if cost.interval_ms is None else f"{cost.interval_ms[0]:.4f} to {cost.interval_ms[1]:.4f}"
        row: list[object] = [
            cost.label,
            cost.count,
            f"{cost.each_ms:.5f}",
            f"{cost.total_ms:.4f}",
            f"{cost.share:.1%}",
            interval,
        ]
        if check is not None:
            seen = beside.get(str(cost.operator))
            row += ["-", "-"] if seen is None else [f"{seen.profile_ms:.4f}", f"{seen.profile_share:.1%}"]
        rows.append(row)
    share = found.constant_ms / found.latency_ms if found.latency_ms else 0.0
    last: list[object] = ["per model", "-", "-", f"{found.constant_ms:.4f}", f"{share:.1%}", "-"]
    placed = check is not None and check.moved_share is not None
    beside_it = "-" if check is None or not placed else f"{check.elsewhere_ms:.4f}"
    rows.append(last if check is None else [*last, beside_it, "-"])
    sure = "" if found.interval_ms is None else f" [{found.interval_ms[0]:.4f}, {found.interval_ms[1]:.4f}]"
    lines = [table(header, rows), f"sum: {found.latency_ms:.4f} ms{sure} predicted on {found.target} ({found.origin})"]
    if check is not None:
        lines += [
            f"whole model, timed now in one process: {check.timed_ms:.4f} ms;"
            f" all nodes of the runtime's profile, its own cost removed: {check.profile_ms:.4f} ms of wall time",
            "the nodes' names do not tell to which operators they belong"
            if check.moved_share is None
            else f"table and profile place {check.moved_share:.1%} of the operators' time differently",
            table(
                ["node", "profile ms", "share"],
                [
                    [name, f"{ms:.4f}", f"{ms / (check.profile_ms or 1.0):.1%}"]
                    for name, ms in list(check.primitives_ms.items())[:8]
                ],
            ),
        ]
    return "\n".join(lines)
