"""From a distribution to candidates that meet the limits: the most probable first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hwnas.space import Genes, SearchSpace

_KEPT = 50_000
"""Candidates that are looked at: all that differ in two or three choices from the most probable."""


def most_probable(space: SearchSpace, costs: npt.NDArray[np.float64]) -> Genes:
    """Genes of the canonical candidates of least cost, cheapest first, shape (candidates, choices).

    ``costs`` (choices, options) is what each option takes off the logarithm of the probability, not negative.
    Exact: the beginning of one of the best candidates is one of the best beginnings.
    """
    total = np.zeros(1)
    genes = np.zeros((1, 0), dtype=np.int64)
    for position, choice in enumerate(space.choices):
        options = len(choice.values)
        grown = total[:, None] + costs[position, :options]
        if choice.when is not None:
            gate = space.index[choice.when[0]]
            inactive = np.array(space.choices[gate].values)[genes[:, gate]] < choice.when[1]
            grown[inactive] = np.inf
            grown[inactive, 0] = total[inactive]
        flat = grown.ravel()
        kept = np.flatnonzero(np.isfinite(flat))
        if len(kept) > _KEPT:
            kept = kept[np.argpartition(flat[kept], _KEPT)[:_KEPT]]
        genes = np.column_stack([genes[kept // options], kept % options])
        total = flat[kept]
    return genes[np.lexsort((*genes.T[::-1], total))]
