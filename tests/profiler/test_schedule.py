from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import JournalPlan, Measurement, RoundSamples
from profiler.interval import looks
from profiler.schedule import (
    REFERENCE_EVERY_MS,
    affordable,
    is_done,
    most_rounds,
    round_order,
    round_steps,
    rounds_ahead,
    urgency_ms,
)
from profiler.session import ReferenceWorkload

FIXED = JournalPlan(rounds=6, samples=3, min_sample_ms=2.0, seed=0)
ADAPTIVE = replace(FIXED, rounds=40, half_width=0.02)


def measured(*rounds_ms: float, quarantined: int = 0) -> Measurement:
    """One sample a round; the last ``quarantined`` rounds do not count."""
    reasons = [None] * (len(rounds_ms) - quarantined) + ["noise"] * quarantined
    return Measurement(
        tuple(
            RoundSamples(number, 1, (int(1e6 * ms),), (int(1e6 * ms),), quarantined=why)
            for number, (ms, why) in enumerate(zip(rounds_ms, reasons, strict=True))
        )
    )


def test_a_fixed_number_of_rounds_is_taken_whatever_they_show() -> None:
    assert not is_done(FIXED, None, "wall")
    assert not is_done(FIXED, measured(*[1.0] * 5), "wall")
    assert is_done(FIXED, measured(*[1.0] * 6), "wall")


def test_quarantined_rounds_are_repeated_but_not_for_ever() -> None:
    assert not is_done(FIXED, measured(*[1.0] * 6, quarantined=1), "wall")
    assert is_done(FIXED, measured(*[1.0] * 7, quarantined=1), "wall")
    assert most_rounds(FIXED) == 9
    assert is_done(FIXED, measured(*[1.0] * 9, quarantined=5), "wall")


def test_a_tight_interval_is_enough_once_it_is_looked_at() -> None:
    assert not is_done(ADAPTIVE, measured(*[1.0] * 9), "wall")
    assert is_done(ADAPTIVE, measured(*[1.0] * 10), "wall")
    wide = [1.0, 1.2] * 20
    assert not is_done(ADAPTIVE, measured(*wide[:10]), "wall")
    assert not is_done(ADAPTIVE, measured(*wide[:10], 1.0), "wall")
    assert is_done(ADAPTIVE, measured(*wide), "wall")
    assert is_done(replace(ADAPTIVE, half_width=0.2), measured(*wide[:10]), "wall")


@given(st.integers(0, 60))
def test_as_many_rounds_lie_ahead_as_until_the_next_look(taken: int) -> None:
    found = measured(*[1.0, 1.5] * 30)
    found = Measurement(found.rounds[:taken]) if taken else None
    ahead = rounds_ahead(ADAPTIVE, found, done=False)
    assert ahead > taken or taken >= most_rounds(ADAPTIVE)
    assert ahead in looks(10) or ahead == most_rounds(ADAPTIVE)
    assert rounds_ahead(ADAPTIVE, found, done=True) == taken


def test_what_is_known_worst_and_paid_most_is_most_urgent() -> None:
    rounds = [1.0, 1.1] * 5
    assert urgency_ms(None, "wall", 1.0) == urgency_ms(measured(1.0), "wall", 1.0) == float("inf")
    often, seldom = (urgency_ms(measured(*rounds), "wall", use) for use in (3.0, 0.5))
    assert often == pytest.approx(6 * seldom)
    assert seldom > urgency_ms(measured(*[1.0, 1.01] * 5), "wall", 0.5)


def test_a_budget_goes_to_the_most_urgent() -> None:
    keys = [("t", name) for name in "abcd"]
    urgency = dict(zip(keys, (1.0, 4.0, 2.0, 3.0), strict=True))
    cost = dict.fromkeys(keys, 2.0)
    assert affordable(keys, urgency, cost, None) == keys
    assert affordable(keys, urgency, cost, 5.0) == [("t", "b"), ("t", "d")]
    assert affordable(keys, urgency, cost, 1.9) == []


@given(st.integers(1, 30), st.integers(1, 2), st.floats(0.5, 3000.0), st.integers(0, 100))
def test_references_stand_at_both_ends_and_not_far_apart(items: int, targets: int, ms: float, seed: int) -> None:
    keys = [(f"t{t}", f"i{i}") for t in range(targets) for i in range(items)]
    order = [keys[i] for i in round_order(seed, 3, len(keys))]
    steps = round_steps(order, dict.fromkeys(keys, ms))
    assert [step.position for step in steps] == list(range(len(steps)))
    assert [(step.target, step.item) for step in steps if step.item is not None] == order
    point = targets * len(get_args(ReferenceWorkload))
    assert all(step.workload is not None for step in (*steps[:point], *steps[-point:]))
    since_ms, longest_ms, points = 0.0, 0.0, 0
    for step in steps:
        if step.workload is None:
            since_ms += ms
        else:
            points += 1
            longest_ms, since_ms = max(longest_ms, since_ms), 0.0
    assert longest_ms <= REFERENCE_EVERY_MS[1] + ms
    assert points % point == 0
    assert points / point >= min(3, len(order) + 1)
    assert points / point <= 3 + max(8.0, len(order) * ms / REFERENCE_EVERY_MS[1])
