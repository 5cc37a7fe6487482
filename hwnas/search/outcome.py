"""What a search found, and the front of it, as they are told and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hwnas.finalists import Finalist, SearchLatency, predicted
from hwnas.search.fronts import LOSS, figures
from hwnas.search.honesty import Record
from hwnas.search.nsga2 import pareto_front
from hwnas.search.protocol import Costs, Evaluation
from hwnas.space import SearchSpace


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What a search found.

    ``limits`` are those asked for, ``searched`` those the search kept to stay below them.
    ``predictions`` says what the predicted latencies are from. ``drift`` is the device's latency
    now over the table's; ``None`` if unknown. ``changed`` says how the device differs from when the
    table was made. ``objectives`` are those of the front. ``record`` tells of every seed the best loss
    and hypervolume, and how they came about, ``baseline`` the same of random search at equal cost
    (:func:`hwnas.search.honesty.compare`); ``None`` where that was not asked for. ``elsewhere``
    says of further devices what the latencies there are from. ``cost`` is what it cost in evaluations: more than there
    were where gradients were taken, by forward passes.
    """

    method: str
    limits: str
    searched: str
    predictions: str
    evaluations: int
    finalists: tuple[Finalist, ...]
    winner: Finalist | None
    drift: float | None
    changed: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    objectives: tuple[str, ...] = (LOSS,)
    record: Record | None = None
    baseline: Record | None = None
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    cost: int = 0

    def as_dict(self) -> dict[str, object]:
        """JSON-able."""
        return {
            "method": self.method,
            "settings": dict(self.settings),
            "limits": self.limits,
            "searched": self.searched,
            "predictions": self.predictions,
            "elsewhere": dict(self.elsewhere),
            "objectives": list(self.objectives),
            "evaluations": self.evaluations,
            "cost_evaluations": self.cost,
            "record": None if self.record is None else self.record.as_dict(),
            "baseline": None if self.baseline is None else {"method": "random", **self.baseline.as_dict()},
            "finalists": [finalist.as_dict() for finalist in self.finalists],
            "winner": None if self.winner is None else self.winner.as_dict(),
            "drift": self.drift,
            "changed": list(self.changed),
        }


@dataclass(frozen=True, slots=True)
class Front:
    """Of what a search evaluated, that which nothing betters in loss and costs: by rising loss."""

    names: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    values: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, space: SearchSpace, evaluations: Sequence[Evaluation], costs: Costs) -> Front:
        """``evaluations`` may hold a candidate more than once."""
        once = list({evaluation.candidate: evaluation for evaluation in evaluations}.values())
        judged = figures(space, once, costs)
        rows = sorted(pareto_front(judged), key=lambda row: (tuple(judged[row].tolist()), once[row].candidate.key))
        values = tuple(tuple(judged[row].tolist()) for row in rows)
        return cls((LOSS, *costs.names), tuple(once[row] for row in rows), values)

    def spread(self, number: int) -> tuple[Evaluation, ...]:
        """At most ``number`` of it, the lowest loss first, evenly over the rest of it."""
        size = len(self.evaluations)
        if size <= number or number == 1:
            return self.evaluations[:number]
        return tuple(self.evaluations[place * (size - 1) // (number - 1)] for place in range(number))

    def as_list(self, latency: SearchLatency) -> list[dict[str, object]]:
        """JSON-able, with what ``latency`` predicts for the device that finalists are measured on."""
        expected = [predicted(latency, evaluation.candidate, evaluation.loss) for evaluation in self.evaluations]
        return [
            {
                "key": its.candidate.key,
                "candidate": its.candidate.as_dict(),
                "objectives": dict(zip(self.names, values, strict=True)),
                "predicted_ms": its.predicted_ms,
                "predicted_interval_ms": its.predicted_interval_ms,
                **({} if its.runtime is None else {"runtime": its.runtime}),
            }
            for its, values in zip(expected, self.values, strict=True)
        ]
