"""Regularised evolution (Real et al., AAAI 2019, algorithm 1): tournaments, one mutation, and the oldest dies."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from hwnas.errors import SearchError
from hwnas.search.evolution import Ranked
from hwnas.search.neighbours import neighbour
from hwnas.search.protocol import Evaluation, Limits
from hwnas.search.sampling import FeasibleSampler
from hwnas.space import Candidate, SearchSpace


@dataclass(frozen=True, slots=True)
class RegularisedSettings:
    """Population and tournament as in the paper's grid (its section 3.3 tries 16 to 256 and 2 to 64).

    ``batch`` children are evaluated at a time, as by so many workers; the paper's own are asynchronous.
    """

    evaluations: int = 500
    population: int = 64
    tournament: int = 16
    batch: int = 8

    def __post_init__(self) -> None:
        for name in ("evaluations", "population", "tournament", "batch"):
            if getattr(self, name) < 1:
                raise SearchError(f"regularised: {name} is {getattr(self, name)}; it must be at least 1")

    def as_dict(self) -> dict[str, object]:
        """The fields by name, as they stand in journals."""
        return asdict(self)


class Regularised:
    """A ``Searcher``: each child is a winner of a tournament with one choice changed; the oldest make room.

    Unlike the paper's it proposes no candidate twice; where tournaments bring nothing new for long, a
    random candidate takes the child's place.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits | None = None,
        settings: RegularisedSettings | None = None,
        *,
        seed: int = 0,
        probes: Sequence[Candidate] = (),
        exclude: Collection[Candidate] = (),
    ) -> None:
        """``probes`` and ``exclude`` as for evolution."""
        self.settings = settings or RegularisedSettings()
        self._space = space
        self._rng = random.Random(f"{seed}/regularised")
        self._sampler = FeasibleSampler(space, limits, self._rng, probes=probes, exclude=exclude)
        self._alive: deque[Ranked] = deque(maxlen=self.settings.population)
        self._left = self.settings.evaluations

    def ask(self) -> tuple[Candidate, ...]:
        """The first population, then batches of children; empty when done or exhausted."""
        if self._left <= 0:
            return ()
        if not self._alive:
            return tuple(self._sampler.fresh(min(self.settings.population, self._left)))
        return tuple(self._sampler.fresh(min(self.settings.batch, self._left), self._child))

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """They join the population, and as many of the oldest leave it."""
        self._alive.extend(Ranked.of(self._space, evaluation) for evaluation in evaluations)
        self._left -= len(evaluations)

    def _child(self) -> Candidate:
        drawn = self._rng.sample(self._alive, min(self.settings.tournament, len(self._alive)))
        return neighbour(self._space, min(drawn).candidate, self._rng)
