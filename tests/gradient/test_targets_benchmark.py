"""The benchmark of targets runs on the toy task, and what it counts as memory is what there is."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gradient_targets import Bench, at_targets, epoch_ratios, memory_ratios
from benchmarks.peak_memory import PeakMemory
from hwnas.gradient.darts import DartsSettings
from hwnas.gradient.proxyless import ProxylessSettings
from tests.gradient.toy_search import FAMILY, LATENCY, SPACE, TASK, toy_supernet

METHODS = {
    "ours": ProxylessSettings(steps=6, batch_size=8, runners=3),
    "mul": ProxylessSettings(steps=6, batch_size=8, runners=3, binary=True, latency="mul"),
}


def test_the_benchmark_runs_on_the_toy_task() -> None:
    bench = Bench(SPACE, FAMILY, TASK, toy_supernet(), LATENCY, TASK.pairs["valid"][:16], 0)
    rows = list(at_targets(bench, [0.35, 0.8], METHODS))
    assert [row.method for row in rows] == ["ours", "mul"] * 2
    assert all(row.predicted <= 1 and row.certainty >= 0.9 and row.evaluations >= 1 for row in rows)
    epochs = epoch_ratios(bench, {"darts": DartsSettings()}, 4)
    memory = memory_ratios(bench, {"darts": DartsSettings(batch_size=8)}, 2)
    assert set(epochs) == {"darts, weights frozen", "darts, weights adapted"}
    assert all(ratio > 0 for ratio in (*epochs.values(), *memory.values()))


def test_peak_memory_counts_what_lives_at_once_and_storages_once() -> None:
    kept = torch.zeros(1000)
    with PeakMemory([kept, kept.view(10, 100)]) as memory:
        assert memory.peak == 4000
        for _ in range(3):
            made = torch.ones(500)
            del made
        assert (memory.live, memory.peak) == (4000, 6000)
        both = torch.ones(500), torch.ones(250)
        assert memory.live == memory.peak == 7000
        assert both[0].view(5, 100).sum() == 500


def test_peak_memory_sees_what_a_backward_pass_keeps() -> None:
    weight = torch.ones(100, 100, requires_grad=True)
    with PeakMemory([weight]) as memory:
        loss = (weight * 2).exp().sum()  # exp keeps its result
        loss.backward()  # type: ignore[no-untyped-call]
    assert memory.peak >= 3 * 40_000
    assert weight.grad is not None
    assert memory.live == pytest.approx(2 * 40_000, abs=64)
