"""Local search with restarts (White et al., UAI 2021): from a good random candidate downhill, again and again."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from hwnas.errors import SearchError
from hwnas.search.evolution import Ranked
from hwnas.search.neighbours import neighbours
from hwnas.search.protocol import Evaluation, Limits
from hwnas.search.sampling import FeasibleSampler
from hwnas.space import Candidate, SearchSpace


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Each climb starts at the best of ``starts`` random candidates; ``batch`` neighbours are tried at a time."""

    evaluations: int = 500
    starts: int = 10
    batch: int = 8

    def __post_init__(self) -> None:
        for name in ("evaluations", "starts", "batch"):
            if getattr(self, name) < 1:
                raise SearchError(f"local: {name} is {getattr(self, name)}; it must be at least 1")

    def as_dict(self) -> dict[str, object]:
        """The fields by name, as they stand in journals."""
        return asdict(self)


class LocalSearch:
    """A ``Searcher``: tries the neighbours in random order, moves to the first batch's best that is better.

    Neighbours are one choice away. Where none is better it starts anew elsewhere. What an earlier climb
    evaluated is known and costs nothing.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits | None = None,
        settings: LocalSettings | None = None,
        *,
        seed: int = 0,
        probes: Sequence[Candidate] = (),
        exclude: Collection[Candidate] = (),
    ) -> None:
        """``probes`` and ``exclude`` as for evolution."""
        self.settings = settings or LocalSettings()
        self._space = space
        self._rng = random.Random(f"{seed}/local")
        self._sampler = FeasibleSampler(space, limits, self._rng, probes=probes, exclude=exclude)
        self._known: dict[Candidate, Ranked] = {}
        self._here: Ranked | None = None
        self._around: list[Candidate] = []
        self._left = self.settings.evaluations

    def ask(self) -> tuple[Candidate, ...]:
        """Neighbours of where it is, or, at the bottom, random candidates; empty when done or exhausted."""
        if self._left <= 0:
            return ()
        while self._around:
            batch, self._around = self._around[: self.settings.batch], self._around[self.settings.batch :]
            if asked := self._sampler.take(batch)[: self._left]:
                return tuple(asked)
        self._here = None
        return tuple(self._sampler.fresh(min(self.settings.starts, self._left)))

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Move, if one of them is better."""
        self._left -= len(evaluations)
        ranked = [Ranked.of(self._space, evaluation) for evaluation in evaluations]
        self._known |= {entry.candidate: entry for entry in ranked}
        best = min(ranked)
        while self._here is None or best < self._here:
            self._here = best
            self._around = neighbours(self._space, best.candidate, self._rng)
            self._rng.shuffle(self._around)
            best = min((self._known[c] for c in self._around if c in self._known), default=best)
