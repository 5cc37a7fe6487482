"""Kernel times of a TVM graph with known truth: what kernels take, what watching adds by the arguments handed over."""

from __future__ import annotations

import random

import numpy as np
import pytest

from profiler.primitives import primitives
from profiler.worker.kernels import IDLE, Instrument, kernel_times, kind_of
from profiler.worker.protocol import WorkerError

INSTRUCTIONS = [
    ("vm.builtin.check_tensor_info", 0.05, 0.9),
    ("vm.builtin.alloc_tensor", 0.05, 1.2),
    ("fused_dense1_add3", 30.0, 0.5),
    (IDLE, 0.0, 0.25),
    ("layer_norm", 2.0, 0.4),
    (IDLE, 0.0, 0.25),
    ("fused_dense_add", 0.1, 0.5),
    (IDLE, 0.0, 0.25),
]
"""What each takes, and what watching adds to it, in us."""
GOING_ON_US = 0.1


def watched(calls: int, runs: int, burst: float = 0.0, dearer: float = 1.0) -> tuple[list[str], np.ndarray]:
    """What a machine's instrument sees; now and then something else takes the processor."""
    rng = random.Random(0)
    instrument, times, names = Instrument(), [], []
    for _ in range(calls):
        now = 0.0
        for _ in range(runs):
            now += 20e3
            for name, us, cost_us in INSTRUCTIONS:
                for taken_us in (GOING_ON_US, us + (500 if rng.random() < burst else 0)):
                    now += 1e3 * (taken_us + dearer * (cost_us + rng.gauss(0, 0.01)))
                    instrument.names.append(name)
                    instrument.entered.append(int(now))
                    instrument.left.append(int(now + 100))
                    now += 100
        names, taken = instrument.taken()
        times.append(taken)
    return names, np.array(times)


@pytest.mark.parametrize("burst", [0.0, 0.005])
@pytest.mark.parametrize("runs", [1, 3])
def test_what_watching_costs_is_taken_off_each_kernel(burst: float, runs: int) -> None:
    nodes = kernel_times(*watched(200, runs, burst), runs)
    found = primitives({"stages": [{"name": "step", "runs": runs, "nodes": nodes}]})
    assert [(node.name, node.op) for node in found] == [
        ("fused_dense1_add3", "dense_add"), ("layer_norm", "layer_norm"), ("fused_dense_add", "dense_add"),
    ]  # fmt: skip
    for node, us, raw_us in zip(found, (30.0, 2.0, 0.1), (30.5, 2.4, 0.6), strict=True):
        assert node.latency_ms == pytest.approx(runs * us / 1e3, abs=runs * 0.05e-3)
        assert node.raw_ms == pytest.approx(runs * raw_us / 1e3, abs=runs * 0.05e-3)


def test_dearer_watching_changes_nothing() -> None:
    cheap, dear = (
        primitives({"stages": [{"name": "s", "runs": 1, "nodes": kernel_times(*watched(100, 1, dearer=by), 1)}]})
        for by in (1.0, 4.0)
    )
    for one, other in zip(cheap, dear, strict=True):
        assert other.latency_ms == pytest.approx(one.latency_ms, abs=0.1e-3)
        assert other.raw_ms > one.raw_ms


def test_a_kernel_takes_what_it_took_in_the_better_profile() -> None:
    def stage(us: float) -> dict[str, object]:
        nodes = [{"name": "take", "op": "take", "us": us, "cost_us": 0.5}]
        return {"stages": [{"name": "s", "runs": 1, "nodes": nodes}]}

    assert primitives(stage(3.0), stage(2.0)) == primitives(stage(2.0))
    assert primitives(stage(0.4))[0].latency_ms == 0.0, "less than nothing is nothing"


def test_a_graph_with_branches_is_refused() -> None:
    names, times = watched(5, 2)
    names[-2] = "another"
    with pytest.raises(WorkerError, match="does not run the same kernels each time"):
        kernel_times(names, times, 2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fused_dense1_add3_add4", "dense_add_add"),
        ("attention1", "attention"),
        ("layer_norm", "layer_norm"),
        ("conv2d12", "conv2d"),
        ("take", "take"),
    ],
)
def test_kernels_that_differ_in_sizes_alone_are_of_one_kind(name: str, kind: str) -> None:
    assert kind_of(name) == kind
