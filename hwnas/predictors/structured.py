"""Predictors that are sums: the additive form with non-negative entries, and a line in the FLOPs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hwnas.families.seq2seq.features import PARTS, count_macs, count_parts
from hwnas.families.seq2seq.hat_yaml import HAT_QKV
from hwnas.predictors.robust import fit_entries
from hwnas.workload import Workload

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Structured:
    """Latency as a sum over ``PARTS``: what a table would hold, as far as averages determine it.

    ``entries_ms`` (parts,) are milliseconds a unit of each part. Twelve non-negative numbers need far fewer rows
    than a network with half a million weights, and outliers do not pull them (:func:`fit_entries`).
    """

    entries_ms: Array

    @classmethod
    def fit(cls, features: Array, latency_ms: Array, *, workload: Workload, seed: int) -> Self:
        """See :class:`hwnas.predictors.protocol.Predictor`; neither workload nor seed matters."""
        return cls(fit_entries(count_parts(features), latency_ms))

    def predict_ms(self, features: Array) -> Array:
        """Milliseconds, (models,), for features (models, 10)."""
        latency_ms: Array = count_parts(features) @ self.entries_ms
        return latency_ms

    def as_dict(self) -> dict[str, object]:
        """The entries by name."""
        return {"entries_ms": dict(zip(PARTS, self.entries_ms.tolist(), strict=True))}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`."""
        entries = np.array([float(document["entries_ms"][name]) for name in PARTS])
        if not (np.isfinite(entries) & (entries >= 0)).all():
            raise ValueError("entries_ms must be numbers, none negative")
        return cls(entries)


@dataclass(frozen=True, slots=True)
class FlopsLinear:
    """Latency as ``constant_ms + per_gmac_ms x GMACs``: the proxy that HAT argues against (section 2)."""

    constant_ms: float
    per_gmac_ms: float
    workload: Workload

    @classmethod
    def fit(cls, features: Array, latency_ms: Array, *, workload: Workload, seed: int) -> Self:
        """Fitted as robustly as :class:`Structured`; the seed does not matter."""
        gmacs = count_macs(features, HAT_QKV, workload) / 1e9
        constant, slope = fit_entries(np.column_stack([np.ones(len(gmacs)), gmacs]), latency_ms)
        return cls(float(constant), float(slope), workload)

    def predict_ms(self, features: Array) -> Array:
        """Milliseconds, (models,), for features (models, 10)."""
        gmacs = count_macs(features, HAT_QKV, self.workload) / 1e9
        latency_ms: Array = self.constant_ms + self.per_gmac_ms * gmacs
        return latency_ms

    def as_dict(self) -> dict[str, object]:
        """The line and the workload its FLOPs are counted for."""
        return {
            "constant_ms": self.constant_ms,
            "per_gmac_ms": self.per_gmac_ms,
            "workload": self.workload.as_dict(),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`."""
        workload = Workload.from_dict(document["workload"])
        return cls(float(document["constant_ms"]), float(document["per_gmac_ms"]), workload)
