"""What each round visits, in what order, and when an item is done: decided from what was taken alone."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from profiler.interval import enough, half_width_ms, looks
from profiler.session import ReferenceWorkload

if TYPE_CHECKING:
    from profiler.journal import JournalPlan
    from profiler.measurement import Measurement
    from profiler.target import Clock

REFERENCE_EVERY_MS = (500.0, 5000.0)
"""Reference workloads stand so far apart: in short rounds, and at most (or one visit, if that is longer)."""

_LEAST_REFERENCES, _REFERENCES = 3, 8
_EXTRA_ROUNDS = 0.5

Key = tuple[str, str]
"""Target and item."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to time in a round, at ``position``: an item, or else a reference workload."""

    position: int
    target: str
    item: str | None = None
    workload: ReferenceWorkload | None = None


def most_rounds(plan: JournalPlan) -> int:
    """Rounds an item is visited in at most: half as many again as planned, in place of quarantined ones."""
    return plan.rounds + max(2, int(_EXTRA_ROUNDS * plan.rounds))


def is_done(plan: JournalPlan, measured: Measurement | None, clock: Clock) -> bool:
    """Whether an item needs no further round: its interval is tight, or it had all its rounds."""
    if measured is None:
        return False
    good = sum(r.quarantined is None for r in measured.rounds)
    if good >= plan.rounds or len(measured.rounds) >= most_rounds(plan):
        return True
    if plan.half_width is None or good < plan.min_rounds:
        return False
    return enough(measured.rounds_ms(clock), plan.half_width, plan.min_rounds, measured.level_spread)


def rounds_ahead(plan: JournalPlan, measured: Measurement | None, done: bool) -> int:
    """Rounds an item will have had when it is next looked at, at least; those it has if it is done."""
    taken = 0 if measured is None else len(measured.rounds)
    if done:
        return taken
    if plan.half_width is None:
        return max(plan.rounds, taken + 1)
    return min(next(n for n in looks(plan.min_rounds, 10 * most_rounds(plan)) if n > taken), most_rounds(plan))


def urgency_ms(measured: Measurement | None, clock: Clock, use: float) -> float:
    """How far an item's latency may be off, times how often it is paid; infinite if nothing is known."""
    if measured is None or len(measured.used) < 2:
        return float("inf")
    return half_width_ms(measured.rounds_ms(clock)) * use


def affordable(
    keys: Sequence[Key], urgency: Mapping[Key, float], cost_s: Mapping[Key, float], left_s: float | None
) -> list[Key]:
    """The most urgent of ``keys`` that fit into ``left_s`` together (all of them without a budget)."""
    if left_s is None:
        return list(keys)
    taken = []
    for key in sorted(keys, key=lambda key: (-urgency[key], key)):
        left_s -= cost_s[key]
        if left_s < 0:
            break
        taken.append(key)
    return taken


def round_order(seed: int, number: int, visits: int) -> list[int]:
    """The order of a round's visits; from seed and round alone, in any process."""
    order = list(range(visits))
    random.Random(f"{seed}/{number}").shuffle(order)
    return order


def round_steps(order: Sequence[Key], visit_ms: Mapping[Key, float], steady: Collection[str] = ()) -> list[Step]:
    """A round: its visits in this order, with reference workloads at its start and end and in between.

    Targets that are ``steady``, for their clock does not drift, have no references.
    """
    targets = sorted({target for target, _ in order} - set(steady))
    round_ms, (least_ms, most_ms) = sum(visit_ms[key] for key in order), REFERENCE_EVERY_MS
    apart_ms = min(max(least_ms, round_ms / _REFERENCES), most_ms, round_ms / (_LEAST_REFERENCES - 1))
    steps: list[Step] = []

    def references() -> None:
        for target in targets:
            for workload in get_args(ReferenceWorkload):
                steps.append(Step(len(steps), target, workload=workload))

    references()
    since_ms = 0.0
    for key in order:
        if since_ms >= apart_ms:
            references()
            since_ms = 0.0
        steps.append(Step(len(steps), key[0], item=key[1]))
        since_ms += visit_ms[key]
    references()
    return steps
