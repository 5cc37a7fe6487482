"""Two runs beside each other: what differs in what was asked, found, predicted and measured, and beyond the noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist

from hwnas.errors import ReportError
from hwnas.report.documents import Document, Figure, Interval
from hwnas.report.predictions import Predictions, predictions_for, the_space
from hwnas.report.run import Reader, Run, TableFile
from hwnas.report.view import RunView
from hwnas.spaces import load_space
from latency_luts import LutMismatchError
from latency_luts.diff import TableDiff
from latency_luts.diff import compare as table_diff
from profiler.anchor import OWN_SPREAD

Value = float | str | None


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that both runs tell (or only one of them: the other's is ``None``)."""

    name: str
    one: Value
    two: Value

    @property
    def same(self) -> bool:
        """Whether both tell the same."""
        return self.one == self.two


@dataclass(frozen=True, slots=True)
class Latencies:
    """The winners' latencies in ms with their 95 % intervals, and what their ratio (two over one) says.

    ``noise`` is how far the ratio may be from 1 by chance: the intervals of both and, where measured, what
    two sessions on one device differ by; ``beyond_noise`` is ``None`` where nothing can be said: one is not
    known, has no interval, or the two are of different targets.
    """

    one_ms: float | None
    one_interval_ms: tuple[float, float] | None
    two_ms: float | None
    two_interval_ms: tuple[float, float] | None
    ratio: float | None
    noise: tuple[float, float] | None
    beyond_noise: bool | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """``asked`` is what the runs were asked for, ``choices`` the winners' choices that differ.

    ``losses`` are comparable (``same_scores``) where weights, data and pairs are the same: then nothing
    random is in between. ``table`` tells what differs between the tables, ``no_table`` why that is not told.
    """

    one: str
    two: str
    asked: tuple[Fact, ...]
    choices: tuple[Fact, ...]
    losses: Fact
    same_scores: bool
    quality: tuple[Fact, ...]
    predicted: Latencies
    measured: Latencies
    table: TableDiff | None
    no_table: str | None

    def as_dict(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self) | {"table": None if self.table is None else self.table.as_dict()}


def compare_runs(
    one: Path, two: Path, tables: Sequence[Path] = (), *, space: str | None = None, family: str | None = None
) -> Comparison:
    """What differs between two runs; ``tables`` are looked at too for those that the runs used.

    ``space`` and ``family`` as for a report, where one run is of that space. Raises :class:`ReportError` for what is no
    run, and a space of neither.
    """
    reader = Reader(Path())
    runs = [reader.run(one), reader.run(two)]
    if space is not None:
        fingerprint = load_space(space, family=family).fingerprint
        theirs = {its for run in runs for _, its, _ in run.subjects()}
        if theirs and fingerprint not in theirs:
            raise ReportError(f"{space} ({fingerprint}) is the space of neither run; give the file of one of theirs")
    given = [reader.table(path) for path in tables]
    views = [_view(reader, run, number, given, space, family) for number, run in enumerate(runs, start=1)]
    targets = [_target(view) for view in views]
    found, why = _tables(*views)
    return Comparison(
        one=str(one),
        two=str(two),
        asked=tuple(_asked(*views)),
        choices=tuple(_choices(*views)),
        losses=Fact("loss", *(_number(view.of_winner("/loss")) for view in views)),
        same_scores=len({_evaluator(view) for view in views}) == 1 and bool(_evaluator(views[0])),
        quality=tuple(_quality(*views)),
        predicted=_latencies(*(view.predicted for view in views), session_sds=(), same=targets[0] == targets[1]),
        measured=_latencies(
            *(view.measured for view in views),
            session_sds=(_session_sd(views[0]), _session_sd(views[1]), OWN_SPREAD),
            same=targets[0] == targets[1],
        ),
        table=found,
        no_table=why,
    )


def _view(
    reader: Reader, run: Run, number: int, given: Sequence[TableFile], space: str | None, family: str | None
) -> RunView:
    try:
        loaded, _ = the_space([run], space, family)
    except ReportError:  # the space that was named is the other run's
        loaded, _ = the_space([run], None, family)
    tables = [*run.tables, *given, *reader.tables_beside([run])]
    known: list[Predictions] = [] if loaded is None else predictions_for(loaded, tables, given=())
    return RunView(run, number, known)


def _asked(one: RunView, two: RunView) -> Iterator[Fact]:
    yield Fact("space", *(_space(view) for view in (one, two)))
    yield Fact("target", *(_target(view) for view in (one, two)))
    yield Fact("predictions", *(view.origin for view in (one, two)))
    yield Fact("limit_ms", *(_number(view.limit) for view in (one, two)))
    for name, pointer in (("method", "/0/searcher"), ("seed", "/0/seed"), ("searched", "/0/limits")):
        yield Fact(name, *(_value(_journal(view), pointer) for view in (one, two)))
    yield Fact("evaluations", *(_evaluations(view) for view in (one, two)))


def _choices(one: RunView, two: RunView) -> Iterator[Fact]:
    ours, theirs = ({} if view.winner is None else view.winner.values for view in (one, two))
    for name in dict.fromkeys([*ours, *theirs]):
        if ours.get(name) != theirs.get(name):
            yield Fact(name, _plain(ours.get(name)), _plain(theirs.get(name)))


def _quality(one: RunView, two: RunView) -> Iterator[Fact]:
    known: list[Mapping[str, object]] = [
        {} if view.bundle is None else view.bundle.mapping("/quality") for view in (one, two)
    ]
    for name in dict.fromkeys([*known[0], *known[1]]):
        yield Fact(name, _plain(known[0].get(name)), _plain(known[1].get(name)))


def _latencies(
    one: tuple[Figure, Interval | None] | None,
    two: tuple[Figure, Interval | None] | None,
    *,
    session_sds: tuple[float, ...],
    same: bool,
) -> Latencies:
    intervals = [_ends(told) for told in (one, two)]
    values = [None if told is None else told[0].number for told in (one, two)]
    ratio = values[1] / values[0] if values[0] and values[1] else None
    noise: tuple[float, float] | None = None
    beyond: bool | None = None
    if ratio is not None and same:
        quantile = NormalDist().inv_cdf(0.975)
        sds = [math.log(interval[1] / interval[0]) / 2 / quantile for interval in intervals if interval is not None]
        if len(sds) == 2:
            half = quantile * math.hypot(*sds, *session_sds)
            noise = (math.exp(-half), math.exp(half))
            beyond = abs(math.log(ratio)) > half
    return Latencies(values[0], intervals[0], values[1], intervals[1], ratio, noise, beyond)


def _tables(one: RunView, two: RunView) -> tuple[TableDiff | None, str | None]:
    for view in (one, two):
        if view.predictions is None:
            return None, f"the table that {view.run.folder} used is not here; name it with --table"
    assert one.predictions is not None
    assert two.predictions is not None
    before, after = one.predictions.table.lut, two.predictions.table.lut
    try:
        return table_diff(before, after), None
    except LutMismatchError as exc:
        return None, str(exc)


def _journal(view: RunView) -> Document | None:
    return None if view.search is None else view.search.journal


def _value(document: Document | None, pointer: str) -> Value:
    return None if document is None else _plain(document.get(pointer))


def _plain(value: object) -> Value:
    return value if isinstance(value, int | float | str) else None


def _number(figure: Figure | None) -> float | None:
    return None if figure is None else figure.number


def _evaluations(view: RunView) -> float | None:
    return None if view.searched is None else _number(view.searched.evaluations(view.searched.search))


def _evaluator(view: RunView) -> str:
    journal = _journal(view)
    return "" if journal is None else journal.text("/0/evaluator")


def _space(view: RunView) -> str | None:
    return next((f"{name} ({fingerprint})" for name, fingerprint, _ in view.run.subjects()), None)


def _target(view: RunView) -> str | None:
    if view.predictions is not None:
        return str(view.predictions.table.lut.target)
    return None if view.bundle is None else view.bundle.text("/proof/target") or None


def _session_sd(view: RunView) -> float:
    """How far the device's level wandered within the session of the run's table; 0 where it is not known."""
    return 0.0 if view.predictions is None else view.predictions.table.lut.session_sd


def _ends(told: tuple[Figure, Interval | None] | None) -> tuple[float, float] | None:
    if told is None or told[1] is None:
        return None
    low, high = told[1]
    return low.number, high.number
