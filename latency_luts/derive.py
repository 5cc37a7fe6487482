"""From a profiling journal to rows: the latency functional of every item, and nothing unproven."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast, get_args

import numpy as np

from latency_luts.operator import OperatorSpec
from latency_luts.rows import OperatorRow, Role, WholeModel
from profiler.journal import JournalContent, JournalItem
from profiler.measurement import Measurement
from profiler.schedule import is_done
from profiler.target import Target

_LEAST_LEVELS = 5
_MAD_TO_SD = 1.4826
"""Of a normal distribution."""


def operator_rows(content: JournalContent, target: Target) -> dict[OperatorSpec, OperatorRow]:
    """A row for every operator that was measured and proven on ``target``; items are named by their spec."""
    rows, virtual = {}, target.clock == "virtual"
    for item, measured, error in _proven(content, target):
        if item.role == "operator":
            operator = OperatorSpec.parse(item.name)
            metrics = {"wall_ms": measured.latency_ms("wall"), "spread": measured.spread(target.clock)}
            rows[operator] = OperatorRow(
                operator=operator,
                latency_ms=measured.latency_ms(target.clock),
                rounds=len(measured.rounds),
                samples=_samples(measured),
                artifact_sha256=item.artifacts[0],
                parity_error=error,
                metrics=metrics,
                streamed_bytes=item.streamed_bytes,
                interval_ms=None if virtual else measured.interval_ms(target.clock),
                raw_ms=measured.raw_latency_ms(target.clock),
                status=None if virtual else measured.status(target.clock),
            )
    return rows


def whole_models(content: JournalContent, target: Target) -> tuple[WholeModel, ...]:
    """The calibration and check models measured and proven on ``target``.

    Their ``meta`` carries ``role``, ``candidate`` (choice -> value) and ``operators`` (spec -> count).
    """
    return tuple(
        WholeModel(
            model=item.name,
            role=cast("Role", item.meta["role"]),
            candidate=cast("Mapping[str, int]", item.meta["candidate"]),
            operators={
                OperatorSpec.parse(spec): count
                for spec, count in cast("Mapping[str, int]", item.meta["operators"]).items()
            },
            latency_ms=measured.latency_ms(target.clock),
            halves_ms=measured.halves_ms(target.clock),
            rounds=len(measured.rounds),
            samples=_samples(measured),
            artifact_sha256=item.program,
            parity_error=error,
            interval_ms=None if target.clock == "virtual" else measured.interval_ms(target.clock),
            status=None if target.clock == "virtual" else measured.status(target.clock),
        )
        for item, measured, error in _proven(content, target)
        if item.role == "model" and item.meta.get("role") in get_args(Role)
    )


def most_rounds(content: JournalContent, target: Target) -> int:
    """Rounds that anything was measured in; what converges early has fewer than the rest."""
    return max((len(measured.rounds) for measured, _ in _measured(content, target)), default=0)


def lacking(content: JournalContent, target: Target) -> str | None:
    """What keeps a journal's table from being all that was planned; ``None`` if nothing does."""
    planned, proven = content.header.items, sum(1 for _ in _proven(content, target))
    early = 0
    if not any(entry.at == "end" for entry in content.environment):
        plan = content.header.plan
        early = sum(not is_done(plan, measured, target.clock) for measured, _ in _measured(content, target))
    reasons = [f"{name}: {why}" for (where, name), why in sorted(content.failed.items()) if where == str(target)]
    if proven == len(planned) and not early and not reasons:
        return None
    parts = [f"{proven} of {len(planned)} items measured"]
    parts += [f"{early} of them in fewer rounds than planned"] * bool(early)
    larger = "" if content.header.plan.budget_s is None else ", with a larger budget if it was spent"
    return f"{', '.join(parts)}{''.join(f' ({why})' for why in reasons[:1])}; profile again{larger}"


def session_sd(content: JournalContent, target: Target) -> float:
    """By how much the rounds' common level differed, after drift was corrected: a share, robust.

    A round's level is the median over all items of its latency to that item's own. What makes
    everything slower at once in one round and not in the next will do so again in another run.
    Rounds that less than half of the items were in are left out, for theirs is mostly noise; 0 for
    fewer than five rounds.
    """
    levels: dict[int, list[float]] = {}
    for measured, _ in _measured(content, target):
        latency_ms = measured.latency_ms(target.clock)
        for number, round_ms in measured.by_round(target.clock).items():
            levels.setdefault(number, []).append(float(np.log(round_ms / latency_ms)))
    least = len(content.header.items) / 2
    common = np.array([np.median(ratios) for ratios in levels.values() if len(ratios) >= least])
    if len(common) < _LEAST_LEVELS:
        return 0.0
    return float(_MAD_TO_SD * np.median(np.abs(common - np.median(common))))


def _measured(content: JournalContent, target: Target) -> Iterator[tuple[Measurement, JournalItem]]:
    for item in content.header.items:
        measured = content.measurements.get((str(target), item.name))
        if measured is not None:
            yield measured, item


def _proven(content: JournalContent, target: Target) -> Iterator[tuple[JournalItem, Measurement, float]]:
    """Items with samples and a passing parity record for each of their graphs; the largest difference."""
    errors = {
        artifact: parity.max_abs_error
        for (name, artifact), parity in content.parity.items()
        if name == str(target) and parity.passed
    }
    for measured, item in _measured(content, target):
        if item.artifacts and all(artifact in errors for artifact in item.artifacts):
            yield item, measured, max(errors[artifact] for artifact in item.artifacts)


def _samples(measured: Measurement) -> int:
    return sum(len(taken.wall_ns) for taken in measured.rounds)
