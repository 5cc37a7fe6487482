"""Intervals of the median over rounds: coverage at any number of rounds, and after stopping early."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.interval import enough, half_width_ms, interval_ms, intervals_ms, is_tight, looks, status

RUNS = 4000
LEAST = 0.93
"""What is covered where stopping early costs most, of what is tried here: uniform rounds of 3 %."""

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
ROUNDS: dict[str, Draw] = {  # all of median 0
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "one-sided": lambda rng, shape: rng.exponential(size=shape) - math.log(2),
    "heavy-tailed": lambda rng, shape: rng.standard_t(3, shape) / 1.3,
    "uniform": lambda rng, shape: rng.uniform(-1.7, 1.7, shape),
}


@pytest.mark.parametrize("distribution", ROUNDS)
@pytest.mark.parametrize("rounds", [6, 8, 10, 14, 28])
def test_coverage_at_a_fixed_number_of_rounds(distribution: str, rounds: int) -> None:
    values = 1 + 0.02 * ROUNDS[distribution](np.random.default_rng(rounds), (RUNS, rounds))
    ends = intervals_ms(values)
    covered = ((ends[:, 0] <= 1) & (ends[:, 1] >= 1)).mean()
    assert 0.94 <= covered <= 0.975
    assert intervals_ms(values[:3], 0.8) == pytest.approx(np.array([interval_ms(row, 0.8) for row in values[:3]]))


@pytest.mark.parametrize("distribution", ROUNDS)
@pytest.mark.parametrize("spread", [0.01, 0.02, 0.03, 0.05])
def test_coverage_after_adaptive_stopping(distribution: str, spread: float) -> None:
    values = 1 + spread * ROUNDS[distribution](np.random.default_rng(1), (RUNS, 40))
    covered, going = np.zeros(RUNS, dtype=bool), np.ones(RUNS, dtype=bool)
    for rounds in looks(10, 40):
        ends = intervals_ms(values[:, :rounds])
        tight = (ends[:, 1] - ends[:, 0]) / 2 <= 0.02 * np.median(values[:, :rounds], axis=1)
        stopped = going & (tight | (rounds == 40))
        covered[stopped] = ((ends[:, 0] <= 1) & (ends[:, 1] >= 1))[stopped]
        going &= ~stopped
    true = LEAST if (distribution, spread) == ("uniform", 0.03) else 0.95
    assert covered.mean() == pytest.approx(true, abs=3 * math.sqrt(true * (1 - true) / RUNS))


@given(st.lists(st.floats(min_value=0.01, max_value=1e3), min_size=1, max_size=40), st.floats(0.5, 0.99))
def test_properties(rounds: list[float], confidence: float) -> None:
    values = np.array(rounds)
    low, high = interval_ms(values, confidence)
    assert low <= np.median(values) <= high
    assert interval_ms(values[::-1], confidence) == (low, high)
    wider = interval_ms(values, (1 + confidence) / 2)
    assert wider[0] <= low * (1 + 1e-12)
    assert wider[1] >= high * (1 - 1e-12)
    assert interval_ms(2 * values, confidence) == pytest.approx((2 * low, 2 * high))
    assert half_width_ms(values, confidence, 0.01) >= half_width_ms(values, confidence)


def test_few_rounds_promise_little() -> None:
    widths = [half_width_ms(np.ones(rounds)) for rounds in range(1, 7)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 0.5
    with pytest.raises(ValueError, match="0 rounds"):
        interval_ms(np.array([]))


def test_thousands_of_rounds_are_no_more_than_the_middle_ones() -> None:
    low, high = interval_ms(np.arange(1.0, 3002.0))
    half_width = 1.96 * math.sqrt(3001) / 2
    assert (1501 - low, high - 1501) == pytest.approx((half_width, half_width), rel=0.1)


def test_what_all_rounds_have_in_common_does_not_average_out() -> None:
    rounds = 1 + 0.01 * np.random.default_rng(0).standard_normal(1000)
    assert half_width_ms(rounds) < 0.002
    assert half_width_ms(rounds, level_spread=0.01) == pytest.approx(0.0196, rel=0.02)
    assert is_tight(rounds, 0.01)
    assert not is_tight(rounds, 0.01, level_spread=0.01)


def test_stops_only_where_it_looks() -> None:
    rounds = np.ones(40)
    assert looks(10, 60) == (10, 14, 20, 28, 40, 56)
    assert [n for n in range(1, 41) if enough(rounds[:n])] == [10, 14, 20, 28, 40]
    assert [n for n in range(1, 20) if enough(rounds[:n], min_rounds=6)] == [6, 9, 13, 19]


def test_status() -> None:
    rng = np.random.default_rng(2)
    steady = 1 + 0.005 * rng.standard_normal(20)
    noisy = 1 + 0.2 * rng.standard_normal(20)
    assert status(steady) == "converged"
    assert status(steady[:9]) == "budget"
    assert status(noisy) == "budget"
    assert status(5e-5 * noisy) == "converged"  # within a twentieth of a microsecond
    assert status(steady, quarantined=21) == "unstable"
    assert status(steady, quarantined=20) == "converged"
    assert status(np.array([])) == "unstable"
    assert status(steady + np.linspace(0, 0.1, 20)) == "unstable"
    assert status(steady + np.linspace(0, 0.01, 20)) == "converged"
    assert status(steady, level_spread=0.02) == "budget"
