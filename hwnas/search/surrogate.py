"""What a search has learnt of the loss so far: a mean and a standard deviation for every candidate."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from hwnas.errors import MissingExtraError, SearchError
from hwnas.evaluators.predicted import OneHot
from hwnas.search.protocol import Evaluation
from hwnas.space import Genes, SearchSpace

Array = npt.NDArray[np.float64]
Kind = Literal["gp", "forest"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_ROWS = 1000
"""Evaluations a Gaussian process is conditioned on at most: it takes the cube of them to fit."""
_KERNEL_ROWS = 250
"""Of these the kernel's parameters are fitted on so many, evenly."""
_GROWTH = 1.5
"""The kernel's parameters are fitted anew when there are so many times the evaluations."""
_TREES = 100


@dataclass(slots=True)
class Surrogate:
    """Fitted anew to all evaluations with each :meth:`fit`; deterministic.

    ``gp``: a Gaussian process (Rasmussen & Williams 2006, chapter 2) whose kernel falls with the number
    of choices in which two candidates differ. ``forest``: a random forest whose spread is that of its
    trees (Hutter et al. 2011, SMAC). Raises :class:`SearchError` for another kind and
    :class:`MissingExtraError` without scikit-learn.
    """

    space: SearchSpace
    kind: str = "gp"
    _encode: OneHot | None = None
    _model: Any = None
    _kernel: Any = None
    _fitted_on: int = 0
    _mean: float = 0.0
    _scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SearchError(f"surrogate {self.kind!r} is unknown; known: {', '.join(KINDS)}")
        self._encode = OneHot(self.space)
        try:
            import sklearn  # noqa: F401
        except ImportError as exc:
            raise MissingExtraError("this search needs scikit-learn: pip install 'hwnas[predict]'") from exc

    def fit(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn from these, and from no others. Of more than 1,000 a Gaussian process takes the better half, thinned
        and the rest thinned more.
        """
        kept = _thinned(evaluations) if self.kind == "gp" else list(evaluations)
        losses = np.array([evaluation.loss for evaluation in kept])
        self._mean, self._scale = float(losses.mean()), float(losses.std()) or 1.0
        assert self._encode is not None
        features = self._encode(self.space.encode_many([evaluation.candidate for evaluation in kept]))
        target = (losses - self._mean) / self._scale
        if self.kind == "gp":
            self._fit_process(features, target)
        else:
            from sklearn.ensemble import RandomForestRegressor

            self._model = RandomForestRegressor(_TREES, max_features=0.5, random_state=0).fit(features, target)

    def _fit_process(self, features: Array, target: Array) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        if self._kernel is None or len(target) >= _GROWTH * self._fitted_on:
            start = ConstantKernel(1.0, (1e-3, 1e3)) * RBF(2.0, (0.1, 100.0)) + WhiteKernel(1e-2, (1e-6, 1.0))
            some = slice(None, None, -(-len(target) // _KERNEL_ROWS))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a loss without noise: its parameter at the bound
                self._kernel = GaussianProcessRegressor(start).fit(features[some], target[some]).kernel_
            self._fitted_on = len(target)
        self._model = GaussianProcessRegressor(self._kernel, optimizer=None).fit(features, target)

    def loss(self, genes: Genes) -> Array:
        """Mean of the loss, in its unit, of shape (candidates,), for their genes."""
        assert self._encode is not None
        mean: Array = self._mean + self._scale * self._model.predict(self._encode(genes))
        return mean

    def predict(self, genes: Genes) -> tuple[Array, Array]:
        """Mean and standard deviation of the loss, in its unit, each of shape (candidates,), for their genes."""
        assert self._encode is not None
        features = self._encode(genes)
        if self.kind == "gp":
            mean, spread = self._model.predict(features, return_std=True)
        else:
            trees = np.stack([tree.predict(features) for tree in self._model.estimators_])
            mean, spread = trees.mean(axis=0), trees.std(axis=0)
        return self._mean + self._scale * mean, self._scale * spread


def _thinned(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    if len(evaluations) <= _ROWS:
        return list(evaluations)
    order = sorted(range(len(evaluations)), key=lambda place: (evaluations[place].loss, place))
    best, rest = order[: _ROWS // 2], order[_ROWS // 2 :]
    wanted = _ROWS - len(best)
    spread = [rest[place * len(rest) // wanted] for place in range(wanted)]
    return [evaluations[place] for place in sorted(best + spread)]
