"""A search as the page shows it: everything it evaluated, its front, its progress, and random search beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from hwnas.report import charts
from hwnas.report.architecture import Architecture
from hwnas.report.documents import Document, Figure, escaped
from hwnas.report.predictions import Predictions, front_of
from hwnas.report.run import Search

MOST_FRONT = 20
RANDOM = "random"


@dataclass(frozen=True, slots=True)
class FrontRow:
    """A line of the front's table: the objectives, by the names of :attr:`SearchView.objectives`."""

    architecture: Figure
    objectives: tuple[Figure | None, ...]


@dataclass(frozen=True, slots=True)
class SeedRow:
    """What the search of one seed came to, and random search of that seed."""

    seed: Figure | None
    evaluations: Figure | None
    best_loss: Figure | None
    hypervolume: Figure | None
    random_loss: Figure | None
    random_hypervolume: Figure | None


@dataclass(frozen=True)
class SearchView:
    """``predictions`` are those of the search's table, ``limit`` and ``chosen`` what its chart shows too.

    ``among`` are the tables that a search of the best runtime took the least of.
    """

    search: Search
    predictions: Predictions | None
    limit: Figure | None
    chosen: charts.Chosen | None
    origin: str
    identity: str
    among: Sequence[Predictions] = ()

    @property
    def baseline(self) -> Search | None:
        """Random search at equal cost."""
        return self.search.baseline

    @cached_property
    def series(self) -> list[charts.Series]:
        """The search and random search, as far as they evaluated anything."""
        found = []
        for search in (self.search, self.search.baseline):
            if search is not None and search.losses:
                points = [] if self.predictions is None else self.predictions.points(search, self.among)
                at_random = search.method == RANDOM
                name, kind = ("random search", RANDOM) if at_random else (search.method, "search")
                end = None if search.journal is None else search.journal.all("/*/loss", "min")
                found.append(charts.Series(name, kind, points, search.losses, end))
        return found

    def evaluations(self, search: Search) -> Figure | None:
        """How many candidates a search evaluated, all seeds together."""
        counts = [count for journal in search.journals if (count := journal.all("/*/loss", "count")) is not None]
        sources = tuple(source for count in counts for source in count.sources)
        return Figure(sum(count.number for count in counts), sources, "count") if counts else None

    @cached_property
    def front_chart(self) -> Markup | None:
        """Loss against latency; ``None`` without a table or anything evaluated."""
        if not self.search.losses or not self.series[0].points:
            return None
        return charts.front_chart(self.series, self.limit, self.chosen, self.origin, f"{self.identity}-front")

    @property
    def thinned(self) -> bool:
        """Whether there are more points than are drawn."""
        return any(len(one.points) > charts.MOST_POINTS for one in self.series)

    @cached_property
    def progress_chart(self) -> Markup | None:
        """Best loss so far, of the search and of random search."""
        return charts.progress_chart(self.series, f"{self.identity}-progress") if self.series else None

    @cached_property
    def objectives(self) -> tuple[str, ...]:
        """What the front is of: as the search tells it, else loss and latency."""
        told = {} if self.search.front is None else self.search.front.mapping("/0/objectives")
        return tuple(told) if told else ("loss", "latency_ms")

    @cached_property
    def front_rows(self) -> list[FrontRow]:
        """The Pareto front, the best loss first, at most :data:`MOST_FRONT` of it."""
        front = self.search.front
        if front is not None and front.has("/0/objectives"):
            rows = [
                FrontRow(
                    Architecture(front.mapping(f"{place}/candidate"), front.place(f"{place}/candidate")).line,
                    tuple(front.figure(f"{place}/objectives/{escaped(name)}") for name in self.objectives),
                )
                for place, _ in front.items("")
            ]
            return rows[:MOST_FRONT]
        return self._predicted_front()

    def _predicted_front(self) -> list[FrontRow]:
        if self.predictions is None or not self.search.losses:
            return []
        journals = {journal.name: journal for journal in self.search.journals}
        rows = []
        for point in front_of(self.series[0].points)[::-1][:MOST_FRONT]:
            journal, place = journals[point.journal], f"/{point.record}/candidate"
            network = Architecture(journal.mapping(place), journal.place(place))
            latency = self.predictions.latency_of(network.values, network.place)
            rows.append(FrontRow(network.line, (journal.figure(f"/{point.record}/loss"), latency)))
        return rows

    @cached_property
    def seeds(self) -> list[SeedRow]:
        """Every seed, where the search was held against random search or made more than once."""
        result = self.search.result
        return [] if result is None else [_seed(result, place) for place, _ in result.items("/record/seeds")]


def _seed(result: Document, place: str) -> SeedRow:
    rival = place.replace("/record/", "/baseline/", 1)
    return SeedRow(
        result.figure(f"{place}/seed"),
        result.figure(f"{place}/evaluations"),
        result.figure(f"{place}/best_loss"),
        result.figure(f"{place}/hypervolume"),
        result.figure(f"{rival}/best_loss"),
        result.figure(f"{rival}/hypervolume"),
    )


def in_words(names: Sequence[str]) -> list[str]:
    """Objectives as headings of a table: ``latency_ms/pi4`` is ``latency on pi4, ms``."""
    units = {"ms": "ms", "mj": "mJ", "mib": "MiB", "m": "M"}
    told = []
    for name in names:
        what, _, device = name.partition("/")
        words, _, unit = what.rpartition("_")
        known = unit in units
        text = (words if known else what).replace("_", " ") + (f" on {device}" if device else "")
        told.append(f"{text}, {units[unit]}" if known else text)
    return told
