"""An architecture that is still a distribution: scores of every choice's options, and which choices are decided."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hwnas.space import Candidate, SearchSpace


class Architecture:
    """Independent choices with probabilities softmax(-score / temperature); a decided one has one option left.

    All tensors are (choices, options), where ``options`` is that of the choice which has most; ``real`` tells
    which of them there are. It starts uniform.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        sizes = [len(choice.values) for choice in space.choices]
        self.real = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        self.scores = torch.zeros(self.real.shape, dtype=torch.float64)
        self.temperature = 1.0
        self.decided = torch.where(self.real.sum(dim=1) == 1, 0, -1)
        gates = [row if c.when is None else space.index[c.when[0]] for row, c in enumerate(space.choices)]
        self._gates = torch.tensor(gates)
        self._opens = torch.zeros(self.real.shape, dtype=torch.float64)
        for row, (gate, choice) in enumerate(zip(gates, space.choices, strict=True)):
            least = -math.inf if choice.when is None else choice.when[1]
            for option, value in enumerate(space.choices[gate].values):
                self._opens[row, option] = float(value >= least)

    def probabilities(self, scores: Tensor | None = None) -> Tensor:
        """Of every option, with its own scores or other ``scores`` (..., choices, options); rows sum to 1."""
        scores = self.scores if scores is None else scores
        free = (-scores / self.temperature).masked_fill(~self.real, -torch.inf).softmax(dim=-1)
        fixed = torch.zeros_like(self.scores).scatter_(1, self.decided.clamp(min=0)[:, None], 1.0)
        return torch.where(self.decided[:, None] >= 0, fixed, free)

    def activity(self, probabilities: Tensor) -> Tensor:
        """How likely each choice is active (its layer exists), for (..., choices, options); shape (..., choices)."""
        return (probabilities[..., self._gates, :] * self._opens).sum(dim=-1)

    def by_name(self, rows: Tensor) -> dict[str, Tensor]:
        """Rows of a tensor like :meth:`probabilities` by choice, each of shape (..., its options)."""
        return {
            choice.name: rows[..., position, : len(choice.values)] for position, choice in enumerate(self.space.choices)
        }

    def candidate(self) -> Candidate:
        """The most probable option of every choice, canonical."""
        return self.space.decode(self.probabilities().argmax(dim=1).tolist())

    def sample(self, generator: torch.Generator) -> Candidate:
        """Every choice drawn by its probabilities."""
        drawn = torch.multinomial(self.probabilities(), 1, generator=generator)
        return self.space.decode(drawn[:, 0].tolist())

    def certainty(self) -> float:
        """The least of the choices' top probabilities."""
        return float(self.probabilities().max(dim=1).values.min())
