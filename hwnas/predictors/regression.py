"""Predictors that know nothing of Transformers: gradient boosting and a Gaussian process, fitted by scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hwnas.predictors.arrays import as_json, from_json
from hwnas.predictors.mlp import FEATURE_NORM
from hwnas.workload import Workload

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

TREES, DEPTH = 300, 3
KERNEL_ROWS = 300
"""Rows the kernel's parameters are fitted on at most; the process itself takes all rows."""


@dataclass(frozen=True, slots=True)
class GradientBoosting:
    """The logarithm of the latency as a sum of shallow regression trees (Friedman 2001).

    ``feature``, ``threshold``, ``left``, ``right`` and ``value`` are (trees, nodes): a row goes left
    where its feature is at most the threshold; leaves have feature -1. ``value`` is in log ms.
    """

    base: float
    feature: Whole
    threshold: Array
    left: Whole
    right: Whole
    value: Array

    @classmethod
    def fit(cls, features: Array, latency_ms: Array, *, workload: Workload, seed: int) -> Self:
        """300 trees of depth 3, learning rate 0.1. The workload does not matter."""
        from sklearn.ensemble import GradientBoostingRegressor

        target = np.log(latency_ms)
        fitted = GradientBoostingRegressor(n_estimators=TREES, max_depth=DEPTH, random_state=seed)
        fitted.fit(features.astype(np.float32), target)
        trees = [estimator.tree_ for estimator in fitted.estimators_[:, 0]]
        nodes = max(tree.node_count for tree in trees)

        def stack(name: str, fill: float) -> npt.NDArray[Any]:
            columns = [np.ravel(getattr(tree, name)) for tree in trees]
            return np.stack([np.pad(c, (0, nodes - len(c)), constant_values=fill) for c in columns])

        feature = np.maximum(stack("feature", -1).astype(np.int64), -1)  # scikit-learn writes -2 for a leaf
        left, right = (stack(name, 0).astype(np.int64) for name in ("children_left", "children_right"))
        values = fitted.learning_rate * stack("value", 0.0)
        return cls(float(target.mean()), feature, stack("threshold", 0.0), left, right, values)

    def predict_ms(self, features: Array) -> Array:
        """Milliseconds, (models,), for features (models, 10)."""
        rows = features.astype(np.float32)  # the trees were grown on these, and thresholds lie between them
        total = np.full(len(rows), self.base)
        everyone = np.arange(len(rows))
        for tree in range(len(self.feature)):
            node = np.zeros(len(rows), dtype=np.int64)
            for _ in range(DEPTH):
                feature = self.feature[tree, node]
                goes_left = rows[everyone, feature] <= self.threshold[tree, node]
                child = np.where(goes_left, self.left[tree, node], self.right[tree, node])
                node = np.where(feature < 0, node, child)
            total += self.value[tree, node]
        latency_ms: Array = np.exp(total)
        return latency_ms

    def as_dict(self) -> dict[str, object]:
        """The trees, exactly."""
        arrays = {name: as_json(getattr(self, name)) for name in ("feature", "threshold", "left", "right", "value")}
        return {"base": self.base, **arrays}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`."""
        whole = {name: from_json(document[name], "i") for name in ("feature", "left", "right")}
        real = {name: from_json(document[name]) for name in ("threshold", "value")}
        shapes = {array.shape for array in (*whole.values(), *real.values())}
        (shape,) = shapes  # ValueError, if they are not one
        if len(shape) != 2 or whole["feature"].max() >= len(FEATURE_NORM):
            raise ValueError("trees must be tables over HAT's ten features")
        if min(whole["feature"].min() + 1, whole["left"].min(), whole["right"].min()) < -1:
            raise ValueError("trees must have children that exist")
        return cls(float(document["base"]), **whole, **real)


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """The logarithm of the latency as a Gaussian process (Rasmussen & Williams 2006, chapter 2).

    The kernel is ``amplitude x exp(-|x - x'|^2 / 2)`` over features divided by ``scales`` (10,), plus noise;
    ``inputs`` (rows, 10) and ``weights`` (rows,) give the mean, ``base`` in log ms is what it falls back to.
    """

    base: float
    amplitude: float
    scales: Array
    inputs: Array
    weights: Array

    @classmethod
    def fit(cls, features: Array, latency_ms: Array, *, workload: Workload, seed: int) -> Self:
        """Kernel of greatest marginal likelihood on at most 300 rows. Neither workload nor seed matters."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        inputs, target = features / FEATURE_NORM, np.log(latency_ms)
        base = float(target.mean())
        columns = inputs.shape[1]
        kernel = ConstantKernel(1.0, (1e-3, 1e3)) * RBF(np.ones(columns), (1e-2, 1e3)) + WhiteKernel(0.01, (1e-6, 1.0))
        fitted = GaussianProcessRegressor(kernel)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a feature that does not matter: scale at its bound
            fitted.fit(inputs[:KERNEL_ROWS], target[:KERNEL_ROWS] - base)
        kernel = fitted.kernel_
        covariance = kernel(inputs)
        weights = np.linalg.solve(covariance, target - base)
        scales = np.broadcast_to(kernel.k1.k2.length_scale, columns).astype(np.float64)
        return cls(base, float(kernel.k1.k1.constant_value), scales, inputs, weights)

    def predict_ms(self, features: Array) -> Array:
        """Milliseconds, (models,), for features (models, 10)."""
        from scipy.spatial.distance import cdist  # type: ignore[import-untyped]

        here, there = features / FEATURE_NORM / self.scales, self.inputs / self.scales
        latency_ms = np.empty(len(here))
        for start in range(0, len(here), 1024):  # a block at a time: models x rows distances might not fit
            kernel = self.amplitude * np.exp(-cdist(here[start : start + 1024], there, "sqeuclidean") / 2)
            latency_ms[start : start + 1024] = np.exp(self.base + (kernel * self.weights).sum(axis=1))
        return latency_ms

    def as_dict(self) -> dict[str, object]:
        """Kernel, inputs and weights, exactly."""
        arrays = {name: as_json(getattr(self, name)) for name in ("scales", "inputs", "weights")}
        return {"base": self.base, "amplitude": self.amplitude, **arrays}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`."""
        scales, inputs, weights = (from_json(document[name]) for name in ("scales", "inputs", "weights"))
        columns = len(FEATURE_NORM)
        if scales.shape != (columns,) or inputs.shape != (len(weights), columns) or weights.ndim != 1:
            raise ValueError("kernel, inputs and weights must fit together")
        return cls(float(document["base"]), float(document["amplitude"]), scales, inputs, weights)
