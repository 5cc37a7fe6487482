"""REINFORCE (Williams 1992) with MnasNet's reward: a policy over the choices that learns from what it proposed."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from hwnas.errors import SearchError
from hwnas.search.protocol import Costs, Evaluation, Limits
from hwnas.search.sampling import FeasibleSampler
from hwnas.space import Candidate, SearchSpace

Array = npt.NDArray[np.float64]

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
"""Adam's own (Kingma & Ba 2015)."""


@dataclass(frozen=True, slots=True)
class ReinforceSettings:
    """Batches of ``batch`` proposals; Adam's ``learning_rate``; an ``entropy`` bonus; the baseline's ``memory``.

    ``exponent`` is the reward's (survey, equation 12). Its target cancels where rewards are compared
    with each other, as they are here. 0, MnasNet's hard form, since the limits are hard themselves;
    its soft form has -0.07 (Tan et al. 2019, figure 3).
    """

    evaluations: int = 500
    batch: int = 5
    learning_rate: float = 0.1
    entropy: float = 0.05
    memory: float = 0.9
    exponent: float = 0.0

    def __post_init__(self) -> None:
        wrong = {
            "evaluations": self.evaluations < 1,
            "batch": self.batch < 1,
            "learning_rate": not self.learning_rate > 0,
            "entropy": not self.entropy >= 0,
            "memory": not 0 <= self.memory < 1,
            "exponent": not self.exponent <= 0,
        }
        for name in (name for name, bad in wrong.items() if bad):
            raise SearchError(f"reinforce: {name} is {getattr(self, name)}, which cannot be")

    def as_dict(self) -> dict[str, object]:
        """The fields by name, as they stand in journals."""
        return asdict(self)


class Reinforce:
    """A ``Searcher``: independent distributions of the choices' values, in place of MnasNet's recurrent controller.

    The reward is exp(-loss), the geometric mean of what right tokens are given, times the first cost to
    the power of the exponent. What breaks a limit is not evaluated (Jiang et al., survey section VI-B1) and counts
    as the worst proposal of its batch; what was proposed before keeps its reward and is not evaluated again.
    Where the policy proposes nothing new any more, random candidates take its place.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits | None = None,
        settings: ReinforceSettings | None = None,
        *,
        seed: int = 0,
        probes: Sequence[Candidate] = (),
        exclude: Collection[Candidate] = (),
        costs: Costs | None = None,
    ) -> None:
        """``probes`` and ``exclude`` as for evolution; ``costs`` are needed for an exponent."""
        self.settings = settings or ReinforceSettings()
        if self.settings.exponent and costs is None:
            raise SearchError(f"reinforce: an exponent of {self.settings.exponent} needs a latency to be raised")
        self._space, self._costs = space, costs
        self._rng = random.Random(f"{seed}/reinforce")
        self._sampler = FeasibleSampler(space, limits, self._rng, probes=probes, exclude=exclude)
        self._excluded = frozenset(exclude)
        self._policy = _Policy(space, self.settings)
        self._rewards: dict[Candidate, float] = {}
        self._free: list[Candidate] = []
        self._baseline: float | None = None
        self._left = self.settings.evaluations

    def ask(self) -> tuple[Candidate, ...]:
        """A batch of new candidates; empty when done or exhausted."""
        wanted = min(self.settings.batch, self._left)
        self._free = []
        asked: list[Candidate] = []
        for _ in range(20 * wanted):
            if len(asked) == wanted:
                break
            drawn = self._space.decode(self._policy.draw(self._rng))
            if new := self._sampler.take([drawn]):
                asked += new
            elif len(self._free) < wanted and drawn not in self._excluded and drawn not in asked:
                self._free.append(drawn)
        return tuple(asked + self._sampler.fresh(wanted - len(asked)))

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """One step of the policy along the advantage of each proposal's reward over the running baseline."""
        self._left -= len(evaluations)
        proposed = [evaluation.candidate for evaluation in evaluations]
        factors = np.ones(len(proposed))
        if self._costs is not None and self.settings.exponent:
            factors = self._costs(self._space.encode_many(proposed))[:, 0] ** self.settings.exponent
        for evaluation, factor in zip(evaluations, factors, strict=True):
            self._rewards[evaluation.candidate] = math.exp(-evaluation.loss) * float(factor)
        every = proposed + self._free
        rewards = np.array([self._rewards.get(candidate, math.nan) for candidate in every])
        mean, spread = float(np.nanmean(rewards)), float(np.nanstd(rewards))
        if self._baseline is None:
            self._baseline = mean
        advantages = (rewards - self._baseline) / (spread or 1.0)
        self._baseline += (1 - self.settings.memory) * (mean - self._baseline)
        self._policy.step(every, np.where(np.isnan(rewards), np.nanmin(advantages), advantages))


class _Policy:
    """Logits of every choice's values, and Adam's moments of them."""

    def __init__(self, space: SearchSpace, settings: ReinforceSettings) -> None:
        self._space, self._settings = space, settings
        self._logits = [np.zeros(len(choice.values)) for choice in space.choices]
        self._first = [np.zeros_like(logits) for logits in self._logits]
        self._second = [np.zeros_like(logits) for logits in self._logits]
        self._steps = 0

    def draw(self, rng: random.Random) -> list[int]:
        return [rng.choices(range(len(logits)), _softmax(logits).tolist())[0] for logits in self._logits]

    def step(self, candidates: Sequence[Candidate], advantages: Array) -> None:
        genes = self._space.encode_many(candidates)
        self._steps += 1
        for place, (choice, logits) in enumerate(zip(self._space.choices, self._logits, strict=True)):
            p = _softmax(logits)
            active = np.array([choice.name in candidate for candidate in candidates])
            chosen = (genes[:, place, None] == np.arange(len(p))) - p  # gradient of the log probability
            gradient = (advantages[:, None] * chosen)[active].sum(axis=0) / len(candidates)
            log_p = np.log(np.maximum(p, 1e-300))
            gradient -= self._settings.entropy * p * (log_p - (p * log_p).sum())
            first, second = self._first[place], self._second[place]
            first += (1 - _BETA_1) * (gradient - first)
            second += (1 - _BETA_2) * (gradient**2 - second)
            mean = first / (1 - _BETA_1**self._steps)
            spread = np.sqrt(second / (1 - _BETA_2**self._steps))
            self._logits[place] = logits + self._settings.learning_rate * mean / (spread + _EPSILON)


def _softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max())
    probabilities: Array = raised / raised.sum()
    return probabilities
