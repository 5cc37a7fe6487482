"""A part of the validation pairs, chosen and weighed so that it ranks candidates as all of them do.

What each pair tells is learnt from random candidates that are evaluated on all pairs: pairs on which these
differ much are drawn more often, and the weights of those drawn are set so that they reproduce the losses on
all pairs. In a survey's terms: sampling with probability proportional to size, systematically over the lengths
(Madow 1949), at Neyman's optimal allocation under cost, with a ridge-calibrated regression estimator (Deville
and Särndal 1992; Rao and Singh 1997).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hwnas.data.batching import length_order
from hwnas.data.task import Pair
from hwnas.errors import SearchError
from hwnas.evaluators.ridge import Ridge
from hwnas.ranks import spearman

Array = npt.NDArray[np.float64]

LEAST_CANDIDATES = 8
_FOLDS, _REPEATS = 8, 4

_Seed = int | tuple[int, ...]


@dataclass(frozen=True)
class PairSubset:
    """Numbers of pairs in their split, ascending, and what they stand for: the loss on all pairs is about
    ``offset`` plus ``weights`` times the pairs' own losses, in nats per target token of the whole split."""

    chosen: tuple[int, ...]
    weights: tuple[float, ...]
    offset: float

    @cached_property
    def _weights(self) -> Array:
        return np.array(self.weights)

    def loss(self, losses: Array) -> float:
        """Nats per target token from the chosen pairs' losses in nats, (chosen,)."""
        return float(self.offset + (self._weights * losses).sum())


def choose(losses: Array, pairs: Sequence[Pair], size: int, *, seed: int = 0) -> PairSubset:
    """``size`` pairs by what ``losses`` (candidates, pairs), in nats, tell of them; the same for the same seed.

    Raises :class:`SearchError` for fewer than 8 candidates, or a size that is no part of the pairs.
    """
    _check(losses, pairs, size)
    return _choose(losses, pairs, size, seed)


def _choose(losses: Array, pairs: Sequence[Pair], size: int, seed: _Seed) -> PairSubset:
    drawn, probability = _draw(losses, pairs, size, seed)
    tokens = sum(len(pair.target) for pair in pairs)
    # With one over its probability as weight a pair stands for those like it; what that misses is learnt.
    base = 1 / (probability[drawn] * tokens)
    seen, whole = losses[:, drawn] * base, losses.sum(axis=1) / tokens
    missed = Ridge.fit(seen, whole - seen.sum(axis=1))
    weights = base * (1 + missed.weights)
    offset = missed.intercept - float(missed.center @ missed.weights)
    return PairSubset(tuple(int(i) for i in drawn), tuple(float(w) for w in weights), offset)


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How losses on subsets agree with those on all pairs, on candidates that the subsets were not chosen by.

    ``spearman`` is the rank correlation, ``error`` the root mean square difference in nats per token: candidates
    whose losses are nearer than that are hardly told apart.
    """

    spearman: float
    error: float


def fidelity(losses: Array, pairs: Sequence[Pair], size: int, *, seed: int = 0) -> Fidelity:
    """Of subsets of a size, by cross-validation (8 folds, 4 times); ``losses`` (candidates, pairs) in nats.

    Every fold's candidates are scored by pairs chosen, as :func:`choose` does, by the others.
    """
    _check(losses, pairs, size)
    whole = losses.sum(axis=1) / sum(len(pair.target) for pair in pairs)
    found = []
    for repeat in range(_REPEATS):
        order = np.random.default_rng((seed, repeat)).permutation(len(losses))
        scored = np.empty(len(losses))
        for number, held_out in enumerate(np.array_split(order, _FOLDS)):
            known = losses[np.setdiff1d(order, held_out)]
            subset = _choose(known, pairs, size, (seed, repeat, number))
            scored[held_out] = [subset.loss(losses[row, subset.chosen]) for row in held_out]
        found.append((spearman(scored, whole), float(np.mean((scored - whole) ** 2))))
    correlations, squares = np.mean(found, axis=0).tolist()
    return Fidelity(correlations, squares**0.5)


def cost_of(pairs: Sequence[Pair], chosen: Sequence[int]) -> float:
    """Share of all tokens, source and target, that the chosen pairs have."""
    costs = _costs(pairs)
    return float(costs[list(chosen)].sum() / costs.sum())


def _draw(losses: Array, pairs: Sequence[Pair], size: int, seed: _Seed) -> tuple[npt.NDArray[np.int64], Array]:
    """Numbers of the pairs drawn, ascending, and every pair's probability to be."""
    wanted = losses.std(axis=0) / np.sqrt(_costs(pairs))  # Neyman: spread over the root of the cost
    wanted = np.maximum(wanted, 1e-3 * wanted.mean()) if wanted.any() else np.ones(len(pairs))
    probability = _proportional(wanted, size)
    order = length_order(pairs)
    reached = np.cumsum(probability[order])
    reached *= size / reached[-1]  # exactly, whatever rounding did
    steps = np.random.default_rng(seed).random() + np.arange(size)
    return np.sort(order[np.searchsorted(reached, steps, side="right")]), probability


def _proportional(wanted: Array, size: int) -> Array:
    """Probabilities that sum to ``size``, proportional to ``wanted`` (all above 0), none above 1."""
    certain = np.zeros(len(wanted), dtype=np.bool_)
    while True:
        probability = np.where(certain, 1.0, wanted * (size - certain.sum()) / wanted[~certain].sum())
        above = (probability > 1) & ~certain
        if not above.any():
            return probability
        certain |= above


def _costs(pairs: Sequence[Pair]) -> Array:
    return np.array([len(pair.source) + len(pair.target) for pair in pairs], dtype=np.float64)


def _check(losses: Array, pairs: Sequence[Pair], size: int) -> None:
    if not 1 <= size < len(pairs):
        raise SearchError(f"a subset of {size} of {len(pairs)} pairs: give at least 1 and fewer than all of them")
    if len(losses) <= LEAST_CANDIDATES - 1:
        raise SearchError(f"a subset chosen by {len(losses)} candidates: at least {LEAST_CANDIDATES} are needed")
