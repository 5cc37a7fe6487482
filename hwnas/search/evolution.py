"""HAT's evolutionary search under hard limits (HAT, section 3.2), spending no evaluation twice."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hwnas.errors import SearchError
from hwnas.search.protocol import Evaluation, Limits
from hwnas.search.sampling import FeasibleSampler
from hwnas.space import Candidate, SearchSpace


@dataclass(frozen=True, slots=True)
class EvolutionSettings:
    """HAT's defaults: 125 = 25 parents + 50 mutants + 50 crossovers, 30 iterations, p = 0.3 per choice."""

    population: int = 125
    parents: int = 25
    mutants: int = 50
    crossovers: int = 50
    iterations: int = 30
    mutation_probability: float = 0.3

    def __post_init__(self) -> None:
        for name in ("population", "parents", "iterations"):
            if getattr(self, name) < 1:
                raise SearchError(f"evolution: {name} is {getattr(self, name)}; it must be at least 1")
        if self.mutants < 0 or self.crossovers < 0 or self.mutants + self.crossovers < 1:
            raise SearchError(
                f"evolution: {self.mutants} mutants and {self.crossovers} crossovers; one is needed at least"
            )
        if not 0 < self.mutation_probability <= 1:
            raise SearchError(f"evolution: mutation probability is {self.mutation_probability}; it must be in (0, 1]")

    @property
    def evaluations(self) -> int:
        """Most candidates it evaluates: the first population and the children of every iteration."""
        return self.population + self.iterations * (self.mutants + self.crossovers)

    @classmethod
    def within(cls, evaluations: int, **given: Any) -> EvolutionSettings:
        """Settings of exactly so many evaluations: what is not ``given`` is HAT's, with smaller or larger populations.

        They grow with the root of the budget, as the iterations do; the first population takes what is left over.
        Raises :class:`SearchError` if the budget is too small for what is given.
        """
        hat = cls()
        share = (evaluations / hat.evaluations) ** 0.5
        most = max(1, evaluations // 4)
        sizes = {
            name: max(1, min(most, round(share * getattr(hat, name)))) for name in ("parents", "mutants", "crossovers")
        }
        settings = {**sizes, **given}
        children = settings["mutants"] + settings["crossovers"]
        population = given.get("population", round(share * hat.population))
        iterations = given.get("iterations", max(1, (evaluations - population) // max(1, children)))
        first = evaluations - iterations * children
        if first < 1 or (given.keys() >= {"population", "iterations"} and first != population):
            raise SearchError(
                f"evolution: {evaluations} evaluations are not the population and {iterations} iterations of {children}"
                " children; give fewer of these, or leave them to the evaluations"
            )
        return cls(**{**settings, "population": first, "iterations": iterations})

    def as_dict(self) -> dict[str, float]:
        """The fields by name, as they stand in journals."""
        return asdict(self)


class Evolution:
    """A ``Searcher``: population, truncation selection, mutants and uniform crossovers.

    Within HAT's settings it differs from HAT's code in what costs nothing: candidates are
    canonical and none is proposed twice (HAT re-evaluates its parents, and silent genes, again
    and again), parents are the best of *all* evaluated, and the children of the last iteration
    are evaluated instead of thrown away. Ties are broken by gene order. Where no new crossover can be
    had (the parents' are all known), a mutant takes its place, and then a random candidate.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits | None = None,
        settings: EvolutionSettings | None = None,
        *,
        seed: int = 0,
        probes: Sequence[Candidate] = (),
        exclude: Collection[Candidate] = (),
    ) -> None:
        """``probes``: where to look if random ones never meet the limits; ``exclude``: never proposed."""
        self.settings = settings or EvolutionSettings()
        self._space = space
        self._rng = random.Random(f"{seed}/evolution")
        self._sampler = FeasibleSampler(space, limits, self._rng, probes=probes, exclude=exclude)
        self._parents: list[Ranked] = []
        self._iteration = 0

    def ask(self) -> tuple[Candidate, ...]:
        """First the population, then the children of each iteration; empty when done or exhausted."""
        settings, rng = self.settings, self._rng
        if self._iteration > settings.iterations:
            return ()
        if self._iteration == 0:
            return tuple(self._sampler.fresh(settings.population))
        parents = [parent.candidate for parent in self._parents]
        if not parents:
            return ()

        def mutant() -> Candidate:
            return self._space.mutate(rng.choice(parents), rng, settings.mutation_probability)

        def crossover() -> Candidate:
            first, second = rng.sample(parents, 2)
            return self._space.crossover(first, second, rng)

        mutants = self._sampler.fresh(settings.mutants, mutant)
        mates = (crossover, mutant) if len(parents) > 1 else (mutant,)
        return (*mutants, *self._sampler.fresh(settings.crossovers, *mates))

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Keep the best of everything seen as parents."""
        ranked = [Ranked.of(self._space, evaluation) for evaluation in evaluations]
        self._parents = sorted(self._parents + ranked)[: self.settings.parents]
        self._iteration += 1


@dataclass(frozen=True, slots=True, order=True)
class Ranked:
    """An evaluation that sorts: by loss, then by gene."""

    loss: float
    gene: tuple[int, ...]
    candidate: Candidate

    @classmethod
    def of(cls, space: SearchSpace, evaluation: Evaluation) -> Ranked:
        """The gene settles ties, so ``candidate`` is never compared."""
        gene = tuple(int(index) for index in space.encode(evaluation.candidate))
        return cls(evaluation.loss, gene, evaluation.candidate)
