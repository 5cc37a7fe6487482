"""A run as the page shows it: the answer, the charts, what was measured under which conditions, what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from markupsafe import Markup

from hwnas.report import latency_charts
from hwnas.report.architecture import Architecture
from hwnas.report.charts import Chosen
from hwnas.report.conditions import target_of
from hwnas.report.documents import Document, Figure, Interval, change, escaped
from hwnas.report.latency_charts import Compared, Seen
from hwnas.report.predictions import Predictions, Share, primitives_of, table_of, tables_among, tables_elsewhere
from hwnas.report.reproduce import Command, commands_of, further_devices, latency_limit, limit_of, within
from hwnas.report.run import Run, Search
from hwnas.report.search_view import SearchView

Verdict = Literal["held", "doubtful", "broken", "unmeasured", "none", "unlimited"]


@dataclass(frozen=True, slots=True)
class Missing:
    """A part that the page lacks: what, and how to come by it."""

    part: str
    remedy: str


@dataclass(frozen=True)
class RunView:
    """One run; ``known`` are the tables at hand."""

    run: Run
    number: int
    known: Sequence[Predictions]
    missing: list[Missing] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.run.name

    @property
    def identity(self) -> str:
        """What the elements of this run are called by on the page."""
        return f"run{self.number}"

    @cached_property
    def predictions(self) -> Predictions | None:
        """The run's own table."""
        return table_of(self.run, self.known)

    @cached_property
    def among(self) -> tuple[Predictions, ...]:
        """The tables among whose runtimes the search chose; empty if it did not."""
        return tables_among(self.run, self.known)

    @property
    def search(self) -> Search | None:
        """The run's search."""
        return self.run.search

    @property
    def result(self) -> Document | None:
        """What the search ended with."""
        return None if self.search is None else self.search.result

    @property
    def bundle(self) -> Document | None:
        """The manifest of what was exported."""
        return self.run.bundle

    @cached_property
    def place(self) -> tuple[Document, str] | None:
        """Where the winner (else the best finalist, else the bundle's model) stands, but for ``/candidate``."""
        if self.result is not None:
            for pointer in ("/winner", "/finalists/0"):
                if self.result.has(pointer):
                    return self.result, pointer
        return None

    @cached_property
    def winner(self) -> Architecture | None:
        """The winner's choices (the best finalist's where none won) and where they stand."""
        if self.place is not None:
            document, pointer = self.place
            return Architecture(document.mapping(f"{pointer}/candidate"), document.place(f"{pointer}/candidate"))
        if self.bundle is not None and self.bundle.has("/architecture"):
            return Architecture(self.bundle.mapping("/architecture"), self.bundle.place("/architecture"))
        return None

    @cached_property
    def finalists(self) -> list[tuple[str, Architecture]]:
        """Where every finalist stands, and its choices."""
        if self.result is None:
            return []
        return [
            (place, Architecture(self.result.mapping(f"{place}/candidate"), self.result.place(f"{place}/candidate")))
            for place, _ in self.result.items("/finalists")
        ]

    def of_winner(self, pointer: str) -> Figure | None:
        """A figure of the winner in the search's result."""
        return None if self.place is None else self.place[0].figure(f"{self.place[1]}{pointer}")

    def interval_of_winner(self, pointer: str) -> Interval | None:
        """An interval of the winner."""
        return None if self.place is None else self.place[0].interval(f"{self.place[1]}{pointer}")

    @cached_property
    def shipped(self) -> Document | None:
        """The bundle's manifest, if it is of the winner."""
        of_it = self.bundle is not None and (
            self.winner is None or self.winner.values == self.bundle.mapping("/architecture")
        )
        return self.bundle if of_it else None

    @property
    def device(self) -> Figure | None:
        """The device of the run's table."""
        return None if self.predictions is None else self.predictions.table.document.figure("/0/target/device")

    @property
    def target(self) -> Figure | None:
        """The target of the run's table."""
        return None if self.predictions is None else target_of(self.predictions.table.document)

    @property
    def when(self) -> Figure | None:
        """When the last thing was measured that the page tells of."""
        finalists = None if self.search is None else self.search.finalists
        told = [
            document.figure(at) for document, at in ((self.bundle, "/created"), (finalists, "/0/created")) if document
        ]
        return next((figure for figure in told if figure is not None), None)

    @property
    def confidence(self) -> Figure | None:
        """The per cent at which the search held the limit against measurements."""
        return None if self.result is None else within(self.result, "/searched", r"at (\S+) % confidence")

    @cached_property
    def limit(self) -> Figure | None:
        """The latency limit in ms."""
        return limit_of(self.run)

    @cached_property
    def measured(self) -> tuple[Figure, Interval | None] | None:
        """The latency to believe: as shipped, else as measured in the search."""
        if self.shipped is not None:
            found = self.shipped.figure("/proof/measured_ms")
            if found is not None:
                return found, self.shipped.interval("/proof/interval_ms")
        found = self.of_winner("/measured_ms")
        return None if found is None else (found, self.interval_of_winner("/interval_ms"))

    @cached_property
    def predicted(self) -> tuple[Figure, Interval | None] | None:
        """The winner's predicted latency."""
        found = self.of_winner("/predicted_ms")
        if found is not None:
            return found, self.interval_of_winner("/predicted_interval_ms")
        shipped = None if self.shipped is None else self.shipped.figure("/predicted_ms")
        return None if shipped is None else (shipped, None)

    @cached_property
    def elsewhere(self) -> list[tuple[str, Figure, Figure | None]]:
        """Of every further device of the search: its name, the winner's predicted latency there, and the limit."""
        if self.search is None or self.result is None:
            return []
        others = further_devices(self.search)
        found = [(name, self.of_winner(f"/elsewhere_ms/{escaped(name)}")) for name in others]
        limits = {name: latency_limit(self.result, "/limits", others, name) for name in others}
        return [(name, predicted, limits[name]) for name, predicted in found if predicted is not None]

    @cached_property
    def verdict(self) -> Verdict:
        """Did it hold? ``doubtful``: the interval reaches beyond the limit; ``none``: no finalist met it."""
        if self.result is not None and not self.result.has("/winner"):
            return "none"
        if self.limit is None:
            return "unlimited"
        if self.measured is None:
            return "unmeasured"
        latency, interval = self.measured
        if latency.number > self.limit.number:
            return "broken"
        beyond = interval is not None and interval[1].number > self.limit.number
        return "doubtful" if beyond else "held"

    @property
    def origin(self) -> str:
        """What predicted latencies are from: ``measured``, or an estimate by whom."""
        if self.predictions is not None:
            return self.predictions.origin
        return "measured" if self.result is None else self.result.text("/predictions") or "measured"

    @property
    def slack(self) -> Figure | None:
        """How far the measurement is from the limit, as a share of it."""
        return None if self.measured is None else self.against_limit(self.measured[0])

    def against_limit(self, latency: Figure) -> Figure | None:
        """How far a latency is from the limit, as a share of it."""
        return None if self.limit is None else change(latency, self.limit)

    @property
    def off(self) -> Figure | None:
        """How far the measurement is from the prediction."""
        if self.measured is None or self.predicted is None:
            return None
        return change(self.measured[0], self.predicted[0])

    @cached_property
    def told(self) -> list[Seen]:
        """Every time the winner's latency was told."""
        estimated = self.origin != "measured"
        rows = []
        if self.predicted is not None:
            how = "estimated before the search" if estimated else "predicted by the table"
            rows.append(Seen(how, "predicted", *self.predicted))
        found = self.of_winner("/measured_ms")
        if found is not None:
            rows.append(
                Seen("measured at the search's end", "measured", found, self.interval_of_winner("/interval_ms"))
            )
        if self.shipped is not None:
            proven = self.shipped.figure("/proof/measured_ms")
            if proven is not None:
                interval = self.shipped.interval("/proof/interval_ms")
                rows.append(Seen("measured as exported", "measured", proven, interval))
        return rows

    @cached_property
    def limit_chart(self) -> Markup | None:
        """The winner's latency against the limit."""
        return latency_charts.limit_chart(self.told, self.limit, f"{self.identity}-limit") if self.told else None

    @property
    def chosen_as(self) -> str:
        """What the candidate that the page is about is called: it won, or was the best of those that did not."""
        return "best finalist" if self.verdict == "none" else "winner"

    @cached_property
    def searched(self) -> SearchView | None:
        """The search, as the page shows it."""
        if self.search is None:
            return None
        loss, chosen = self.of_winner("/loss"), None
        if loss is not None and self.predicted is not None:
            measured, interval = self.measured or (None, None)
            chosen = Chosen(self.chosen_as, loss, self.predicted[0], measured, interval)
        return SearchView(self.search, self.predictions, self.limit, chosen, self.origin, self.identity, self.among)

    @cached_property
    def compared(self) -> list[Compared]:
        """Every whole model that was predicted and measured."""
        return [*self._models_of_table(), *self._finalists(), *self._bundled()]

    def _models_of_table(self) -> list[Compared]:
        known = self.predictions
        if known is None or not known.measured or known.table.lut.calibration is None:
            return []
        found, document = [], known.table.document
        for place, record in document.items(""):
            role = document.text(f"{place}/role")
            if role in ("check", "calibration") and isinstance(record, dict):
                values = document.mapping(f"{place}/candidate")
                measured = document.figure(f"{place}/latency_ms")
                predicted, interval = known.of(values, document.place(f"{place}/candidate"))
                if measured is not None:
                    name = ("held-out" if role == "check" else "calibration") + " model"
                    seen = document.interval(f"{place}/interval_ms")
                    found.append(Compared(name, role, predicted, interval, measured, seen))
        return found

    def _finalists(self) -> list[Compared]:
        found = []
        for place, _ in self.finalists:
            assert self.result is not None
            predicted = self.result.figure(f"{place}/predicted_ms")
            measured = self.result.figure(f"{place}/measured_ms")
            if measured is not None and predicted is not None:
                expected = self.result.interval(f"{place}/predicted_interval_ms")
                seen = self.result.interval(f"{place}/interval_ms")
                found.append(Compared("finalist", "finalist", predicted, expected, measured, seen))
        return found

    def _bundled(self) -> list[Compared]:
        if self.shipped is None or self.predicted is None:
            return []
        measured = self.shipped.figure("/proof/measured_ms")
        seen = self.shipped.interval("/proof/interval_ms")
        return [] if measured is None else [Compared("winner as exported", "winner", *self.predicted, measured, seen)]

    @cached_property
    def prediction_chart(self) -> Markup | None:
        """Predicted against measured."""
        return latency_charts.prediction_chart(self.compared, f"{self.identity}-error") if self.compared else None

    @cached_property
    def shares(self) -> list[Share]:
        """Where the winner's time goes, by kind of operator."""
        if self.predictions is None or self.winner is None:
            return []
        return self.predictions.shares(self.winner.values, self.winner.place, self.profile)

    @cached_property
    def profile(self) -> Document | None:
        """What ``hwnas explain --measure`` said of the winner, if it was kept."""
        kept = self.run.explanation
        of_it = kept is not None and self.winner is not None and kept.mapping("/candidate") == self.winner.values
        return kept if of_it else None

    @cached_property
    def primitives(self) -> list[tuple[str, Figure]]:
        """The runtime's profile by kind of node."""
        return primitives_of(self.profile)

    @cached_property
    def drift_chart(self) -> Markup | None:
        """Drift while the table was profiled."""
        if self.predictions is None:
            return None
        return latency_charts.drift_chart(self.predictions.table.document, f"{self.identity}-drift")

    @property
    def drift(self) -> Figure | None:
        """How much slower the device was when the finalists were measured, as a share of the table's latencies."""
        found = None if self.result is None else self.result.figure("/drift")
        return None if found is None else Figure(found.number - 1, found.sources, "less-one")

    @property
    def commands(self) -> list[Command]:
        """What makes this run again."""
        elsewhere = tables_elsewhere(self.run, self.known)[: len(self.elsewhere)]
        others = [found for found in self.among if found is not self.predictions] or elsewhere
        further = [None if found is None else found.table for found in others]
        return commands_of(self.run, None if self.predictions is None else self.predictions.table, further)
