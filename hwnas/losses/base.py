"""What a latency loss is, and what none of them takes: bad coefficients, losses that are no numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from hwnas.errors import SearchError

if TYPE_CHECKING:
    from torch import Tensor


class LatencyLoss(Protocol):
    """What an architecture step minimises."""

    def __call__(self, task_loss: Tensor, expected_ms: Tensor) -> Tensor:
        """``task_loss`` of shape () and ``expected_ms`` of shape () or (batch,), as the result.

        Raises :class:`SearchError` if either is not finite.
        """
        ...


def require(ok: bool, name: str, value: float, must: str) -> None:
    """Raise :class:`SearchError` for a coefficient that is not finite or not ``ok``."""
    if not (ok and math.isfinite(value)):
        raise SearchError(f"{name} of a latency loss is {value}; it must be {must}")


def require_finite(task_loss: Tensor, expected_ms: Tensor) -> None:
    """Raise :class:`SearchError` if the search has diverged, or a latency cannot be."""
    if not task_loss.isfinite().all():
        raise SearchError(
            f"the task loss became {task_loss.detach().flatten()[0].item()}; a lower learning rate, or gradient"
            " clipping, may keep it finite"
        )
    if not (expected_ms.isfinite() & (expected_ms > 0)).all():
        raise SearchError(
            f"the expected latency became {expected_ms.detach().min().item()} ms; it must be above 0: look at the"
            " probabilities and at the table"
        )
