from __future__ import annotations

import importlib
import random

import numpy as np
import pytest

from hwnas.spaces import load_space


def test_the_predictor_of_the_benchmark_is_given_hats_features() -> None:
    """Means are over active layers only, in HAT's order and with HAT's divisors."""
    speed = importlib.import_module("benchmarks.predict_speed")
    space = load_space("hat_wmt14_ende")
    rng = random.Random(0)
    candidates = [space.sample(rng) for _ in range(20)]
    features = speed.HatFeatures(space)(space.encode_many(candidates))
    for candidate, row in zip(candidates, features, strict=True):

        def mean(name: str, candidate=candidate) -> float:  # type: ignore[no-untyped-def]
            return float(np.mean([v for key, v in candidate.entries if key.startswith(f"{name}.")]))

        expected = [
            candidate["encoder_embed"] / 640, 1.0, mean("encoder_ffn") / 2048, mean("encoder_heads") / 6,
            candidate["decoder_embed"] / 640, candidate["decoder_layers"] / 6, mean("decoder_ffn") / 2048,
            mean("decoder_self_heads") / 6, mean("decoder_cross_heads") / 6, mean("decoder_attended") / 2,
        ]  # fmt: skip
        np.testing.assert_allclose(row, expected, rtol=1e-5)


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
