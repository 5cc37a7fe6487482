"""The seam between a method of relaxing choices and the search: what is run, and what its gradient tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hwnas.families.base import Mixture
from hwnas.space import SearchSpace


@dataclass(frozen=True, slots=True)
class Drawn:
    """Options (ascending) of one choice that take part in a step, and their weights (options,), a leaf."""

    options: tuple[int, ...]
    weights: Tensor


class Relaxation(Protocol):
    """How an architecture step looks at a choice."""

    def draw(self, probabilities: Tensor, progress: float, generator: torch.Generator) -> Drawn:
        """For one choice that is not decided, with ``probabilities`` (options,); ``progress`` goes from 0 to 1."""
        ...


def mixtures(space: SearchSpace, drawn: Sequence[Drawn]) -> dict[str, Mixture]:
    """What a family's soft model takes, of one :class:`Drawn` per choice."""
    return {
        choice.name: Mixture(tuple(choice.values[option] for option in each.options), each.weights)
        for choice, each in zip(space.choices, drawn, strict=True)
    }


def leaf(weights: Tensor) -> Tensor:
    """``weights`` as a leaf in float32, whose gradient is asked for."""
    return weights.detach().to(torch.float32).requires_grad_()
