"""The stand-in space searched by gradients: its loss expected exactly under independent choices.

The search is the real one (:func:`hwnas.gradient.search.find_by_gradient`); what stands for the SuperTransformer is
the expectation of the stand-in loss, which is a sum over choices and pairs of them and so a polynomial in the
probabilities. There are no shared weights and no mini-batches, so there is neither entanglement nor noise: this
shows what the descent makes of true gradients, not what a SuperTransformer's are worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.data.task import Pair
from hwnas.device_limits import DeviceLimits
from hwnas.expected import ExpectedLatency
from hwnas.factors import Factor
from hwnas.families.base import Mixture, Term
from hwnas.gradient.search import find_by_gradient
from hwnas.latency import TableLatency, TableSum
from hwnas.limits import CandidateLimits
from hwnas.search.honesty import Regrets
from hwnas.search.methods import cost_of, settings_of
from hwnas.search.protocol import one_by_one
from hwnas.space import SearchSpace
from hwnas.workload import Workload
from latency_luts import LatencyLut, OperatorRow, OperatorSpec, Subject
from profiler import Target
from tests.search.stand_in import SPACE, LatencyLimit, best_within, latency_factors, latency_of, loss_factors, losses
from tests.search.truth import Found

METHODS = ("darts", "gumbel", "proxyless")
PAIRS = 500
"""Validation pairs that an evaluation is taken to look at, as in the demo: what steps are converted by."""
_CONSTANT = OperatorSpec.of("constant")
_CONSTANT_MS, _CONSTANT_LOSS = 0.1, 1.5
"""As the stand-in's sums have them."""


def _terms(kind: str, factors: Iterable[Factor]) -> tuple[tuple[Term, float], ...]:
    """A term for every cell that is not 0 (those of inactive choices are), with its worth."""
    found = []
    for number, factor in enumerate(factors):
        for cell in np.argwhere(factor.table).tolist():
            when = {SPACE.choices[p].name: index for p, index in zip(factor.choices, cell, strict=True)}
            place = {f"axis{axis}": index for axis, index in enumerate(cell)}
            term = Term(OperatorSpec.of(kind, factor=number, **place), 1, when)
            found.append((term, float(factor.table[tuple(cell)])))
    return tuple(found)


class Family:
    """What a search by gradients asks of a family; its model is the expected loss itself."""

    def terms(self, space: SearchSpace, workload: Workload) -> tuple[Term, ...]:
        return (Term(_CONSTANT, 1, {}), *(term for term, _ in _latency_terms()))

    def soft(self, largest: nn.Module, mixtures: Mapping[str, Mixture]) -> Any:
        probabilities = {}
        for choice in SPACE.choices:
            mixture = mixtures[choice.name]
            places = torch.tensor([choice.values.index(value) for value in mixture.values])
            empty = torch.zeros(len(choice.values), dtype=torch.float64)
            probabilities[choice.name] = empty.index_put((places,), mixture.weights.double())
        return probabilities

    def loss(self, model: Any, batch: object, label_smoothing: float) -> tuple[Tensor, int]:
        return _expected_loss()(model), 1


@cache
def _latency_terms() -> tuple[tuple[Term, float], ...]:
    return _terms("cell", latency_factors())


@cache
def _expected_loss() -> ExpectedLatency:
    worth = _terms("loss", loss_factors())
    weights = {term.operator: value for term, value in worth}
    return ExpectedLatency(TableSum(SPACE, tuple(term for term, _ in worth), weights.__getitem__, _CONSTANT_LOSS))


@cache
def table() -> TableLatency:
    """The stand-in's latency as a table of operators."""
    costs = {_CONSTANT: _CONSTANT_MS} | {term.operator: ms for term, ms in _latency_terms()}
    rows = {operator: OperatorRow(operator, ms, 5, 25, "sha", 0.0) for operator, ms in costs.items()}
    lut = LatencyLut(
        target=Target("stand-in", "onnxruntime-1", 1, "thread_cpu"),
        workload=SPACE.workload.as_dict(),
        subject=Subject(SPACE.name, SPACE.fingerprint),
        rows=rows,
        models=(),
        rounds=5,
    )
    return TableLatency(SPACE, Family(), lut)  # type: ignore[arg-type]


def relaxed(
    method: str, limits: LatencyLimit, share: float, seeds: Iterable[int], evaluations: int, **given: object
) -> Found:
    """Of a method with its own settings or ``given``, evaluating as many as its steps leave of the evaluations."""
    _, best = best_within(limits)
    plain = settings_of(method, given)
    steps = cost_of(plain, 0, PAIRS) - plain.evaluations
    settings = settings_of(method, {**given, "runners": max(1, evaluations - steps)})
    held = CandidateLimits(SPACE, Family(), SPACE.workload, table(), latency_ms=limits.latency_ms)  # type: ignore[arg-type]
    pair = Pair((1,), (1,))
    gaps = []
    for seed in seeds:
        with TemporaryDirectory() as folder:
            result = find_by_gradient(
                Family(),  # type: ignore[arg-type]
                SimpleNamespace(space=SPACE, largest=nn.Linear(1, 1)),  # type: ignore[arg-type]
                SimpleNamespace(pairs={"train": (pair,) * 64}),  # type: ignore[arg-type]
                DeviceLimits({"": held}),
                settings,  # type: ignore[arg-type]
                evaluate=one_by_one(losses().__getitem__),
                seed=seed,
                journal=Path(folder) / "journal",
                header={},
                pairs=(pair,) * 64,
            )
        genes = SPACE.encode_many([evaluation.candidate for evaluation in result.evaluations])
        assert (latency_of(genes) <= limits.latency_ms).all()
        gaps.append(result.best.loss - best)
    note = f"{settings.as_dict()['steps']} steps for {steps} evaluations of {PAIRS} pairs, the rest evaluated"
    return Found(method, share, Regrets(tuple(gaps)), note)
