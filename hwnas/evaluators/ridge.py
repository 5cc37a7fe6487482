"""Ridge regression whose penalty needs no choice: that of least leave-one-out error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_PENALTIES = np.logspace(-8, 4, 49)
"""Of the features' greatest squared singular value."""


@dataclass(frozen=True, slots=True)
class Ridge:
    """``intercept + (features - center) @ weights``; the intercept, the targets' mean, is not penalised."""

    intercept: float
    center: Array
    weights: Array

    @classmethod
    def fit(cls, features: Array, target: Array) -> Self:
        """Features (rows, columns), more or fewer columns than rows, and target (rows,).

        Every row's error without it follows from the hat matrix (Golub, Heath and Wahba 1979, section 1).
        """
        center, intercept = features.mean(axis=0), float(target.mean())
        left, size, right = np.linalg.svd(features - center, full_matrices=False)
        turned = left.T @ (target - intercept)
        penalties = _PENALTIES * (size[0] ** 2 or 1.0)
        share = size**2 / (size**2 + penalties[:, None])  # (penalties, directions)
        residual = target - intercept - (share * turned) @ left.T
        leverage = 1 / len(target) + share @ (left**2).T
        errors = ((residual / (1 - np.minimum(leverage, 1 - 1e-9))) ** 2).mean(axis=1)
        penalty = penalties[int(np.argmin(errors))]
        return cls(intercept, center, right.T @ (size / (size**2 + penalty) * turned))

    def __call__(self, features: Array) -> Array:
        """Shape (rows,) for features (rows, columns)."""
        predicted: Array = self.intercept + (features - self.center) @ self.weights
        return predicted
