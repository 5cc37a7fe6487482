"""NSGA-II as a searcher of loss and costs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hwnas.errors import SearchError
from hwnas.search.nsga2 import Nsga2, Nsga2Settings, Objectives
from hwnas.search.protocol import Costs, Evaluation, Limits
from hwnas.space import Candidate, SearchSpace

LOSS = "loss"


def figures(space: SearchSpace, evaluations: Sequence[Evaluation], costs: Costs | None) -> Objectives:
    """Loss and costs of what was evaluated, shape (evaluations, 1 + costs)."""
    losses = np.array([[evaluation.loss] for evaluation in evaluations])
    if costs is None:
        return losses
    return np.hstack([losses, costs(space.encode_many([evaluation.candidate for evaluation in evaluations]))])


@dataclass(frozen=True, slots=True)
class Nsga2SearchSettings:
    """``population`` (by default twice the root of the evaluations) a generation until the evaluations are spent."""

    evaluations: int = 500
    population: int | None = None
    mutation_probability: float | None = None

    def __post_init__(self) -> None:
        if self.evaluations < 2:
            raise SearchError(f"nsga2: evaluations is {self.evaluations}; at least 2 are needed")
        self.core()  # refuses what cannot be

    def core(self) -> Nsga2Settings:
        """As NSGA-II counts: generations."""
        population = self.population or max(2, round(2 * self.evaluations**0.5))
        return Nsga2Settings(population, -(-self.evaluations // population) - 1, self.mutation_probability)

    def as_dict(self) -> dict[str, object]:
        """The fields by name, as they stand in journals."""
        return asdict(self)


class Nsga2Search:
    """A ``Searcher``: :class:`hwnas.search.nsga2.Nsga2` of loss and ``costs``."""

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits | None = None,
        settings: Nsga2SearchSettings | None = None,
        *,
        seed: int = 0,
        probes: Sequence[Candidate] = (),
        exclude: Collection[Candidate] = (),
        costs: Costs | None = None,
    ) -> None:
        """``probes`` and ``exclude`` as for evolution; without ``costs`` the loss is the only objective."""
        self.settings = settings or Nsga2SearchSettings()
        self._space, self._costs = space, costs
        self._left = self.settings.evaluations
        self._core = Nsga2(space, limits, self.settings.core(), seed=seed, probes=probes, exclude=exclude)

    def ask(self) -> tuple[Candidate, ...]:
        """The next generation, or what is left of the budget."""
        return self._core.ask()[: self._left]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Select by loss and costs."""
        self._left -= len(evaluations)
        candidates = [evaluation.candidate for evaluation in evaluations]
        self._core.tell(candidates, figures(self._space, evaluations, self._costs))
