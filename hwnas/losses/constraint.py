"""A latency target as a constraint: the multiplier is adjusted while searching, so that the search ends at it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hwnas.errors import SearchError
from hwnas.losses.base import require, require_finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_SMALLEST = 1e-3
"""Multiplier, in task loss per unit of log latency, from which on it grows geometrically instead of linearly."""
_SHARPNESS = 32.0
"""Within 1/32 (3 %) of the target the multiplier follows the violation e-fold to either side."""
_REACH = 128.0
"""What the multiplier's logarithm could move by in all: from 1e-3 to 1e3 and back several times."""
_LEAD = 0.1
"""How far ahead the violation is extrapolated, as a share of the whole search."""
_FOLLOW = 30.0
"""Latency's trend is averaged over a thirtieth of the search."""
_LARGEST = 25.0


class LatencyConstraint:
    """Holds expected latency at a target (or, with ``at_most``, below it), whatever the scale of the task loss.

    With x = sharpness * log(E / aim), the penalty is (s / sharpness) * (cosh(u + x) - cosh(u)), its slope in log E
    the multiplier s * sinh(u + x): an augmented Lagrangian (Bertsekas 1982, chapter 5, with a non-quadratic penalty)
    in which u takes the part of the multiplier. :meth:`update` moves u by the violation, so that the multiplier is
    linear in u near 0, has either sign, and spans many orders of magnitude in a few steps: the scale of the task loss
    need not be known. The violation is extrapolated by latency's trend (the derivative of a PID multiplier, Stooke et
    al. 2020), or u would wind up while the architecture is still on its way. Beyond a sharpness-th the penalty goes on
    linearly, so that being far off does not drown the task loss. The aim stands ``margin`` below the target, because
    being above is what must not be. The defaults are from trials on synthetic noisy losses over the ``g2p`` table, of
    scales from 0.001 to 1000, where searches of 300 steps ended within about 1 % of the aim.

    It steers the expectation; that choices are decided at the end is for the search to see to, which must also let
    its learning rate fall, or E will swing by what one step moves it.
    """

    def __init__(self, target_ms: float, updates: int, *, margin: float = 0.01, at_most: bool = False) -> None:
        """``updates`` is how often :meth:`update` will be called in the whole search.

        ``at_most`` lets the search stay below the target where a lower task loss is found there; without it the
        search is drawn up to the target too. Raises :class:`SearchError` for a target, number or margin that cannot
        be; whether the space reaches it is :meth:`hwnas.expected.ExpectedLatency.require_reachable`'s to say.
        """
        require(target_ms > 0, "target_ms", target_ms, "above 0")
        require(updates > 0, "updates", updates, "above 0")
        require(0 <= margin < 1, "margin", margin, "at least 0 and below 1")
        self.target_ms, self.at_most = target_ms, at_most
        self._aim_ms = target_ms * (1 - margin)
        self._gain = min(1.0, _REACH / updates)
        self._follow = min(1.0, _FOLLOW / updates)
        self._lead = _LEAD * updates
        self._level = 0.0
        self._trend = 0.0
        self._last: float | None = None

    @property
    def multiplier(self) -> float:
        """Task loss that one unit of log latency is worth at the target; negative where latency is sought."""
        return _SMALLEST * math.sinh(self._level)

    def penalty(self, expected_ms: Tensor) -> Tensor:
        """What to add to the task loss, of the shape of ``expected_ms``; 0 at the aim."""
        distance = _SHARPNESS * (expected_ms / self._aim_ms).log()
        near = distance.clamp(-1.0, 1.0)
        level = self._level + near
        if self.at_most:
            level = level.clamp(min=0.0)
        rise = 2 * ((level + self._level) / 2).sinh() * ((level - self._level) / 2).sinh()  # cosh less cosh
        return _SMALLEST / _SHARPNESS * (rise + level.sinh() * (distance - near))

    def __call__(self, task_loss: Tensor, expected_ms: Tensor) -> Tensor:
        """Both together, as :class:`hwnas.losses.base.LatencyLoss`."""
        require_finite(task_loss, expected_ms)
        return task_loss + self.penalty(expected_ms)

    def update(self, expected_ms: float) -> None:
        """Adjust the multiplier to the latency that the last step ended with.

        Raises :class:`SearchError` for one that is no latency.
        """
        if not 0 < expected_ms < math.inf:
            raise SearchError(f"expected latency became {expected_ms} ms; the constraint cannot follow it")
        violation = math.log(expected_ms / self._aim_ms)
        if self._last is not None:
            self._trend += self._follow * (violation - self._last - self._trend)
        self._last = violation
        ahead = _SHARPNESS * (violation + self._lead * self._trend)
        least = 0.0 if self.at_most else -_LARGEST
        self._level = min(_LARGEST, max(least, self._level + self._gain * min(1.0, max(-1.0, ahead))))

    def state_dict(self) -> dict[str, float | None]:
        """What a checkpoint must hold beside the constructor's arguments."""
        return {"level": self._level, "trend": self._trend, "last": self._last}

    def load_state_dict(self, state: Mapping[str, float | None]) -> None:
        """Go on from :meth:`state_dict`; raises :class:`SearchError` for what is none."""
        try:
            level, trend, last = state["level"], state["trend"], state["last"]
        except KeyError as exc:
            raise SearchError(f"the state of a latency constraint lacks {exc}") from None
        self._level, self._trend, self._last = float(level or 0.0), float(trend or 0.0), last
