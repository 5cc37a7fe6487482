"""MnasNet's reward, soft or hard: quality times a power of latency over its target.

Source: Tan et al. 2019, equations 2 and 3 and figure 3; equation 12 of the survey by Chitty-Venkata et al. 2022 is
its soft form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwnas.losses.base import require, require_finite

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class MnasNetReward:
    """``quality * (latency / target) ** w`` with w = ``below`` up to the target and ``above`` beyond it, maximised.

    Raises :class:`SearchError` for a bad target or exponent.
    """

    target_ms: float
    below: float
    above: float

    def __post_init__(self) -> None:
        require(self.target_ms > 0, "target_ms", self.target_ms, "above 0")
        require(self.below <= 0, "below", self.below, "0 or below")
        require(self.above <= 0, "above", self.above, "0 or below")

    @classmethod
    def soft(cls, target_ms: float, exponent: float = -0.07) -> MnasNetReward:
        """The same exponent everywhere; -0.07 makes twice the latency worth 5 % more accuracy (figure 3)."""
        return cls(target_ms, exponent, exponent)

    @classmethod
    def hard(cls, target_ms: float) -> MnasNetReward:
        """No reward for being faster than the target, a penalty in proportion beyond it (0 and -1, figure 3)."""
        return cls(target_ms, 0.0, -1.0)

    def reward(self, quality: float, latency_ms: float) -> float:
        """Of a candidate that was evaluated; ``quality`` is an accuracy, or exp(-loss) where there is a loss only."""
        exponent = self.below if latency_ms <= self.target_ms else self.above
        return quality * float((latency_ms / self.target_ms) ** exponent)

    def __call__(self, task_loss: Tensor, expected_ms: Tensor) -> Tensor:
        """Minus the reward of quality exp(-task_loss), the geometric mean of what right tokens are given.

        As :class:`hwnas.losses.base.LatencyLoss`.
        """
        require_finite(task_loss, expected_ms)
        ratio = expected_ms / self.target_ms
        exponent = self.above + (self.below - self.above) * (ratio <= 1)
        return -(-task_loss).exp() * ratio**exponent
