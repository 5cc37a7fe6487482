"""What changed between two tables beyond the noise: operator by operator, and all of them together.

Of every operator in both the ratio of its latencies, with the interval that the sampling errors of
both give it. Two measurements of one device differ a little more than that, so the errors are
widened by how much more the ratios scatter than they should (at most threefold: if most operators
really changed, that must not hide it), and the confidence is one for all operators together (Šidák).
Where both tell of their reference workloads, the later one is told at the earlier one's level first, so that a
device that was slower that day is no change (:mod:`profiler.anchor`). The overall shift is the median ratio; two
sessions are known to differ by what the device's level wandered between the rounds of each, and from one to the
other. What is smaller than a tolerance never counts, be it certain.
A row of 0 ms counts as none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from latency_luts.errors import LutMismatchError
from latency_luts.operator import OperatorSpec
from latency_luts.rows import OperatorRow
from latency_luts.table import LatencyLut
from profiler.anchor import OWN_SPREAD, SPREAD

TOLERANCE = 0.02
"""Two sessions on one quiet machine differ by this much."""
_WIDEST = 3.0
_MAD_TO_SD = 1.4826
_MAD_SD = 1.17
"""Relative standard deviation of that estimate, times the root of the number of values."""
_MEDIAN_TO_SD = 1.2533
_IQR_TO_SD = 1.349


@dataclass(frozen=True, slots=True)
class Change:
    """One operator: ``after_ms`` is told at the level of the device before, ``ratio`` is it over ``before_ms``.

    ``interval`` are its bounds (``None`` if neither noise is known), ``changed`` says whether it differs
    beyond noise and tolerance from the shift of all operators.
    """

    operator: str
    before_ms: float
    after_ms: float
    ratio: float
    interval: tuple[float, float] | None
    changed: bool


@dataclass(frozen=True, slots=True)
class TableDiff:
    """``shift`` is the median ratio with its interval; ``missing`` and ``added`` are operators of one table only.

    ``level`` is how many times slower the device was by its reference workloads, which is divided out of
    all ratios (``None`` if that is not known, and nothing is). ``described`` names what else differs: target,
    workload, space, state of the device.
    """

    shift: float
    shift_interval: tuple[float, float]
    shifted: bool
    operators: tuple[Change, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    described: tuple[str, ...]
    level: float | None = None

    @property
    def changed(self) -> bool:
        """Whether anything differs beyond the noise, or is gone or new."""
        return self.shifted or any(c.changed for c in self.operators) or bool(self.missing or self.added)

    def as_dict(self) -> dict[str, object]:
        """JSON-able."""
        return {"changed": self.changed, **asdict(self)}


def compare(
    before: LatencyLut, after: LatencyLut, *, confidence: float = 0.95, tolerance: float | None = None
) -> TableDiff:
    """``tolerance`` is a share; by default 0.02 for measured tables and 0 for others, which repeat exactly.

    Raises :class:`LutMismatchError` for tables of different sources or clocks, or without a common operator.
    """
    for what, one, other in (
        ("source", before.source, after.source),
        ("clock", before.target.clock, after.target.clock),
    ):
        if one != other:
            raise LutMismatchError(f"the tables differ in their {what} ({one}, {other}); nothing follows from a ratio")
    old, new = ({op: row for op, row in lut.rows.items() if row.latency_ms > 0} for lut in (before, after))
    common = sorted(set(old) & set(new))
    if not common:
        raise LutMismatchError("the tables have no operator in common; compare tables of one space")
    if not 0 < confidence < 1:
        raise LutMismatchError(f"a confidence of {confidence:g} is none; it must be above 0 and below 1, like 0.95")
    measured = before.source == "measured"
    if tolerance is None:
        tolerance = TOLERANCE if measured else 0.0
    pairs = [(old[operator], new[operator]) for operator in common]
    level = after.slower_than(before)
    between = 0.0 if not measured else SPREAD if level else OWN_SPREAD
    logs = np.log([two.latency_ms / one.latency_ms for one, two in pairs]) - np.log(level or 1.0)
    shift = float(np.median(logs))
    noise = _noise(pairs, logs - shift) if measured else [0.0] * len(pairs)
    level_sd = float(np.linalg.norm([before.session_sd, after.session_sd, between]))
    typical = float(np.median([sd for sd in noise if sd is not None] or [0.0]))
    shift_sd = float(np.hypot(level_sd, _MEDIAN_TO_SD * typical / len(pairs) ** 0.5))
    each = _quantile(confidence, len(pairs))
    half = _quantile(confidence, 1) * shift_sd
    least = float(np.log1p(tolerance)) + 1e-9
    return TableDiff(
        shift=float(np.exp(shift)),
        shift_interval=(float(np.exp(shift - half)), float(np.exp(shift + half))),
        shifted=abs(shift) > max(half, least),
        operators=tuple(
            _change(operator, pair, log, sd, shift, each, least)
            for operator, pair, log, sd in zip(common, pairs, logs.tolist(), noise, strict=True)
        ),
        missing=tuple(str(operator) for operator in sorted(set(old) - set(new))),
        added=tuple(str(operator) for operator in sorted(set(new) - set(old))),
        described=tuple(_described(before, after)),
        level=level,
    )


def _change(
    operator: OperatorSpec,
    pair: tuple[OperatorRow, OperatorRow],
    log: float,
    sd: float | None,
    shift: float,
    quantile: float,
    least: float,
) -> Change:
    half = None if sd is None else quantile * sd
    interval = None if half is None else (float(np.exp(log - half)), float(np.exp(log + half)))
    changed = half is not None and abs(log - shift) > max(half, least)
    ratio = float(np.exp(log))
    return Change(str(operator), pair[0].latency_ms, ratio * pair[0].latency_ms, ratio, interval, changed)


def _noise(pairs: Sequence[tuple[OperatorRow, OperatorRow]], logs: np.ndarray) -> list[float | None]:
    """Standard deviation of each log ratio, widened to how the ratios scatter; ``None`` where it is not known."""
    known = [[_relative_sd(row) for row in pair] for pair in pairs]
    plain = [None if one is None or two is None else float(np.hypot(one, two)) for one, two in known]
    scores = [log / sd for log, sd in zip(logs.tolist(), plain, strict=True) if sd]
    scatter = _MAD_TO_SD * float(np.median(np.abs(scores))) if scores else 1.0
    scatter *= 1 + _MAD_SD / max(1, len(scores)) ** 0.5  # it is itself uncertain
    wider = min(max(1.0, scatter), _WIDEST)
    return [None if sd is None else wider * sd for sd in plain]


def _relative_sd(row: OperatorRow) -> float | None:
    """From the interval; in older tables from the spread of the rounds, for the latency is their median."""
    if row.interval_ms is not None:
        return (row.interval_ms[1] - row.interval_ms[0]) / 2 / _quantile(0.95, 1) / row.latency_ms
    spread = row.metrics.get("spread")
    return None if spread is None else _MEDIAN_TO_SD * spread / _IQR_TO_SD / max(1, row.rounds) ** 0.5


def _quantile(confidence: float, of: int) -> float:
    """Two-sided, normal, so that ``of`` independent intervals hold together with ``confidence``."""
    from statistics import NormalDist

    return NormalDist().inv_cdf((1 + confidence ** (1 / of)) / 2)


def _described(before: LatencyLut, after: LatencyLut) -> list[str]:
    facts: Mapping[str, tuple[object, object]] = {
        "target": (before.target, after.target),
        "space": (before.subject.space, after.subject.space),
        "workload": (dict(before.workload), dict(after.workload)),
        "state of the device": (before.fingerprint, after.fingerprint),
        "provenance": (dict(before.provenance), dict(after.provenance)),
    }
    return [f"{name}: {one} before, {two} after" for name, (one, two) in facts.items() if one != two and one and two]
