"""Random architectures, soft and one-hot, and what their expectation is by enumeration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from hwnas.space import Candidate, Genes, SearchSpace


def random_logits(space: SearchSpace, batch: int, seed: int = 0) -> dict[str, Tensor]:
    """Of shape (batch, options), float64; from nearly uniform architectures to nearly decided ones."""
    draw = torch.Generator().manual_seed(seed)
    spread = torch.logspace(-1, 0.7, batch, dtype=torch.float64)[:, None]
    return {
        choice.name: spread * torch.randn(batch, len(choice.values), generator=draw, dtype=torch.float64)
        for choice in space.choices
    }


def softmax(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.softmax(-1) for name, values in logits.items()}


def one_hot(space: SearchSpace, genes: Genes, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Of shape (candidates, options)."""
    indices = torch.from_numpy(genes)
    return {
        choice.name: torch.nn.functional.one_hot(indices[:, position], len(choice.values)).to(dtype)
        for position, choice in enumerate(space.choices)
    }


def enumerated(space: SearchSpace, probabilities: Mapping[str, Tensor], value: Callable[[Candidate], float]) -> float:
    """Sum over all candidates of the product of their active choices' probabilities times their value."""
    values = {choice.name: choice.values for choice in space.choices}
    total, weights = 0.0, 0.0
    for candidate in space:
        weight = math.prod(float(probabilities[name][values[name].index(chosen)]) for name, chosen in candidate.entries)
        weights += weight
        total += weight * value(candidate)
    assert abs(weights - 1) < 1e-9
    return total
