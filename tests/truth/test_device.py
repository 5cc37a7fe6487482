"""The device of known truth itself: it keeps the contract, and does what its script says."""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="makes the graphs")

from contracts.timing_session import TimingSessionContract
from truth.device import Noise, Script, Truth, TruthDevice, lower_half

from profiler import SessionError, TimingSession

STILL = Noise(jitter=0.0, tail_share=0.0)


class TestTruthSession(TimingSessionContract):
    @pytest.fixture
    def session(self) -> TimingSession:
        return TruthDevice({}).open()


def latency_ms(device: TruthDevice, workload: str = "compute") -> float:
    return lower_half([s.wall_ns for s in device.open().reference(workload, 100, 5)]) / 100 / 1e6


def still(**script: object) -> TruthDevice:
    return TruthDevice({}, Script(**script), STILL, reference_spread=0.0)


def test_it_takes_what_it_is_said_to() -> None:
    assert latency_ms(still()) == pytest.approx(0.11)
    device = still(slowdowns=(lambda now_ms, rng: (1.4, 1.1),))
    assert latency_ms(device) == pytest.approx(1.4 * 0.11)
    assert latency_ms(device, "memory") == pytest.approx(1.1 * 0.23)
    assert all(visit.disturbance > 1.09 for visit in device.visits.values())


def test_noise_only_adds_and_a_process_has_its_own_speed() -> None:
    factors = Noise().factors(np.random.default_rng(0), 10_000)
    assert factors.min() >= 1.0
    assert np.median(factors) < 1.01 < factors.mean()
    truth = Truth(1.0, process_spread=0.02)
    effects = [TruthDevice({}, seed=seed).process_effect("p", truth.process_spread, {}) for seed in range(200)]
    assert np.std(effects) == pytest.approx(0.02, rel=0.2)


def test_its_clocks() -> None:
    coarse = still(granularity_ns=10_000_000)
    assert {sample.wall_ns % 10_000_000 for sample in coarse.open().reference("memory", 100, 9)} == {0}
    jumping = still(clock_jumps=((45.0, 1000.0), (80.0, -1000.0)))
    taken = jumping.open().reference("compute", 100, 8)
    assert max(s.wall_ns for s in taken) > 1e9
    assert min(s.wall_ns for s in taken) < 0
    assert all(0 < s.cpu_ns < 2e7 for s in taken)
    assert next(iter(jumping.visits.values())).clock_jumped
    stolen = still(steal=lambda now_ms, rng: (2.0, 2.0)).open()
    before = stolen.counters()["steal_jiffies"]
    sample = stolen.reference("compute", 1000)[0]
    assert sample.wall_ns == pytest.approx(2 * sample.cpu_ns, rel=0.01)
    assert stolen.counters()["steal_jiffies"] > before


def test_its_worker_dies_and_hangs() -> None:
    device = still(dies_at=frozenset({2}), hangs_at=frozenset({4}))
    session = device.open()
    session.facts()
    for told in ("died", "gone"):
        with pytest.raises(SessionError, match=told):
            session.facts()
    session = device.open()
    session.facts()
    with pytest.raises(SessionError, match="no reply"):
        session.facts()
