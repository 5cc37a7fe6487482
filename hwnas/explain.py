"""Which operators of one candidate cost what, calibrated, so that they sum to its prediction."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, replace

from hwnas.latency import TableLatency, decompose_terms
from hwnas.space import Candidate
from latency_luts import OperatorSpec


@dataclass(frozen=True, slots=True)
class Cost:
    """What one operator adds to a prediction: ``count`` calls of ``each_ms``, in all ``total_ms``.

    ``label`` is its kind with the sizes (and precision) that differ within the space, ``share`` is of the
    prediction. ``interval_ms`` is the table's 95 % interval of its row, carried through the
    calibration, of ``total_ms``; ``None`` if the table has none.
    """

    operator: OperatorSpec
    label: str
    count: int
    each_ms: float
    total_ms: float
    share: float
    interval_ms: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A candidate's predicted latency and where it goes; ``constant_ms`` and the costs sum to it exactly."""

    candidate: Candidate
    target: str
    origin: str
    latency_ms: float
    interval_ms: tuple[float, float] | None
    constant_ms: float
    costs: tuple[Cost, ...]

    def as_dict(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "candidate": self.candidate.as_dict(),
            "target": self.target,
            "origin": self.origin,
            "latency_ms": self.latency_ms,
            "interval_ms": self.interval_ms,
            "constant_ms": self.constant_ms,
            "operators": [asdict(cost) | {"operator": str(cost.operator)} for cost in self.costs],
        }


def explain(model: TableLatency, candidate: Candidate) -> Explanation:
    """Take the prediction of ``candidate`` apart, the dearest operator first."""
    calibration = model.calibration
    rows = model.lut.rows
    known = {operator: row.interval_ms for operator, row in rows.items() if row.interval_ms is not None}
    bounds = [
        replace(calibration, latencies_ms={**calibration.latencies_ms, **{op: ms[end] for op, ms in known.items()}})
        for end in (0, 1)
    ]
    paid = decompose_terms(model.space, model.terms, candidate)
    latency_ms = calibration.predict(paid)
    costs = []
    for operator, count in paid.items():
        each_ms = calibration.contribution_ms(operator)
        low_ms, high_ms = (count * bound.contribution_ms(operator) for bound in bounds)
        share = count * each_ms / latency_ms if latency_ms else 0.0
        interval_ms = (low_ms, high_ms) if operator in known else None
        costs.append(Cost(operator, _label(operator, model), count, each_ms, count * each_ms, share, interval_ms))
    return Explanation(
        candidate=candidate,
        target=str(model.lut.target),
        origin=model.lut.origin,
        latency_ms=latency_ms,
        interval_ms=model.interval_of(candidate) if model.bounded else None,
        constant_ms=calibration.constant_ms,
        costs=tuple(sorted(costs, key=lambda cost: (-cost.total_ms, cost.operator))),
    )


def _label(operator: OperatorSpec, model: TableLatency) -> str:
    values: dict[str, set[int | str]] = defaultdict(set)
    for term in model.terms:
        if term.operator.kind == operator.kind:
            values["precision"].add(term.operator.precision)
            for name, value in term.operator.sizes:
                values[name].add(value)
    sizes = [f"{name} {value}" for name, value in operator.sizes if len(values[name]) > 1]
    sizes += [operator.precision] if len(values["precision"]) > 1 else []
    return " ".join([operator.kind.replace("_", " "), *([f"({', '.join(sizes)})"] if sizes else [])])
