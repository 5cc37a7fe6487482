"""The page: runs read, everything shown put together, and one self-contained HTML file written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from hwnas import __version__
from hwnas.errors import ReportError
from hwnas.files import write_text
from hwnas.report.charts import points_drawn
from hwnas.report.conditions import measurements_of, quarantine_of, statuses_of
from hwnas.report.devices import cross_device
from hwnas.report.missing import missing_of
from hwnas.report.numbers import FILTERS
from hwnas.report.predictions import Predictions, predictions_for, the_space
from hwnas.report.run import Reader, Run, TableFile
from hwnas.report.search_view import in_words
from hwnas.report.view import RunView

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Report:
    """What was written: where, of which runs, how large, and what the page says is missing."""

    path: Path
    runs: tuple[str, ...]
    size_bytes: int
    missing: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """JSON-able."""
        return {
            "report": str(self.path),
            "runs": list(self.runs),
            "size_bytes": self.size_bytes,
            "missing": list(self.missing),
        }


def write_report(paths: Sequence[Path], out: Path, *, space: str | None = None, family: str | None = None) -> Report:
    """Write the page of some runs to ``out``; further tables among ``paths`` are shown beside them.

    ``space`` names the file of a space that does not ship. Raises :class:`ReportError` for what is no
    run, a damaged file, or runs of different spaces.
    """
    reader = Reader(out.parent)
    runs, given = _given(paths, reader)
    loaded, named = the_space(runs, space, family)
    own = [table for run in runs for table in run.tables]
    tables = _each_once([*own, *given, *reader.tables_beside(runs)])
    known = [] if loaded is None else predictions_for(loaded, tables, given=given)
    views = [RunView(run, number, known) for number, run in enumerate(runs, start=1)]
    shown = _shown(views, [*own, *given], known)
    for view in views:
        view.missing.extend(missing_of(view, named, loaded is not None))
    write_text(out, _rendered(views, shown, named))
    missing = tuple(f"{view.name}: {part.part} ({part.remedy})" for view in views for part in view.missing)
    return Report(out, tuple(str(run.folder) for run in runs), out.stat().st_size, missing)


def _given(paths: Sequence[Path], reader: Reader) -> tuple[list[Run], list[TableFile]]:
    tables = [reader.table(path) for path in paths if path.is_file() and path.suffix == ".jsonl"]
    folders = [path for path in paths if not (path.is_file() and path.suffix == ".jsonl")]
    if not folders:
        raise ReportError("a report is of runs, and only tables are given; give the folder of a search too")
    return [reader.run(folder) for folder in folders], tables


def _each_once(tables: Sequence[TableFile]) -> list[TableFile]:
    return list({table.document.path.resolve(): table for table in tables}.values())


def _shown(views: Sequence[RunView], wanted: Sequence[TableFile], known: Sequence[Predictions]) -> list[Predictions]:
    """The tables of the page: those given or in a run's folder, and those the searches used."""
    used = {id(predictions) for view in views for predictions in (view.predictions, *view.among)}
    paths = {table.document.path.resolve() for table in wanted}
    return [p for p in known if id(p) in used or p.table.document.path.resolve() in paths]


def _rendered(views: Sequence[RunView], shown: Sequence[Predictions], space: str) -> str:
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            views=views,
            tables=shown,
            devices=cross_device(views, shown),
            space=space,
            version=__version__,
            style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
            script=Markup((TEMPLATES / "hover.js").read_text(encoding="utf-8")),
            points=_points(views),
            measurements_of=measurements_of,
            quarantine_of=quarantine_of,
            statuses_of=statuses_of,
            in_words=in_words,
        )
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment


def _points(views: Sequence[RunView]) -> Markup:
    """What hovering tells of every point that is drawn: genes by record, and the choices they index.

    An index in a gene is one character, counted from ``0`` on.
    """
    known = next((view.predictions for view in views if view.predictions is not None), None)
    choices = [] if known is None else [[c.name, list(c.values), c.when] for c in known.model.space.choices]
    journals = {
        journal: {
            "name": one.name,
            "points": {
                p.record: [p.loss, round(p.latency_ms, 9), "".join(chr(48 + index) for index in p.gene)]
                for p in points_drawn(one.points)
                if p.journal == journal
            },
        }
        for view in views
        for one in (view.searched.series if view.searched is not None else ())
        for journal in dict.fromkeys(p.journal for p in one.points)
    }
    text = json.dumps({"choices": choices, "journals": journals}, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))
