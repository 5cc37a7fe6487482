"""Random search: the baseline that a search method must beat at equal cost."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from hwnas.errors import SearchError
from hwnas.search.protocol import Evaluation, Limits
from hwnas.search.sampling import FeasibleSampler
from hwnas.space import Candidate, SearchSpace


@dataclass(frozen=True, slots=True)
class RandomSettings:
    """Random search has a budget alone: HAT's, if none is given."""

    evaluations: int = 3125

    def as_dict(self) -> dict[str, object]:
        """The fields by name, as they stand in journals."""
        return asdict(self)


class RandomSearch:
    """A ``Searcher``: ``evaluations`` different candidates, uniform among those that meet the limits.

    Its random stream is its own; with ``exclude`` it shares no candidate with another search.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits | None = None,
        *,
        evaluations: int,
        seed: int = 0,
        batch: int = 125,
        probes: Sequence[Candidate] = (),
        exclude: Collection[Candidate] = (),
    ) -> None:
        """``batch`` candidates are asked for at a time; ``probes`` as for evolution."""
        if evaluations < 1 or batch < 1:
            raise SearchError(f"random search: {evaluations} evaluations in batches of {batch}; both must be >= 1")
        self._left = evaluations
        self._batch = batch
        rng = random.Random(f"{seed}/random")
        self._sampler = FeasibleSampler(space, limits, rng, probes=probes, exclude=exclude)

    def ask(self) -> tuple[Candidate, ...]:
        """The next batch; empty when the budget is spent or the space exhausted."""
        if self._left <= 0:
            return ()
        return tuple(self._sampler.fresh(min(self._batch, self._left)))

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Count them; nothing is learnt."""
        self._left -= len(evaluations)


class _Budget(Protocol):
    @property
    def evaluations(self) -> int: ...


def random_search(
    space: SearchSpace,
    limits: Limits | None,
    settings: _Budget,
    *,
    seed: int,
    probes: Sequence[Candidate] = (),
    exclude: Collection[Candidate] = (),
) -> RandomSearch:
    """Of the same budget as any method's ``settings``."""
    return RandomSearch(space, limits, evaluations=settings.evaluations, seed=seed, probes=probes, exclude=exclude)
