"""Gumbel-softmax: every step looks at a random point near a corner, nearer and nearer (FBNet, GDAS)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwnas.errors import SearchError
from hwnas.gradient.relaxation import Drawn, leaf
from hwnas.gradient.settings import GradientSettings


@dataclass(frozen=True, slots=True)
class Gumbel:
    """Weights softmax((log p + g) / tau) with g ~ Gumbel(0, 1), or the corner nearest to them if ``hard``.

    Soft as in FBNet (Wu et al. 2019, equation 8), hard as in GDAS (Dong and Yang 2019, equations 3 to 5); ``tau``
    falls from ``first`` to ``last`` geometrically, as FBNet's.
    """

    first: float
    last: float
    hard: bool

    def draw(self, probabilities: Tensor, progress: float, generator: torch.Generator) -> Drawn:
        """See :class:`hwnas.gradient.relaxation.Relaxation`."""
        uniform = torch.rand(len(probabilities), generator=generator, dtype=probabilities.dtype)
        noise = -(-uniform.clamp(1e-12, 1 - 1e-12).log()).log()
        tau = self.first * (self.last / self.first) ** progress
        weights = ((probabilities.clamp(min=1e-30).log() + noise) / tau).softmax(dim=0)
        if self.hard:
            weights = torch.zeros_like(weights).scatter_(0, weights.argmax(dim=0, keepdim=True), 1.0)
        return Drawn(tuple(range(len(probabilities))), leaf(weights))


@dataclass(frozen=True, slots=True)
class GumbelSettings(GradientSettings):
    """Of the method ``gumbel``; ``straight_through`` runs one option a choice, and learns about all of them."""

    tau_first: float = 5.0
    tau_last: float = 0.5
    straight_through: bool = False

    def __post_init__(self) -> None:
        GradientSettings.__post_init__(self)
        require_falling("gumbel", self.tau_first, self.tau_last)

    def relaxation(self) -> Gumbel:
        """How a step looks at a choice."""
        return Gumbel(self.tau_first, self.tau_last, self.straight_through)


def require_falling(method: str, first: float, last: float) -> None:
    """Raise :class:`SearchError` for temperatures that do not fall, or not to one above 0."""
    if not first >= last > 0:
        raise SearchError(f"{method}: tau_first {first} and tau_last {last} must fall, and stay above 0")
