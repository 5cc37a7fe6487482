import pytest

from profiler import Sample
from profiler.warm_up import least_sample_ms, until_stationary


def falling(latencies_ms: list[float]):
    """Samples of a program whose latency falls with every request, the last staying."""
    left = list(latencies_ms)
    asked: list[tuple[int, int]] = []

    def timed(calls: int, samples: int) -> tuple[Sample, ...]:
        asked.append((calls, samples))
        call_ms = left.pop(0) if len(left) > 1 else left[0]
        return tuple(Sample(calls, int(calls * call_ms * 1e6), 1) for _ in range(samples))

    return timed, asked


def test_it_goes_on_while_the_program_gets_faster() -> None:
    timed, asked = falling([2.0, 1.5, 1.2, 1.1, 1.095, 1.0])
    assert until_stationary(timed, 40, "wall") == pytest.approx(1.095)
    assert asked == [(5, 3)] * 5


def test_a_steady_program_is_asked_twice_and_a_long_one_call_by_call() -> None:
    timed, asked = falling([1.0])
    assert until_stationary(timed, 1, "wall") == pytest.approx(1.0)
    assert asked == [(1, 1)] * 2


def test_one_that_never_settles_is_taken_as_it_is() -> None:
    timed, asked = falling([0.9**n for n in range(100)])
    until_stationary(timed, 8, "wall")
    assert len(asked) == 12


def test_a_coarse_clock_asks_for_long_samples() -> None:
    assert least_sample_ms(2.0, 100.0) == 2.0
    assert least_sample_ms(2.0, 15e3) == pytest.approx(3.0)
    assert least_sample_ms(2.0, 1e7) == pytest.approx(2000.0)
