"""ProxylessNAS: two paths of every choice in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwnas.gradient.gumbel import Gumbel, require_falling
from hwnas.gradient.relaxation import Drawn
from hwnas.gradient.settings import GradientSettings

_LEAST = 1e-6
"""Probability below which an option is still drawn as the second path as if it had so much."""


@dataclass(frozen=True, slots=True)
class TwoPaths:
    """Two options drawn by their probabilities, and gates that let one of them pass, or some of both.

    Hard ``gates`` are the paper's, binary: one of the two is active, by their probabilities (Cai et al. 2019, section
    3.2.1). A gradient there is a tangent at an end, and widths are far from linear: on g2p it took the widest
    embedding for better than the middle one, which it is not. Gates between the two have gradients whose mean along
    the way is the difference between its ends, as that of any integral, from the same two paths in memory. They are
    drawn as :class:`hwnas.gradient.gumbel.Gumbel` draws weights: anywhere between at first, nearer to the ends later.

    Either way the two share what they have together by what was learnt, while what the others have stays (section
    3.2.2): see :meth:`hwnas.gradient.descent.Descent.learn`.
    """

    gates: Gumbel

    def draw(self, probabilities: Tensor, progress: float, generator: torch.Generator) -> Drawn:
        """See :class:`hwnas.gradient.relaxation.Relaxation`."""
        pair = torch.multinomial(probabilities + _LEAST, 2, generator=generator).sort().values
        two = probabilities[pair] + _LEAST
        return Drawn(tuple(pair.tolist()), self.gates.draw(two / two.sum(), progress, generator).weights)


@dataclass(frozen=True, slots=True)
class ProxylessSettings(GradientSettings):
    """Of the method ``proxyless``; ``binary`` gates are as published, without it ``tau`` is as for ``gumbel``."""

    binary: bool = False
    tau_first: float = 5.0
    tau_last: float = 0.5

    def __post_init__(self) -> None:
        GradientSettings.__post_init__(self)
        require_falling("proxyless", self.tau_first, self.tau_last)

    def relaxation(self) -> TwoPaths:
        """How a step looks at a choice."""
        return TwoPaths(Gumbel(self.tau_first, self.tau_last, self.binary))
