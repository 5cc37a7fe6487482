"""A curve of latency without a pause, and the knee where a device slows down."""

from __future__ import annotations

import numpy as np
import pytest
from contracts.fake_session import FakeSession
from contracts.graphs import linear
from hypothesis import given
from hypothesis import strategies as st

from profiler import Program, Sample
from profiler.sustained import LEAST_STEP, POINTS, Point, Sustained, knee, sustain


class Slowing(FakeSession):
    """Its clock is its own work; after ``at_s`` of it a call takes ``factor`` as long, and the throttle bit is set."""

    def __init__(self, at_s: float, factor: float) -> None:
        super().__init__()
        self.at_s, self.factor, self.worked_s = at_s, factor, 0.0

    @property
    def slow(self) -> bool:
        return self.worked_s >= self.at_s

    def time(self, handle: str, calls: int, samples: int = 1) -> tuple[Sample, ...]:
        call_ns = round(1e6 * (self.factor if self.slow else 1.0))
        self.worked_s += samples * calls * call_ns / 1e9
        return (Sample(calls, calls * call_ns, calls * call_ns),) * samples

    def facts(self) -> dict[str, object]:
        return {
            "frequency_khz": {"cur": 900_000 if self.slow else 1_500_000},
            "temperature_millidegrees": {"zone0": 82_000 if self.slow else 60_000, "zone1": None},
            "throttled_bits": 0x20002 if self.slow else 0,
        }


def curve(session: Slowing, seconds: float, tmp_path) -> Sustained:
    handle = session.load(Program.single(linear(tmp_path / "a.onnx")))
    return sustain(session, handle, seconds, now=lambda: session.worked_s)


def test_a_device_that_slows_down(tmp_path) -> None:
    found = curve(Slowing(at_s=120.0, factor=1.4), 600.0, tmp_path)
    assert found.knee_s == pytest.approx(120.0, abs=600 / POINTS + 1)
    assert found.first_ms == pytest.approx(1.0)
    assert found.latency_ms == pytest.approx(1.4)
    assert found.seconds == pytest.approx(600.0, abs=600 / POINTS + 1)
    assert len(found.points) <= POINTS + 1
    first, last = found.points[0], found.points[-1]
    assert (first.frequency_khz, first.temperature_millidegrees, first.throttled_bits) == (1_500_000, 60_000, 0)
    assert (last.frequency_khz, last.temperature_millidegrees, last.throttled_bits) == (900_000, 82_000, 0x20002)


def test_a_device_that_does_not(tmp_path) -> None:
    found = curve(Slowing(at_s=1e9, factor=1.4), 60.0, tmp_path)
    assert found.knee_s is None
    assert (found.first_ms, found.latency_ms) == (1.0, 1.0)


def test_progress_ends_at_the_end(tmp_path) -> None:
    session, seen = Slowing(1e9, 1.0), []
    handle = session.load(Program.single(linear(tmp_path / "a.onnx")))
    sustain(session, handle, 10.0, lambda done, total: seen.append((done, total)), lambda: session.worked_s)
    assert seen[-1] == (10.0, 10.0)
    assert seen == sorted(seen)


@given(
    at=st.integers(10, 100),
    step=st.floats(0.08, 1.0),
    noise=st.floats(0.0, 0.01),
    seed=st.integers(0, 2**16),
)
def test_a_step_well_above_the_noise_is_found_where_it_is(at: int, step: float, noise: float, seed: int) -> None:
    values = 1.0 + noise * np.random.default_rng(seed).standard_normal(POINTS)
    values[at:] += step
    found = knee(values)
    assert found is not None
    assert abs(found - at) <= 1


@given(noise=st.floats(0.0, 0.01), drop=st.floats(0.0, 0.5), seed=st.integers(0, 2**16))
def test_noise_and_speeding_up_are_no_knee(noise: float, drop: float, seed: int) -> None:
    values = 1.0 + noise * np.random.default_rng(seed).standard_normal(POINTS)
    values[POINTS // 2 :] -= drop
    assert knee(values) is None


def test_a_step_that_could_be_another_session_is_no_knee() -> None:
    values = np.ones(20)
    values[10:] += 0.9 * LEAST_STEP
    assert knee(values) is None


def test_one_point_is_a_curve_too() -> None:
    found = Sustained.of([Point(1.0, 2.0, None, None, None)])
    assert (found.latency_ms, found.first_ms, found.knee_s, found.seconds) == (2.0, 2.0, None, 1.0)
