"""LINAS (Cummings et al. 2022; survey section X-C): predictors in the loop, searched and corrected in turn."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hwnas.errors import SearchError
from hwnas.evaluators.predicted import KINDS as PREDICTORS
from hwnas.evaluators.predicted import fit
from hwnas.search.fronts import figures
from hwnas.search.nsga2 import Nsga2, Nsga2Settings, Objectives, survivors
from hwnas.search.protocol import Costs, Evaluation, Limits
from hwnas.search.sampling import FeasibleSampler
from hwnas.search.surrogate import KINDS as SURROGATES
from hwnas.search.surrogate import Surrogate
from hwnas.space import Candidate, Genes, SearchSpace


@dataclass(frozen=True, slots=True)
class LinasSettings:
    """``initial`` random candidates, then ``batch`` of the best by prediction at a time.

    ``predictor`` is ``gp`` or ``forest`` (:class:`hwnas.search.surrogate.Surrogate`), or ``ridge``, ``gbdt``
    or ``mlp`` (:func:`hwnas.evaluators.predicted.fit`). Each time it is searched by NSGA-II in
    ``generations`` of ``population``.
    """

    evaluations: int = 500
    initial: int = 30
    batch: int = 10
    predictor: str = "gp"
    population: int = 80
    generations: int = 10

    def __post_init__(self) -> None:
        for name, least in (("evaluations", 1), ("initial", 8), ("batch", 1), ("population", 2), ("generations", 1)):
            if getattr(self, name) < least:
                raise SearchError(f"linas: {name} is {getattr(self, name)}; it must be at least {least}")
        known = (*SURROGATES, *PREDICTORS)
        if self.predictor not in known:
            raise SearchError(f"linas: predictor {self.predictor!r} is unknown; known: {', '.join(known)}")

    def as_dict(self) -> dict[str, object]:
        """The fields by name, as they stand in journals."""
        return asdict(self)


class Linas:
    """A ``Searcher``: the lightweight iterative one.

    A predictor of the loss is trained on what was evaluated, NSGA-II searches its predictions (from the
    front known so far on), and the best of what it came across that is new is evaluated; and so again. Costs are
    known, not learnt.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits | None = None,
        settings: LinasSettings | None = None,
        *,
        seed: int = 0,
        probes: Sequence[Candidate] = (),
        exclude: Collection[Candidate] = (),
        costs: Costs | None = None,
    ) -> None:
        """``probes`` and ``exclude`` as for evolution; without ``costs`` the loss is the only objective."""
        self.settings = settings or LinasSettings()
        self._space, self._limits, self._costs, self._probes = space, limits, costs, probes
        self._seed, self._excluded = seed, frozenset(exclude)
        self._sampler = FeasibleSampler(space, limits, random.Random(f"{seed}/linas"), probes=probes, exclude=exclude)
        self._known: list[Evaluation] = []
        self._surrogate = Surrogate(space, self.settings.predictor) if self.settings.predictor in SURROGATES else None

    def ask(self) -> tuple[Candidate, ...]:
        """The first random ones, then the best by prediction; empty when done or exhausted."""
        settings = self.settings
        left = settings.evaluations - len(self._known)
        if left <= 0:
            return ()
        if len(self._known) < settings.initial:
            return tuple(self._sampler.fresh(min(settings.initial - len(self._known), left)))
        wanted = min(settings.batch, left)
        asked = self._sampler.take(self._promising(wanted))
        return tuple(asked + self._sampler.fresh(wanted - len(asked)))

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Remember them all."""
        self._known += evaluations

    def _promising(self, wanted: int) -> list[Candidate]:
        """Of what NSGA-II came across on predictions, the best that are new."""
        settings = self.settings
        known = figures(self._space, self._known, self._costs)
        best = [self._known[row].candidate for row, _, _ in survivors(known, settings.population // 2)]
        search = Nsga2(
            self._space,
            self._limits,
            Nsga2Settings(settings.population, settings.generations),
            seed=1_000_003 * self._seed + len(self._known),
            probes=self._probes,
            exclude=self._excluded,
            first=best,
            patient=False,
        )
        self._learn()
        seen: list[Candidate] = []
        found: list[Objectives] = []
        while asked := search.ask():
            predicted = self._predicted(self._space.encode_many(asked))
            search.tell(asked, predicted)
            seen += asked
            found.append(predicted)
        new = [row for row, candidate in enumerate(seen) if candidate not in self._sampler.taken]
        if not new:
            return []
        objectives = np.concatenate(found)[new]
        return [seen[new[row]] for row, _, _ in survivors(objectives, wanted)]

    def _learn(self) -> None:
        if self._surrogate is not None:
            self._surrogate.fit(self._known)
            return
        candidates, losses = zip(*((known.candidate, known.loss) for known in self._known), strict=True)
        kind = next(kind for kind in PREDICTORS if kind == self.settings.predictor)
        self._predictor = fit(self._space, candidates, losses, kind, seed=self._seed)

    def _predicted(self, genes: Genes) -> Objectives:
        loss = (self._predictor if self._surrogate is None else self._surrogate).loss(genes)
        return np.column_stack([loss, *([] if self._costs is None else [self._costs(genes)])])
