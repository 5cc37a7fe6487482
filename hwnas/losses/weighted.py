"""Weighted sums of task loss and latency: the survey's equations 14 and 13."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwnas.losses.base import require, require_finite

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """``task_loss + weight_per_ms * E``, minimised.

    Equation 14 of Chitty-Venkata et al. 2022 (a survey of neural architecture search for Transformers, section
    VI-B3), and the loss of the paper of ProxylessNAS (Cai et al. 2019, section 3.3.1). Neither gives a weight: what
    fits depends on the device, so there is no default. Raises :class:`SearchError` for a bad one.
    """

    weight_per_ms: float

    def __post_init__(self) -> None:
        require(self.weight_per_ms >= 0, "weight_per_ms", self.weight_per_ms, "0 or above")

    def __call__(self, task_loss: Tensor, expected_ms: Tensor) -> Tensor:
        """As :class:`hwnas.losses.base.LatencyLoss`."""
        require_finite(task_loss, expected_ms)
        return task_loss + self.weight_per_ms * expected_ms


@dataclass(frozen=True, slots=True)
class Fitness:
    """``(1 - t) * task_loss + t * E / reference``, minimised.

    Equation 13 of the same survey (section VI-B2) weighs accuracy and latency by t in [0, 1]. Both count in the
    same direction there, so accuracy has to stand for an error: here it is the task loss; and latency is counted in
    multiples of a reference, so that t does not depend on the unit. The survey gives no t; halves are the default.

    Raises :class:`SearchError` for a bad coefficient.
    """

    reference_ms: float
    t: float = 0.5

    def __post_init__(self) -> None:
        require(self.reference_ms > 0, "reference_ms", self.reference_ms, "above 0")
        require(0 <= self.t <= 1, "t", self.t, "between 0 and 1")

    def __call__(self, task_loss: Tensor, expected_ms: Tensor) -> Tensor:
        """As :class:`hwnas.losses.base.LatencyLoss`."""
        require_finite(task_loss, expected_ms)
        return (1 - self.t) * task_loss + self.t * expected_ms / self.reference_ms
