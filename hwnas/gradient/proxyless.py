"""ProxylessNAS: two paths of every choice in memory, one of them active."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwnas.gradient.relaxation import Drawn, leaf
from hwnas.gradient.settings import GradientSettings

_LEAST = 1e-6
"""Probability below which an option is still drawn as the second path as if it had so much."""


@dataclass(frozen=True, slots=True)
class TwoPaths:
    """Two options drawn by their probabilities, and one of these active, by theirs (Cai et al. 2019, section 3.2.1).

    The gates are binary, and their gradients are those of both paths; how the two share what they have together
    follows from them, while what the others have stays (section 3.2.2): see :class:`hwnas.gradient.descent.Descent`.
    """

    def draw(self, probabilities: Tensor, progress: float, generator: torch.Generator) -> Drawn:
        """See :class:`hwnas.gradient.relaxation.Relaxation`."""
        pair = torch.multinomial(probabilities + _LEAST, 2, generator=generator).sort().values
        two = probabilities[pair] + _LEAST
        active = torch.multinomial(two, 1, generator=generator)
        gates = torch.zeros(2).scatter_(0, active, 1.0)
        return Drawn(tuple(pair.tolist()), leaf(gates))


@dataclass(frozen=True, slots=True)
class ProxylessSettings(GradientSettings):
    """Of the method ``proxyless``."""

    def relaxation(self) -> TwoPaths:
        """How a step looks at a choice."""
        return TwoPaths()
