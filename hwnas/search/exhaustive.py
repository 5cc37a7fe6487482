"""Exhaustive search: every candidate that meets the limits, for spaces small enough."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

from hwnas.errors import InfeasibleError, SearchError
from hwnas.search.protocol import Evaluation, Limits
from hwnas.space import Candidate, SearchSpace

_BATCH = 512


@dataclass(frozen=True, slots=True)
class ExhaustiveSettings:
    """``evaluations``: the largest space it takes on."""

    evaluations: int = 50_000

    def __post_init__(self) -> None:
        if self.evaluations < 1:
            raise SearchError(f"exhaustive: evaluations is {self.evaluations}; it must be at least 1")

    def as_dict(self) -> dict[str, object]:
        """The fields by name, as they stand in journals."""
        return asdict(self)


class Exhaustive:
    """A ``Searcher`` that proposes every feasible candidate once, in the order of the space, and learns nothing."""

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits | None = None,
        settings: ExhaustiveSettings | None = None,
        *,
        seed: int = 0,
        probes: Sequence[Candidate] = (),
        exclude: Collection[Candidate] = (),
    ) -> None:
        """Nothing is random: ``seed`` and ``probes`` do not matter.

        Raises :class:`SearchError` for a space of more candidates than ``settings.evaluations``.
        """
        self.settings = settings or ExhaustiveSettings()
        size = space.size()
        if size > self.settings.evaluations:
            raise SearchError(
                f"space {space.name!r} has {size:,} candidates, too many to try them all (more than"
                f" {self.settings.evaluations:,}); take another method, or raise --evaluations"
            )
        self._space, self._limits, self._exclude = space, limits, frozenset(exclude)
        self._left = iter(space)
        self._found = False

    def ask(self) -> tuple[Candidate, ...]:
        """The next ones; empty when there are no more. Raises :class:`InfeasibleError` if none meets the limits."""
        while block := list(islice(self._left, _BATCH)):
            if self._limits is not None:
                allowed = self._limits.allows(self._space.encode_many(block))
                block = [candidate for candidate, ok in zip(block, allowed, strict=True) if ok]
            self._found |= bool(block)
            if wanted := tuple(candidate for candidate in block if candidate not in self._exclude):
                return wanted
        if not self._found and self._limits is not None:
            raise InfeasibleError(
                f"no candidate of space {self._space.name!r} meets {self._limits.describe()}; relax a limit"
            )
        return ()

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Nothing is learnt."""
