"""``hwnas report``: runs as one page that works offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded
from hwnas.cli.options import FamilyOption, JsonOption


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas report runs/search runs/x86.lut.jsonl --out report.html")(report)


@guarded
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders made by hwnas search, demo or export; further latency tables of the same space."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The page; else report.html in the folder of the first run.")
    ] = None,
    space: Annotated[
        str | None, typer.Option("--space", help="File of the search space, where it is not a shipped one.")
    ] = None,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Write runs as one HTML page that works offline.

    It has the answer, the Pareto front, proofs, conditions, and how to do it again. A part that a run lacks is
    named on the page, with the command that makes it.
    """
    from hwnas.report.page import write_report
    from hwnas.report.run import PAGE

    page = out if out is not None else (runs[0] if runs[0].is_dir() else runs[0].parent) / PAGE
    written = write_report(runs, page, space=space, family=family)
    lines = [f"missing: {part}" for part in written.missing]
    emit(written.as_dict(), json, "\n".join([*lines, f"{written.path} ({written.size_bytes / 1024:.0f} KiB)"]))
