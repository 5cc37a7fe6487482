"""Losses learnt from evaluated candidates: ridge regression, gradient boosting or a small network on encoded genes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from hwnas.errors import PredictorError
from hwnas.evaluators.ridge import Ridge
from hwnas.predictors.regression import GradientBoosting
from hwnas.ranks import spearman
from hwnas.space import Candidate, Genes, SearchSpace
from hwnas.workload import Workload

Array = npt.NDArray[np.float64]
Kind = Literal["ridge", "gbdt", "mlp"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LEAST_CANDIDATES = 8
_HIDDEN = 32


class LossPredictor(Protocol):
    """Losses without evaluation."""

    def loss(self, genes: Genes) -> Array:
        """In the unit it was fitted on, (candidates,), for genes of shape (candidates, choices)."""
        ...


class OneHot:
    """Genes as zeros and ones: a column for every value of every choice, all 0 where a choice is inactive."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._gates = [
            None if choice.when is None else (space.index[choice.when[0]], choice.when[1]) for choice in space.choices
        ]

    def __call__(self, genes: Genes) -> Array:
        """Shape (candidates, values of all choices)."""
        columns = []
        for place, (choice, gate) in enumerate(zip(self._space.choices, self._gates, strict=True)):
            chosen = genes[:, place, None] == np.arange(len(choice.values))
            if gate is not None:
                depth = np.array(self._space.choices[gate[0]].values)[genes[:, gate[0]]]
                chosen &= (depth >= gate[1])[:, None]
            columns.append(chosen)
        return np.concatenate(columns, axis=1).astype(np.float64)


def fit(
    space: SearchSpace, candidates: Sequence[Candidate], losses: Sequence[float], kind: Kind = "ridge", *, seed: int = 0
) -> LossPredictor:
    """A predictor fitted on evaluated candidates; the same for the same seed.

    ``ridge``: a sum over choices, its penalty by leave-one-out (among LINAS's, survey section X-C).
    ``gbdt``: gradient boosting (as LightSpeech, survey section X-D). ``mlp``: one hidden layer of 32.
    Raises :class:`PredictorError` for an unknown kind, fewer than 8 candidates, or losses that are not finite.
    """
    if kind not in KINDS:
        raise PredictorError(f"loss predictor {kind!r} is unknown; known: {', '.join(KINDS)}")
    target = np.asarray(losses, dtype=np.float64)
    if len(candidates) != len(target) or len(target) < LEAST_CANDIDATES:
        raise PredictorError(
            f"{len(candidates)} candidates with {len(target)} losses to learn from;"
            f" at least {LEAST_CANDIDATES} of both are needed: evaluate more"
        )
    if not np.isfinite(target).all():
        raise PredictorError("a loss to learn from is not finite; leave such candidates out")
    encode = OneHot(space)
    features = encode(space.encode_many(candidates))
    scale = float(target.std()) or 1.0
    standard = (target - target.mean()) / scale
    if kind == "ridge":
        regressor: _Regressor = Ridge.fit(features, standard)
    else:
        regressor = (_Boosting if kind == "gbdt" else _Network)(features, standard, seed)
    return _Fitted(encode, regressor, float(target.mean()), scale)


def held_out_spearman(
    space: SearchSpace,
    candidates: Sequence[Candidate],
    losses: Sequence[float],
    kind: Kind,
    *,
    folds: int = 5,
    seed: int = 0,
) -> float:
    """Rank correlation over candidates that were not learnt from: each is predicted by the other folds.

    Raises as :func:`fit`, of which each fold is one.
    """
    order = np.random.default_rng(seed).permutation(len(candidates))
    predicted = np.zeros(len(candidates))
    genes = space.encode_many(candidates)
    for held_out in np.array_split(order, folds):
        known = np.setdiff1d(order, held_out)
        model = fit(space, [candidates[i] for i in known], [losses[i] for i in known], kind, seed=seed)
        predicted[held_out] = model.loss(genes[held_out])
    return spearman(predicted, losses)


class _Regressor(Protocol):
    def __call__(self, features: Array) -> Array: ...


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A regressor of standardised losses, and the way back."""

    encode: OneHot
    regressor: _Regressor
    mean: float
    scale: float

    def loss(self, genes: Genes) -> Array:
        """See :class:`LossPredictor`."""
        return self.mean + self.scale * self.regressor(self.encode(genes))


class _Boosting:
    """The trees of :class:`GradientBoosting`, which learn the logarithm of what they are given."""

    def __init__(self, features: Array, target: Array, seed: int) -> None:
        self._trees = GradientBoosting.fit(features, np.exp(target), workload=Workload(), seed=seed)

    def __call__(self, features: Array) -> Array:
        predicted: Array = np.log(self._trees.predict_ms(features))
        return predicted


class _Network:
    def __init__(self, features: Array, target: Array, seed: int) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        self._network: Any = MLPRegressor(
            hidden_layer_sizes=(_HIDDEN,), alpha=1.0, solver="lbfgs", max_iter=500, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early is fitted well enough
            self._network.fit(features, target)

    def __call__(self, features: Array) -> Array:
        predicted: Array = self._network.predict(features)
        return predicted
