from __future__ import annotations

import importlib

import pytest


def test_the_benchmarks_run_on_a_few_candidates() -> None:
    speeds = importlib.import_module("benchmarks.predict_speed").measure(50, threads=1)
    assert set(speeds) == {"table_batch", "table_single", "hat_single", "hat_batch_125", "hat_batch_10000"}
    assert all(speed > 0 for speed in speeds.values())


@pytest.mark.slow
def test_the_table_outruns_the_predictor() -> None:
    """In one run on one machine, so only ratios count: 20 times the single call, and faster than any batch."""
    speeds = importlib.import_module("benchmarks.predict_speed").measure(100_000, threads=1)
    assert speeds["table_batch"] >= 20 * speeds["hat_single"]
    assert speeds["table_batch"] > max(speeds["hat_batch_125"], speeds["hat_batch_10000"])
