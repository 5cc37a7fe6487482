"""Sequential model-based search: what promises most by a model of the loss is evaluated next."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from hwnas.errors import SearchError
from hwnas.search.evolution import Ranked
from hwnas.search.neighbours import neighbour
from hwnas.search.protocol import Evaluation, Limits
from hwnas.search.sampling import FeasibleSampler
from hwnas.search.surrogate import Surrogate
from hwnas.space import Candidate, SearchSpace

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BayesSettings:
    """``initial`` random candidates, then ``batch`` at a time, each time the best of a ``pool`` of feasible ones.

    Two thirds of the pool are one or two choices away from the ``parents`` best so far, the rest is
    random. ``surrogate``: ``gp`` or ``forest`` (:class:`hwnas.search.surrogate.Surrogate`).
    """

    evaluations: int = 500
    initial: int = 25
    batch: int = 5
    pool: int = 300
    parents: int = 10
    surrogate: str = "gp"

    def __post_init__(self) -> None:
        for name in ("evaluations", "initial", "batch", "parents"):
            if getattr(self, name) < 1:
                raise SearchError(f"bayes: {name} is {getattr(self, name)}; it must be at least 1")
        if self.pool < self.batch:
            raise SearchError(f"bayes: a pool of {self.pool} for batches of {self.batch}; it must be at least as many")

    def as_dict(self) -> dict[str, object]:
        """The fields by name, as they stand in journals."""
        return asdict(self)


class Bayes:
    """A ``Searcher``: expected improvement (Jones et al. 1998, equation 15) under the limits.

    Constrained expected improvement is the improvement times the probability of meeting the limits
    (Gardner et al. 2014, section 3). The limits are hard and can be told of any candidate without
    evaluating it, so that probability is 0 or 1: the pool holds what meets them.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits | None = None,
        settings: BayesSettings | None = None,
        *,
        seed: int = 0,
        probes: Sequence[Candidate] = (),
        exclude: Collection[Candidate] = (),
    ) -> None:
        """``probes`` and ``exclude`` as for evolution."""
        self.settings = settings or BayesSettings()
        self._space = space
        self._rng = random.Random(f"{seed}/bayes")
        self._sampler = FeasibleSampler(space, limits, self._rng, probes=probes, exclude=exclude)
        self._surrogate = Surrogate(space, self.settings.surrogate)
        self._known: list[Evaluation] = []
        self._parents: list[Ranked] = []

    def ask(self) -> tuple[Candidate, ...]:
        """The first random ones, then the most promising; empty when done or exhausted."""
        settings = self.settings
        left = settings.evaluations - len(self._known)
        if left <= 0:
            return ()
        if not self._known:
            return tuple(self._sampler.fresh(min(settings.initial, left)))
        wanted = min(settings.batch, left)
        near = self._sampler.pool(2 * settings.pool // 3, self._near)
        pool = list(dict.fromkeys([*near, *self._sampler.pool(settings.pool // 3, self._anywhere)]))
        asked: list[Candidate] = []
        if pool:
            self._surrogate.fit(self._known)
            mean, spread = self._surrogate.predict(self._space.encode_many(pool))
            promise = expected_improvement(mean, spread, self._parents[0].loss)
            asked = self._sampler.take(pool[row] for row in np.argsort(-promise, kind="stable")[:wanted])
        return tuple(asked + self._sampler.fresh(wanted - len(asked)))

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Remember them all."""
        self._known += evaluations
        ranked = [Ranked.of(self._space, evaluation) for evaluation in evaluations]
        self._parents = sorted(self._parents + ranked)[: self.settings.parents]

    def _near(self) -> Candidate:
        once = neighbour(self._space, self._rng.choice(self._parents).candidate, self._rng)
        return once if self._rng.random() < 0.5 else neighbour(self._space, once, self._rng)

    def _anywhere(self) -> Candidate:
        return self._space.sample(self._rng)


def expected_improvement(mean: Array, spread: Array, best: float) -> Array:
    """Of normal losses below ``best``, in their unit; all arrays of shape (candidates,)."""
    from scipy.special import ndtr  # type: ignore[import-untyped]

    spread = np.maximum(spread, 1e-12)
    z = (best - mean) / spread
    improvement: Array = (best - mean) * ndtr(z) + spread * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return improvement
