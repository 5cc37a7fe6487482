"""ProxylessNAS's two losses: the task loss times, or plus, what latency exceeds a reference by.

Source of forms and coefficients: the code the authors released with Cai et al. 2019 (the paper itself, section
3.3.1, adds a weighted expected latency: :class:`hwnas.losses.weighted.WeightedSum`). There the coefficients are
command-line defaults, given for a reference of 80 ms on a phone. Neither promises to meet the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwnas.errors import SearchError
from hwnas.losses.base import require, require_finite

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ProxylessMul:
    """``alpha * task_loss * (E / reference) ** beta`` (``mul``), minimised.

    ``alpha`` 0.2 and ``beta`` 0.3 as released. The released code (``mul#log``) takes the ratio of the *logarithms*
    of milliseconds, which depends on the unit and has no value below 1 ms: ``log_unit_ms=1.0`` is that form, and
    0.001 the same with microseconds.

    Raises :class:`SearchError` for a bad coefficient, and when called with a latency of no more than one unit.
    """

    reference_ms: float
    alpha: float = 0.2
    beta: float = 0.3
    log_unit_ms: float | None = None

    def __post_init__(self) -> None:
        require(self.reference_ms > 0, "reference_ms", self.reference_ms, "above 0")
        require(self.alpha > 0, "alpha", self.alpha, "above 0")
        require(self.beta >= 0, "beta", self.beta, "0 or above")
        if self.log_unit_ms is not None:
            require(self.log_unit_ms > 0, "log_unit_ms", self.log_unit_ms, "above 0")
            require(self.reference_ms > self.log_unit_ms, "reference_ms", self.reference_ms, "above log_unit_ms")

    def __call__(self, task_loss: Tensor, expected_ms: Tensor) -> Tensor:
        """As :class:`hwnas.losses.base.LatencyLoss`."""
        require_finite(task_loss, expected_ms)
        if self.log_unit_ms is None:
            ratio = expected_ms / self.reference_ms
        else:
            ratio = log_units(expected_ms, self.log_unit_ms) / log_units(
                expected_ms.new_tensor(self.reference_ms), self.log_unit_ms
            )
        return self.alpha * task_loss * ratio**self.beta


@dataclass(frozen=True, slots=True)
class ProxylessAdd:
    """``task_loss + weight * (E - reference) / reference`` (``add``, in the code ``add#linear``), minimised.

    ``weight`` is lambda, 0.1 as released. Raises :class:`SearchError` for a bad coefficient.
    """

    reference_ms: float
    weight: float = 0.1

    def __post_init__(self) -> None:
        require(self.reference_ms > 0, "reference_ms", self.reference_ms, "above 0")
        require(self.weight >= 0, "weight", self.weight, "0 or above")

    def __call__(self, task_loss: Tensor, expected_ms: Tensor) -> Tensor:
        """As :class:`hwnas.losses.base.LatencyLoss`."""
        require_finite(task_loss, expected_ms)
        return task_loss + self.weight * (expected_ms - self.reference_ms) / self.reference_ms


def log_units(latency_ms: Tensor, unit_ms: float) -> Tensor:
    """Logarithm of so many units; raises :class:`SearchError` where it is not positive."""
    if not (latency_ms > unit_ms).all():
        raise SearchError(
            f"the logarithm of {latency_ms.min().item():.4g} ms in units of {unit_ms:g} ms is not above 0;"
            " take a smaller unit"
        )
    return (latency_ms / unit_ms).log()
