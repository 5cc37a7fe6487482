"""What tables say of a run's candidates: predictions, the points of a search, and where the winner's time goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hwnas.errors import ReportError, SpaceError
from hwnas.explain import Explanation, explain
from hwnas.families import get_family
from hwnas.families.base import Family
from hwnas.latency import TableLatency
from hwnas.report.documents import Document, Figure, Interval, escaped
from hwnas.report.run import Run, Search, TableFile
from hwnas.search.identity import BEST_OF, fingerprint_of
from hwnas.space import Candidate, SearchSpace
from hwnas.spaces import load_space
from latency_luts import LutError


@dataclass(frozen=True, slots=True)
class Point:
    """A candidate that a search evaluated: its record in a journal, gene, loss, and predicted latency."""

    journal: str
    record: int
    gene: tuple[int, ...]
    loss: float
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Share:
    """What a kind of operator adds to a prediction; ``profile`` is what the runtime's own profile says of it."""

    name: str
    latency: Figure
    share: Figure
    profile: Figure | None


@dataclass(frozen=True)
class Predictions:
    """A table with the space it is for."""

    table: TableFile
    model: TableLatency

    @property
    def origin(self) -> str:
        """``measured``, or by what the latencies were estimated."""
        return self.model.origin

    @property
    def measured(self) -> bool:
        """Whether the table's latencies were measured."""
        return self.table.lut.source == "measured"

    def of(self, values: Mapping[str, object], place: str) -> tuple[Figure, Interval | None]:
        """Predicted latency of a candidate that stands at ``place``, and between what a measurement would lie."""
        latency = self.latency_of(values, place)
        if not self.model.bounded:
            return latency, None
        candidate, sources = candidate_of(self.model.space, values), latency.sources
        low, high = self.model.interval_of(candidate)
        return latency, (Figure(low, sources, "predicted-low"), Figure(high, sources, "predicted-high"))

    def latency_of(self, values: Mapping[str, object], place: str) -> Figure:
        """The prediction alone."""
        latency_ms = self.model.of(candidate_of(self.model.space, values))
        return Figure(latency_ms, (self.table.document.place(""), place), "predicted")

    def points(self, search: Search, among: Sequence[Predictions] = ()) -> list[Point]:
        """All that a search evaluated, in order, seed by seed; of the tables ``among`` which it chose the least."""
        found = [
            (journal.name, number, *_evaluation(self.model.space, journal, number, record))
            for journal in search.journals
            for number, (_, record) in enumerate(journal.items(""))
            if number  # the first is the header
        ]
        genes = self.model.space.encode_many(candidate for _, _, candidate, _ in found)
        models = [self.model, *(other.model for other in among if other is not self)]
        latencies_ms = np.min([model.latency_ms(genes) for model in models], axis=0) if found else np.empty(0)
        return [
            Point(journal, number, tuple(int(index) for index in gene), loss, float(latency_ms))
            for (journal, number, _, loss), gene, latency_ms in zip(found, genes, latencies_ms, strict=True)
        ]

    def explained(self, values: Mapping[str, object]) -> Explanation:
        """Where a candidate's latency goes."""
        return explain(self.model, candidate_of(self.model.space, values))

    def shares(self, values: Mapping[str, object], place: str, profiled: Document | None) -> list[Share]:
        """Where it goes by kind of operator, the dearest first, and what belongs to none."""
        found = self.explained(values)
        totals: defaultdict[str, float] = defaultdict(float)
        for cost in found.costs:
            totals[cost.operator.kind] += cost.total_ms
        totals["per model"] = found.constant_ms
        sources = (self.table.document.place(""), place)
        beside = _profile_by_kind(profiled)
        return [
            Share(
                kind.replace("_", " "),
                Figure(total_ms, sources, f"cost:{kind.replace(' ', '-')}"),
                Figure(total_ms / found.latency_ms, sources, f"share:{kind.replace(' ', '-')}"),
                beside.get(kind),
            )
            for kind, total_ms in sorted(totals.items(), key=lambda entry: -entry[1])
            if total_ms > 0
        ]

    @cached_property
    def checked(self) -> Mapping[str, Figure]:
        """How far the table is off on whole models that were held out; empty if there are none."""
        held_out = self.table.lut.models_of("check")
        if self.table.lut.calibration is None or not held_out:
            return {}
        try:
            report = self.table.lut.calibration.evaluate(held_out)
        except LutError:
            return {}
        sources = (self.table.document.place(""),)
        return {
            name: Figure(value, sources, f"held-out:{name}")
            for name, value in report.as_dict().items()
            if isinstance(value, int | float)
        }


def _evaluation(space: SearchSpace, journal: Document, number: int, record: object) -> tuple[Candidate, float]:
    entry = record if isinstance(record, Mapping) else {}
    loss, why = entry.get("loss"), "it has no loss"
    if isinstance(loss, int | float):
        try:
            return candidate_of(space, entry.get("candidate")), float(loss)
        except SpaceError as exc:
            why = str(exc)
    raise ReportError(f"{journal.path} is damaged in line {number + 1} ({why}); run the search in another folder")


def candidate_of(space: SearchSpace, values: object) -> Candidate:
    """A candidate as it stands in a file; raises :class:`SpaceError` if it is not of the space."""
    if not isinstance(values, Mapping):
        raise SpaceError(f"{values!r} is no candidate of space {space.name!r}")
    return space.candidate({str(name): value for name, value in values.items()})


def front_of(points: Sequence[Point]) -> list[Point]:
    """Those that no other is both faster and better than, the fastest first."""
    best, front = float("inf"), []
    for point in sorted(points, key=lambda p: (p.latency_ms, p.loss, p.journal, p.record)):
        if point.loss < best:
            best = point.loss
            front.append(point)
    return front


def the_space(runs: Sequence[Run], named: str | None, family: str | None) -> tuple[SearchSpace | None, str]:
    """The one space of all runs, and its name; ``None`` where it does not ship and no file is named.

    Raises :class:`ReportError` if the runs are of different spaces, or ``named`` is another one.
    """
    subjects = [subject for run in runs for subject in run.subjects()]
    if not subjects:
        return (None if named is None else load_space(named, family=family)), named or ""
    name, fingerprint, first = subjects[0]
    for other, found, path in subjects[1:]:
        if found != fingerprint:
            raise ReportError(
                f"{first} is of space {name!r} ({fingerprint}), {path} of {other!r} ({found});"
                " a report is of one space: write one for each"
            )
    try:
        space = load_space(named or name, family=family)
    except SpaceError:
        if named is not None:
            raise
        return None, name
    if space.fingerprint == fingerprint:
        return space, name
    if named is not None:
        raise ReportError(f"{first} is of space {name!r} ({fingerprint}), {named} is another ({space.fingerprint})")
    return None, name


def predictions_for(
    space: SearchSpace, tables: Sequence[TableFile], *, given: Sequence[TableFile]
) -> list[Predictions]:
    """Those of ``tables`` that are of the space; raises :class:`ReportError` if one that was ``given`` is not."""
    family: Family = get_family(space.family)
    found = []
    for table in tables:
        if table.lut.subject.fingerprint == space.fingerprint:
            found.append(Predictions(table, TableLatency.from_lut(space, family, table.lut)))
        elif table in given:
            subject = table.lut.subject
            raise ReportError(
                f"{table.document.path} is of space {subject.space!r} ({subject.fingerprint}), the runs are of"
                f" {space.name!r} ({space.fingerprint}); give a table of theirs"
            )
    return found


def table_of(run: Run, known: Sequence[Predictions]) -> Predictions | None:
    """The table whose latencies the run's search was held to, else the one in its folder; ``None`` if not there."""
    journal = None if run.search is None else run.search.journal
    searched = "" if journal is None else journal.text("/0/latency")
    if among := tables_among(run, known):
        runtime = runtime_of(run)
        return next((p for p in among if p.table.lut.target.runtime_name == runtime), among[0])
    first = searched.partition("/")[0]  # of several devices the one that finalists are measured on
    for predictions in known:
        if first in (fingerprint_of(predictions.table.lut, bounded) for bounded in (True, False)):
            return predictions
    own = {table.document.path for table in run.tables}
    return next((p for p in known if not searched and p.table.document.path in own), None)


def tables_elsewhere(run: Run, known: Sequence[Predictions]) -> tuple[Predictions | None, ...]:
    """The tables of the further devices whose limits the run's search kept; ``None`` for one that is not here."""
    journal = None if run.search is None else run.search.journal
    searched = "" if journal is None else journal.text("/0/latency")
    if searched.startswith(BEST_OF):
        return ()
    by_digest = {fingerprint_of(p.table.lut, bounded): p for p in reversed(known) for bounded in (True, False)}
    return tuple(by_digest.get(digest) for digest in searched.split("/")[1:])


def tables_among(run: Run, known: Sequence[Predictions]) -> tuple[Predictions, ...]:
    """The tables among whose runtimes the run's search chose; empty if it did not, or one of them is not here."""
    journal = None if run.search is None else run.search.journal
    searched = "" if journal is None else journal.text("/0/latency")
    if not searched.startswith(BEST_OF):
        return ()
    by_digest = {fingerprint_of(p.table.lut, bounded): p for p in reversed(known) for bounded in (True, False)}
    found = [by_digest.get(digest) for digest in searched.removeprefix(BEST_OF).split("+")]
    return tuple(p for p in found if p is not None) if None not in found else ()


def runtime_of(run: Run) -> str:
    """The runtime that a search chose for its winner (its best finalist, if none won); empty if it chose none."""
    result = None if run.search is None else run.search.result
    if result is None:
        return ""
    return result.text("/winner/runtime") or result.text("/finalists/0/runtime")


def _profile_by_kind(profiled: Document | None) -> dict[str, Figure]:
    """Milliseconds by kind of operator in the runtime's profile, where ``hwnas explain --measure`` was kept."""
    found: dict[str, Figure] = {}
    if profiled is None:
        return found
    for place, row in profiled.items("/cross_check/rows"):
        figure = profiled.figure(f"{place}/profile_ms")
        if figure is None or not isinstance(row, dict):
            continue
        kind = str(row.get("operator", "")).partition("[")[0]
        known = found.get(kind)
        if known is None:
            found[kind] = replace(figure, how="sum")
        else:
            found[kind] = Figure(known.number + figure.number, (*known.sources, *figure.sources), "sum")
    return found


def primitives_of(profiled: Document | None) -> list[tuple[str, Figure]]:
    """Milliseconds by kind of node in the runtime's profile, the dearest first."""
    if profiled is None:
        return []
    entries = profiled.mapping("/cross_check/primitives_ms")
    figures = [(name, profiled.figure(f"/cross_check/primitives_ms/{escaped(name)}")) for name in entries]
    return [(name, figure) for name, figure in figures if figure is not None]
