"""NSGA-II (Deb et al., IEEE Trans. Evol. Comput. 6(2), 2002): search for a Pareto front of several objectives."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from hwnas.errors import MissingExtraError, SearchError
from hwnas.search.protocol import Limits
from hwnas.search.sampling import FeasibleSampler
from hwnas.space import Candidate, SearchSpace

Objectives = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Nsga2Settings:
    """Size of the population (and of each generation of children), generations, and mutation.

    ``mutation_probability`` is that of each choice; by default one choice a child on average (section V
    of the paper: 1 / number of variables).
    """

    population: int = 100
    generations: int = 30
    mutation_probability: float | None = None

    def __post_init__(self) -> None:
        if self.population < 2 or self.generations < 0:
            raise SearchError(
                f"nsga2: a population of {self.population} and {self.generations} generations;"
                " at least 2 and 0 are needed"
            )
        probability = self.mutation_probability
        if probability is not None and not 0 < probability <= 1:
            raise SearchError(f"nsga2: mutation probability is {probability}; it must be in (0, 1]")

    @property
    def evaluations(self) -> int:
        """Most candidates it evaluates."""
        return self.population * (self.generations + 1)

    def as_dict(self) -> dict[str, float | None]:
        """The fields by name, as they stand in journals."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Survivor:
    candidate: Candidate
    objectives: tuple[float, ...]
    rank: int = 0
    crowding: float = 0.0


class Nsga2:
    """Proposes candidates and learns from their objectives, all to be minimised; deterministic given its seed.

    Non-dominated sorting, crowding distance and what survives are pymoo's; children are uniform
    crossovers of two winners of binary tournaments, mutated, meet the limits, and are never proposed twice.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits | None = None,
        settings: Nsga2Settings | None = None,
        *,
        seed: int = 0,
        probes: Sequence[Candidate] = (),
        exclude: Collection[Candidate] = (),
        first: Sequence[Candidate] = (),
        patient: bool = True,
    ) -> None:
        """``probes``: where to look if random ones never meet the limits; ``exclude``: never proposed.

        ``first`` are proposed first, as far as they meet the limits. If it is not ``patient``, children that
        were there before are not replaced by others, and it ends with a generation of nothing but those.
        """
        self.settings = settings or Nsga2Settings()
        self._space = space
        self._rng = random.Random(f"{seed}/nsga2")
        self._sampler = FeasibleSampler(space, limits, self._rng, probes=probes, exclude=exclude)
        self._first, self._patient = first, patient
        self._mutation = self.settings.mutation_probability or 1 / len(space.choices)
        self._population: list[_Survivor] = []
        self._generation = 0

    def ask(self) -> tuple[Candidate, ...]:
        """The first population, then the children of each generation; empty when done or exhausted."""
        if self._generation > self.settings.generations:
            return ()
        number = self.settings.population
        if self._population and not self._patient:
            return tuple(self._sampler.take(self._child() for _ in range(number)))
        if self._population:
            return tuple(self._sampler.fresh(number, self._child))
        first = self._sampler.take(self._first)[:number]
        return (*first, *self._sampler.fresh(number - len(first)))

    def tell(self, candidates: Sequence[Candidate], objectives: Objectives) -> None:
        """``objectives`` of shape (candidates, objectives) are those of what the last ``ask`` returned."""
        children = [
            _Survivor(candidate, tuple(float(value) for value in values))
            for candidate, values in zip(candidates, objectives, strict=True)
        ]
        everyone = [*self._population, *children]
        figures = np.array([survivor.objectives for survivor in everyone])
        self._population = [
            replace(everyone[row], rank=rank, crowding=crowding)
            for row, rank, crowding in survivors(figures, self.settings.population, self._generation)
        ]
        self._generation += 1

    def _child(self) -> Candidate:
        child = self._space.crossover(self._winner(), self._winner(), self._rng)
        return self._space.mutate(child, self._rng, self._mutation)

    def _winner(self) -> Candidate:
        """Of two drawn at random the one of lower rank, then the less crowded one."""
        first, second = (self._rng.choice(self._population) for _ in range(2))
        return min(first, second, key=lambda survivor: (survivor.rank, -survivor.crowding)).candidate


def survivors(objectives: Objectives, number: int, seed: int = 0) -> list[tuple[int, int, float]]:
    """The ``number`` rows of (candidates, objectives) that survive, ascending, each with its rank and crowding.

    Raises :class:`MissingExtraError` without pymoo.
    """
    try:
        from pymoo.core.population import Population
        from pymoo.core.problem import Problem
        from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
    except ImportError as exc:
        raise MissingExtraError("NSGA-II needs pymoo: pip install 'hwnas[cosearch]'") from exc

    population = Population.new(F=objectives)
    problem = Problem(n_var=1, n_obj=objectives.shape[1])
    ties = np.random.default_rng(seed)
    kept = RankAndCrowding().do(
        problem, population, n_survive=min(number, len(objectives)), random_state=ties, return_indices=True
    )
    return [
        (row, int(population[row].get("rank")), float(population[row].get("crowding")))
        for row in sorted(int(row) for row in kept)
    ]


def pareto_front(objectives: Objectives) -> list[int]:
    """Rows of (candidates, objectives), all minimised, that no other row betters; of equal rows the first."""
    _, first = np.unique(objectives, axis=0, return_index=True)  # sorted: a row is bettered by earlier ones only
    front: list[int] = []
    for row in first.tolist():
        if not (objectives[front] <= objectives[row]).all(axis=1).any():
            front.append(row)
    return sorted(front)
