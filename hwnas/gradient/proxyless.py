"""ProxylessNAS: two paths of every choice in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwnas.errors import SearchError
from hwnas.gradient.relaxation import Drawn, leaf
from hwnas.gradient.settings import GradientSettings

_LEAST = 1e-6
"""Probability below which an option is still drawn as the second path as if it had so much."""


@dataclass(frozen=True, slots=True)
class TwoPaths:
    """Two options drawn by their probabilities, and gates that let one of them pass, or some of both.

    ``binary`` gates are the paper's: one of the two is active, by their probabilities (Cai et al. 2019, section
    3.2.1). A gradient there is a tangent at an end, and widths are far from linear: on g2p it took the widest embedding
    for better than the middle one, which it is not. Gates anywhere between the two have gradients whose mean along the
    way is the difference between its ends, as that of any integral; but the other choices should be at ends then, as
    they will be in the end. So without ``binary`` a step looks at each choice with probability ``share``, its gates
    between two paths, and runs one path of the others.

    Either way the two share what they have together by what was learnt, while what the others have stays (section
    3.2.2): see :meth:`hwnas.gradient.descent.Descent.learn`.
    """

    binary: bool
    share: float

    def draw(self, probabilities: Tensor, progress: float, generator: torch.Generator) -> Drawn:
        """See :class:`hwnas.gradient.relaxation.Relaxation`."""
        if not self.binary and float(torch.rand((), generator=generator)) >= self.share:
            (option,) = torch.multinomial(probabilities, 1, generator=generator).tolist()
            return Drawn((option,), torch.ones(1))
        pair = torch.multinomial(probabilities + _LEAST, 2, generator=generator).sort().values
        if self.binary:
            active = torch.multinomial(probabilities[pair] + _LEAST, 1, generator=generator)
            gates = torch.zeros(2).scatter_(0, active, 1.0)
        else:
            first = torch.rand(1, generator=generator)
            gates = torch.cat([first, 1 - first])
        return Drawn(tuple(pair.tolist()), leaf(gates))


@dataclass(frozen=True, slots=True)
class ProxylessSettings(GradientSettings):
    """Of the method ``proxyless``; ``binary`` gates are as published, else a ``share`` of the choices is looked at."""

    binary: bool = False
    share: float = 0.33

    def __post_init__(self) -> None:
        GradientSettings.__post_init__(self)
        if not 0 < self.share <= 1:
            raise SearchError(f"proxyless: share is {self.share}; it must be in (0, 1]")

    def relaxation(self) -> TwoPaths:
        """How a step looks at a choice."""
        return TwoPaths(self.binary, self.share)
