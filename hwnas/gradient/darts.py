"""DARTS: every option takes part in every step, weighted by its probability."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwnas.gradient.relaxation import Drawn, leaf
from hwnas.gradient.settings import GradientSettings


@dataclass(frozen=True, slots=True)
class Darts:
    """The mixture itself (Liu et al. 2019, equation 2), first order (section 2.3), with entangled weights."""

    def draw(self, probabilities: Tensor, progress: float, generator: torch.Generator) -> Drawn:
        """See :class:`hwnas.gradient.relaxation.Relaxation`; nothing is random."""
        return Drawn(tuple(range(len(probabilities))), leaf(probabilities))


@dataclass(frozen=True, slots=True)
class DartsSettings(GradientSettings):
    """Of the method ``darts``."""

    def relaxation(self) -> Darts:
        """How a step looks at a choice."""
        return Darts()
