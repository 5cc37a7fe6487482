"""From a distribution to candidates that meet the limits: the nearest to what was decided, in its own measure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from hwnas.device_limits import DeviceLimits
from hwnas.errors import InfeasibleError
from hwnas.gradient.descent import Descent
from hwnas.search.protocol import Evaluation
from hwnas.space import Candidate, Genes, SearchSpace

NEAR = 0.98
"""Share of the limit from which on a candidate is at the limit."""

_KEPT = 50_000
"""Candidates that are looked at: all that differ in three choices, and many that differ in more."""
_CHANGE, _TIE = 0.2, 1e-6
"""What a change costs at least, in shares of the costliest: from what leads, and from what scores best."""
_ROUNDS = 3
"""Times that candidates are asked for: first around what was decided, then around the best so far."""
_LOWER, _TRIES = 0.95, 60
"""Where nothing near meets the limits, the target that prices are for is lowered by this, so often."""


class Runners:
    """A :class:`hwnas.search.protocol.Searcher` of candidates at the latency limit, or below where none is there."""

    def __init__(self, descent: Descent, limits: DeviceLimits, count: int, exclude: Collection[Candidate] = ()) -> None:
        """``count`` candidates at most, none of ``exclude``."""
        self._descent, self._limits, self._left = descent, limits, count
        self._portion = math.ceil(count / _ROUNDS)
        self._taken = set(exclude)
        self._leads = descent.architecture.probabilities().argmax(dim=1).numpy()
        self._best: Evaluation | None = None

    def ask(self) -> tuple[Candidate, ...]:
        """The nearest of those that meet the limits; raises :class:`InfeasibleError` if none does.

        At first half of them are those that score best at the target's price, whatever was decided: what was
        decided one after another may have gone wrong in more places than a few changes mend.
        """
        wanted = min(self._portion, self._left)
        target_ms = float(self._descent.expected_ms())
        found: tuple[Candidate, ...] = ()
        if self._best is None:
            genes, near = self._allowed(target_ms, None)
            found = self._new(genes[near], wanted // 2)
        for attempt in range(_TRIES):
            if len(found) < wanted and (attempt == 0 or not found):
                genes, near = self._allowed(target_ms * _LOWER**attempt, None if attempt else self._leads)
                found += self._new(genes[np.argsort(~near, kind="stable")], wanted - len(found))
        if not found:
            probes = self._limits.first.space.encode_many(self._limits.probes())
            found = self._new(probes[self._limits.allows(probes)], wanted)
        if not found and self._best is None:
            raise InfeasibleError(
                f"a search by gradients found no candidate of space {self._limits.first.space.name!r} that meets"
                f" {self._limits.describe()}: relax a limit, or search by another method"
            )
        self._left -= wanted
        return found

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """The best so far leads from now on."""
        seen = evaluations if self._best is None else [self._best, *evaluations]
        self._best = min(seen, key=lambda evaluation: evaluation.loss)
        self._leads = self._limits.first.space.encode(self._best.candidate)

    def _allowed(self, target_ms: float, leads: npt.NDArray[np.int64] | None) -> tuple[Genes, npt.NDArray[np.bool_]]:
        """What meets the limits, nearest to ``leads`` or to the best scores first, and whether it is at the limit."""
        space, first = self._limits.first.space, self._limits.first
        genes = nearest(space, _costs(self._descent.priced(target_ms).numpy(), leads, space))
        genes = genes[self._limits.allows(genes)]
        if first.latency_ms is None:
            return genes, np.ones(len(genes), dtype=np.bool_)
        return genes, first.bound_ms(genes) >= NEAR * first.latency_ms

    def _new(self, genes: Genes, count: int) -> tuple[Candidate, ...]:
        """The first ``count`` that were not taken before; now they are."""
        space = self._limits.first.space
        candidates = dict.fromkeys(space.decode(gene) for gene in genes[: count + len(self._taken)])
        found = tuple(candidate for candidate in candidates if candidate not in self._taken)[:count]
        self._taken.update(found)
        return found


def nearest(space: SearchSpace, costs: npt.NDArray[np.float64]) -> Genes:
    """Genes of the canonical candidates of least cost, cheapest first, shape (candidates, choices).

    ``costs`` (choices, options) is what each option adds, not negative. Exact: the beginning of one of the best
    candidates is one of the best beginnings.
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


def _costs(
    scores: npt.NDArray[np.float64], leads: npt.NDArray[np.int64] | None, space: SearchSpace
) -> npt.NDArray[np.float64]:
    """How far each option's score is from that of the option that leads, which is the best one where none is given.

    An option that scores better than what leads costs too: it was decided against because it did not fit the rest.
    """
    change = _CHANGE
    if leads is None:
        leads = np.array([scores[row, : len(choice.values)].argmin() for row, choice in enumerate(space.choices)])
        change = _TIE
    rows = np.arange(len(leads))
    away = np.abs(scores - scores[rows, leads][:, None])
    costs: npt.NDArray[np.float64] = away / max(float(away.max()), 1e-12) + change
    costs[rows, leads] = 0.0
    return costs
