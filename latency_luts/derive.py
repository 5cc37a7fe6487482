"""From a profiling journal to rows: the latency functional of every item, and nothing unproven."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast, get_args

from latency_luts.operator import OperatorSpec
from latency_luts.rows import OperatorRow, Role, WholeModel
from profiler.journal import JournalContent, JournalItem
from profiler.measurement import Measurement
from profiler.target import Target


def operator_rows(content: JournalContent, target: Target) -> dict[OperatorSpec, OperatorRow]:
    """A row for every operator that was measured and proven on ``target``; items are named by their spec."""
    rows = {}
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
        )
        for item, measured, error in _proven(content, target)
        if item.role == "model" and item.meta.get("role") in get_args(Role)
    )


def least_rounds(content: JournalContent, target: Target) -> int:
    """Rounds that every planned item was measured in."""
    found = (content.measurements.get((str(target), item.name)) for item in content.header.items)
    return min((0 if measured is None else len(measured.rounds) for measured in found), default=0)


def _proven(content: JournalContent, target: Target) -> Iterator[tuple[JournalItem, Measurement, float]]:
    """Items with samples and a passing parity record for each of their graphs; the largest difference."""
    errors = {
        artifact: parity.max_abs_error
        for (name, artifact), parity in content.parity.items()
        if name == str(target) and parity.passed
    }
    for item in content.header.items:
        measured = content.measurements.get((str(target), item.name))
        if measured is not None and item.artifacts and all(artifact in errors for artifact in item.artifacts):
            yield item, measured, max(errors[artifact] for artifact in item.artifacts)


def _samples(measured: Measurement) -> int:
    return sum(len(taken.wall_ns) for taken in measured.rounds)
