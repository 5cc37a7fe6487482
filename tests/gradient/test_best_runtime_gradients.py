"""Searches by gradients over candidate and runtime at once: the least of several expectations, and where they end."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.best_runtime import BestRuntimeLatency
from hwnas.device_limits import DeviceLimits
from hwnas.expected import ExpectedLatency, LeastExpectedLatency
from hwnas.gradient.repair import NEAR
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits
from latency_luts import OperatorSpec
from tests.expected.soft_architectures import one_hot, random_logits, softmax
from tests.gradient.toy_search import LATENCY, METHODS, SPACE, search
from tests.training.toy import FAMILY


def other() -> TableLatency:
    """Better for decoders, worse for encoders, both by enough to be the best for some."""

    def factor(operator: OperatorSpec) -> float:
        return 0.8 if operator.kind.startswith("decoder") else 1.3

    rows = {op: replace(row, latency_ms=row.latency_ms * factor(op)) for op, row in LATENCY.lut.rows.items()}
    return TableLatency.from_lut(SPACE, FAMILY, replace(LATENCY.lut, rows=rows))


BEST = BestRuntimeLatency({"one": LATENCY, "two": other()})
EXPECTED = LeastExpectedLatency(BEST)


def test_of_a_decided_architecture_it_is_the_latency_on_the_best_runtime() -> None:
    rng = random.Random(0)
    genes = SPACE.encode_many(SPACE.sample(rng) for _ in range(100))
    np.testing.assert_allclose(EXPECTED(one_hot(SPACE, genes)), BEST.latency_ms(genes), rtol=1e-9)
    assert {BEST.runtime_of(SPACE.decode(gene)) for gene in genes} == {"one", "two"}


def test_of_others_it_is_the_least_expectation_and_has_its_gradient() -> None:
    told = []
    for module in (EXPECTED, *(ExpectedLatency(model) for model in BEST.models.values())):
        logits = {name: value.requires_grad_() for name, value in random_logits(SPACE, 40).items()}
        expected = module(softmax(logits))
        gradients = torch.autograd.grad(expected.sum(), list(logits.values()))
        told.append((expected.detach(), torch.cat(gradients, dim=-1)))
    (least, gradient), (one, by_one), (two, by_two) = told
    assert (one < two).any() and (two < one).any()
    torch.testing.assert_close(least, torch.minimum(one, two))
    torch.testing.assert_close(gradient, torch.where((one < two)[:, None], by_one, by_two))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("share", [0.35, 0.8])
def test_what_is_evaluated_is_at_the_limit_by_its_best_runtime(method: str, share: float, tmp_path: Path) -> None:
    latencies = [BEST.of(SPACE.extreme(0)), BEST.of(SPACE.extreme(-1))]
    limit_ms = min(latencies) + share * (max(latencies) - min(latencies))
    limits = DeviceLimits({"": CandidateLimits(SPACE, FAMILY, SPACE.workload, BEST, latency_ms=limit_ms)})
    settings = METHODS[method](steps=12, batch_size=8, runners=4)
    result = search(tmp_path, settings, limits=limits)
    found = [BEST.of(evaluation.candidate) for evaluation in result.evaluations]
    assert len(found) == 4
    assert all(NEAR * limit_ms <= latency_ms <= limit_ms for latency_ms in found), (limit_ms, found)
