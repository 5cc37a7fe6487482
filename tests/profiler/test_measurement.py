import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import Measurement, RoundSamples

SAMPLES = st.lists(st.integers(min_value=1, max_value=10**9), min_size=1, max_size=9)


def measurement(*rounds: list[int], calls: int = 1) -> Measurement:
    return Measurement(
        tuple(
            RoundSamples(number, calls, tuple(wall), tuple(2 * value for value in wall))
            for number, wall in enumerate(rounds)
        )
    )


def test_known_numbers() -> None:
    measured = measurement(
        [10_000_000, 90_000_000, 20_000_000, 30_000_000, 80_000_000],  # lower half 10, 20, 30: mean 20
        [40_000_000, 40_000_000, 40_000_000, 40_000_000, 99_000_000],  # 40
        [60_000_000, 70_000_000],  # lower half of two is one: 60
        calls=10,
    )
    assert list(measured.rounds_ms("wall")) == [2.0, 4.0, 6.0]
    assert measured.latency_ms("wall") == 4.0
    assert measured.latency_ms("thread_cpu") == 8.0
    assert measured.halves_ms("wall") == (4.0, 4.0)
    assert measured.spread("wall") == pytest.approx((5.0 - 3.0) / 4.0)
    assert measured.calls == 10


def test_one_round_has_no_halves() -> None:
    assert measurement([1_000_000]).halves_ms("wall") == (1.0, 1.0)


@given(st.lists(SAMPLES, min_size=1, max_size=8))
def test_properties(rounds: list[list[int]]) -> None:
    measured = measurement(*rounds)
    latency = measured.latency_ms("wall")
    smallest, largest = min(map(min, rounds)) / 1e6, max(map(max, rounds)) / 1e6
    assert smallest * (1 - 1e-12) <= latency <= largest * (1 + 1e-12)
    low, high = measured.interval_ms("wall")
    assert low <= high
    assert measured.interval_ms("wall") == (low, high)
    assert measurement(*[sorted(r) for r in rounds]).latency_ms("wall") == latency
    assert measured.latency_ms("thread_cpu") == pytest.approx(2 * latency)


def test_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(40):
        rounds = [[int(1e6 + n)] for n in rng.normal(0, 2e4, 20)]
        low, high = measurement(*rounds).interval_ms("wall")
        covered += low <= 1.0 <= high
    assert covered >= 34


def test_a_measurement_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one round"):
        Measurement(())
    with pytest.raises(ValueError, match="both clocks"):
        Measurement((RoundSamples(0, 1, (1,), ()),))
