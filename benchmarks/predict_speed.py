"""Latency of 100,000 candidates: from a table, and by HAT's predictor, in the same run.

    python benchmarks/predict_speed.py [--candidates 100000] [--threads 1] [--json]

The predictor is HAT's (its latency_predictor.py: 10-400-400-400-400-1, ReLU) in torch, with
random weights: speed does not depend on them. The table's entries are synthetic too, for the
same reason. The table is given what a search has, encoded genes; the predictor its ten features, and
the time to compute these from genes is left out, which favours it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections.abc import Callable

import numpy as np

from hwnas.families import get_family
from hwnas.families.seq2seq.features import FeaturesOfGenes
from hwnas.latency import TableLatency, operators_of
from hwnas.predictors.mlp import FEATURE_NORM
from hwnas.space import SearchSpace
from hwnas.spaces import load_space
from latency_luts import DISPATCH, LatencyLut, OperatorRow, OperatorSpec, Subject
from profiler.target import Target

SINGLE_CALLS = 2_000
REPEATS = 5


def synthetic_latency(space: SearchSpace) -> TableLatency:
    """A calibrated-looking table with one made-up entry per operator of the space."""
    family = get_family(space.family)
    rows = {DISPATCH: OperatorRow(DISPATCH, 0.003, 1, 1, "synthetic", 0.0)}
    for operator in operators_of(space, family, space.workload):
        rows[operator] = OperatorRow(operator, synthetic_ms(operator), 1, 1, "synthetic", 0.0)
    target = Target("synthetic", "none", 1, "wall")
    subject = Subject(space.name, space.fingerprint)
    return TableLatency.from_lut(space, family, LatencyLut(target, space.workload.as_dict(), subject, rows))


def synthetic_ms(operator: OperatorSpec) -> float:
    """Grows with the operator's sizes."""
    return 0.005 + 1e-6 * sum(value for _, value in operator.sizes)


def best_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The least of several wall times: what else runs on the machine only ever adds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def measure(candidates: int, threads: int) -> dict[str, float]:
    """Candidates per second of each way, by name."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    space = load_space("hat_wmt14_ende")
    latency = synthetic_latency(space)
    rng = random.Random(0)
    genes = space.encode_many(space.sample(rng) for _ in range(candidates))
    widths = [10, 400, 400, 400, 400]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    predictor = nn.Sequential(*layers, nn.Linear(400, 1)).eval()
    features = (FeaturesOfGenes(space)(genes) / FEATURE_NORM).astype(np.float32)

    def one_by_one() -> None:
        # as HAT's evolution calls it: a fresh tensor and a forward pass per candidate, gradients recorded
        for row in features[:SINGLE_CALLS].tolist():
            predictor(torch.Tensor(row)).item()

    def in_batches(size: int) -> None:
        with torch.inference_mode():
            for start in range(0, candidates, size):
                predictor(torch.from_numpy(features[start : start + size]))

    def table_one_by_one() -> None:
        for start in range(SINGLE_CALLS):
            latency.latency_ms(genes[start : start + 1])

    latency.latency_ms(genes)
    one_by_one()
    return {
        "table_batch": candidates / best_s(lambda: latency.latency_ms(genes)),
        "table_single": SINGLE_CALLS / best_s(table_one_by_one),
        "hat_single": SINGLE_CALLS / best_s(one_by_one, 3),
        "hat_batch_125": candidates / best_s(lambda: in_batches(125), 2),
        "hat_batch_10000": candidates / best_s(lambda: in_batches(10_000), 2),
    }


def main() -> None:
    """Print the speeds and their ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    speeds = measure(arguments.candidates, arguments.threads)
    if arguments.json:
        print(json.dumps(speeds))
        return
    table = speeds["table_batch"]
    print(f"{arguments.candidates:,} candidates of hat_wmt14_ende, {arguments.threads} torch thread(s); synthetic")
    print("table entries and predictor weights (speed does not depend on them)")
    print(f"{'':<34}{'candidates/s':>14}   table is faster by")
    for name, label in (
        ("table_batch", "table, all at once"),
        ("table_single", "table, one by one"),
        ("hat_single", "HAT's predictor, one by one"),
        ("hat_batch_125", "HAT's predictor, batches of 125"),
        ("hat_batch_10000", "HAT's predictor, batches of 10,000"),
    ):
        ratio = f"{table / speeds[name]:12,.1f} x" if name.startswith("hat") else ""
        print(f"{label:<34}{speeds[name]:>14,.0f}   {ratio}")
    print(f"one by one against one by one: {speeds['table_single'] / speeds['hat_single']:.1f} x")


if __name__ == "__main__":
    main()
