"""FBNet's loss: the task loss times a power of the logarithm of latency.

Source: Wu et al. 2019, equation 2, with latency in microseconds; coefficients from its section on experiments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwnas.losses.base import require, require_finite
from hwnas.losses.proxyless import log_units

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class FBNetLoss:
    """``task_loss * alpha * log(E / unit) ** beta``, minimised; it knows no reference and promises no latency.

    ``alpha`` 0.2, ``beta`` 0.6 and the microsecond are the paper's. Raises :class:`SearchError` for a bad
    coefficient, and when called with a latency of no more than one unit.
    """

    alpha: float = 0.2
    beta: float = 0.6
    unit_ms: float = 0.001

    def __post_init__(self) -> None:
        require(self.alpha > 0, "alpha", self.alpha, "above 0")
        require(self.beta >= 0, "beta", self.beta, "0 or above")
        require(self.unit_ms > 0, "unit_ms", self.unit_ms, "above 0")

    def __call__(self, task_loss: Tensor, expected_ms: Tensor) -> Tensor:
        """As :class:`hwnas.losses.base.LatencyLoss`."""
        require_finite(task_loss, expected_ms)
        return task_loss * self.alpha * log_units(expected_ms, self.unit_ms) ** self.beta
