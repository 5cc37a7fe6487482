"""Random candidates that meet the limits, without repeats and without ever hanging."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence

from hwnas.errors import InfeasibleError
from hwnas.search.protocol import Limits
from hwnas.space import Candidate, SearchSpace

Draw = Callable[[], Candidate]

_REJECTIONS = 20_000
"""Uniform draws without a single hit after which the feasible share is called tiny."""
_BARREN_DRAWS = 500
"""Children in a row that bring nothing new after which their parents are called exhausted."""
_BARREN_STEPS = 5_000
"""Steps of the walk in a row that bring nothing new after which the feasible region is."""
_STEP = 0.1
"""Mutation probability of the walk through a tiny feasible region."""


class FeasibleSampler:
    """Draws candidates of a space that meet its limits and were not drawn before.

    ``taken`` holds every candidate ever handed out, and those it must never hand out. While the
    feasible share is not tiny, draws are uniform (rejection). Where 20,000 draws in a row find
    nothing, it walks from known feasible candidates by mutation instead.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits | None,
        rng: random.Random,
        *,
        probes: Sequence[Candidate] = (),
        exclude: Collection[Candidate] = (),
    ) -> None:
        """``probes`` are candidates to start from where uniform draws find none that is feasible."""
        self.space = space
        self.taken: set[Candidate] = set(exclude)
        self._limits = limits
        self._rng = rng
        self._feasible: list[Candidate] = []
        self._probes = tuple(probes) or (space.extreme(0),)
        self._walking = False
        self._exhausted = False
        self._size = space.size()

    def fresh(self, wanted: int, *draws: Draw) -> list[Candidate]:
        """Up to ``wanted`` new feasible candidates from each of ``draws`` in turn, then from the space.

        The next source is asked only for what the one before could not give. Fewer than
        ``wanted`` if all of them bring nothing new for long. Raises :class:`InfeasibleError` if
        no candidate at all meets the limits.
        """
        found: list[Candidate] = []
        for draw in draws:
            found += self._collect(wanted - len(found), draw, _BARREN_DRAWS)
        if len(found) < wanted and not self._walking:
            found += self._collect(wanted - len(found), self._uniform, _REJECTIONS)
            self._walking = len(found) < wanted
        if len(found) < wanted and not self._exhausted:
            found += self._collect(wanted - len(found), self._walk, _BARREN_STEPS)
            self._exhausted = len(found) < wanted
        return found

    def take(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Those of ``candidates`` that are new and meet the limits, once each; they are handed out with this."""
        new = [candidate for candidate in dict.fromkeys(candidates) if candidate not in self.taken]
        allowed = self._allowed(new)
        self.taken.update(allowed)
        self._feasible += allowed
        return allowed

    def pool(self, wanted: int, draw: Draw) -> list[Candidate]:
        """About ``wanted`` new candidates from ``draw`` that meet the limits, to choose from: none is handed out yet.

        Fewer, or none, where three times as many draws did not bring them.
        """
        found: dict[Candidate, None] = {}
        for _ in range(3):
            drawn = dict.fromkeys(draw() for _ in range(wanted))
            new = [candidate for candidate in drawn if candidate not in self.taken and candidate not in found]
            found |= dict.fromkeys(self._allowed(new))
            if len(found) >= wanted:
                break
        return list(found)[:wanted]

    def _collect(self, wanted: int, draw: Draw, patience: int) -> list[Candidate]:
        """Draw in batches until ``wanted`` are found, or ``patience`` draws in a row bring nothing."""
        found: list[Candidate] = []
        barren = 0
        while len(found) < wanted and barren < patience and len(self.taken) < self._size:
            batch = dict.fromkeys(draw() for _ in range(min(2 * (wanted - len(found)) + 8, 512)))
            drawn = [candidate for candidate in batch if candidate not in self.taken]
            allowed = self._allowed(drawn)[: wanted - len(found)]
            barren = 0 if allowed else barren + len(batch)
            found += allowed
            self.taken.update(allowed)
            self._feasible += allowed
        return found

    def _allowed(self, candidates: list[Candidate]) -> list[Candidate]:
        if self._limits is None or not candidates:
            return candidates
        mask = self._limits.allows(self.space.encode_many(candidates))
        return [candidate for candidate, ok in zip(candidates, mask, strict=True) if ok]

    def _uniform(self) -> Candidate:
        return self.space.sample(self._rng)

    def _walk(self) -> Candidate:
        if not self._feasible:
            self._feasible = self._allowed(list(self._probes))
        if not self._feasible:
            limits = "its limits" if self._limits is None else self._limits.describe()
            raise InfeasibleError(
                f"no candidate of space {self.space.name!r} was found that meets {limits}"
                f" ({_REJECTIONS:,} random ones and the smallest tried); relax a limit"
            )
        return self.space.mutate(self._rng.choice(self._feasible), self._rng, _STEP)
