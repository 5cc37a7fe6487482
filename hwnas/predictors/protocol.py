"""What every whole-model predictor can do, whatever it has inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from hwnas.workload import Workload

Array = npt.NDArray[np.float64]


class Predictor(Protocol):
    """Latency of whole models from HAT's ten features; fitted on rows, kept as JSON, used with numpy alone."""

    @classmethod
    def fit(cls, features: Array, latency_ms: Array, *, workload: Workload, seed: int) -> Self:
        """Fitted on features (rows, 10) and latencies (rows,); the same for the same seed."""
        ...

    def predict_ms(self, features: Array) -> Array:
        """Milliseconds, (models,), for features (models, 10)."""
        ...

    def as_dict(self) -> dict[str, object]:
        """Everything a prediction needs, JSON-able."""
        ...

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`; raises KeyError, TypeError, ValueError or WorkloadError for what is none."""
        ...
