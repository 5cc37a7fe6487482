"""A search by gradients: learn the architecture, repair it to meet the limits, evaluate what is most probable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hwnas.data.task import Pair, Task
from hwnas.device_limits import DeviceLimits
from hwnas.errors import InfeasibleError, SearchError
from hwnas.expected import ExpectedLatency
from hwnas.families.base import Family
from hwnas.files import write_json
from hwnas.gradient.architecture import Architecture
from hwnas.gradient.descent import Descent
from hwnas.gradient.repair import most_probable
from hwnas.gradient.settings import GradientSettings
from hwnas.gradient.steps import Aim, Lessons, Steps
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits
from hwnas.losses.proxyless import ProxylessAdd, ProxylessMul
from hwnas.profiling import Progress, quietly
from hwnas.search.protocol import Evaluation, Evaluator
from hwnas.search.run import SearchResult, run_search
from hwnas.space import Candidate

if TYPE_CHECKING:
    from hwnas.supernet import SuperTransformer

CHECKPOINT, SUMMARY = "gradient.pt", "gradient.json"
"""Beside the journal: what a resumed search goes on from, and what the architecture was before it was repaired."""

NEAR = 0.98
"""Share of the limit from which on a candidate is at the limit."""
_AIM = 0.99
"""Share of the limit that is aimed at: in the middle of what is at the limit."""
_STEPS_DOWN = 60
_TIE = 1e-6
"""What an option costs that scores as well as what leads, in shares of the largest cost: fewer changes come first."""


def find_by_gradient(
    family: Family,
    supernet: SuperTransformer,
    task: Task,
    limits: DeviceLimits,
    settings: GradientSettings,
    *,
    evaluate: Evaluator,
    seed: int,
    journal: Path,
    header: Mapping[str, object],
    pairs: Sequence[Pair] | None = None,
    exclude: Sequence[Candidate] = (),
    progress: Progress = quietly,
) -> SearchResult:
    """Search the space of ``supernet`` and journal what was evaluated; called again, it goes on where it was.

    The architecture learns from ``pairs``, which should be those that ``evaluate`` scores on and that the weights
    have not seen: whatever trained the SuperTransformer has made its training data flatter wide layers. Without
    them, weights and architecture learn from a half each of the training data. The latency limit of the first
    device is what the search ends at; the other limits hold for what is evaluated. Raises
    :class:`InfeasibleError` if no candidate meets the limits, :class:`SearchError` for a family or latencies that
    gradients cannot be had of, for a loss that is no number, and as :func:`hwnas.search.run.run_search`.
    """
    space, first = supernet.space, limits.first
    limits.check()
    if not isinstance(first.latency, TableLatency):
        raise SearchError("a search by gradients needs a table: the expectation follows from its operators")
    expected = ExpectedLatency(first.latency)
    steps = Steps(
        family,
        supernet,
        _lessons(task, pairs),
        expected,
        _aim(first, settings),
        settings,
        seed=seed,
    )
    total = settings.steps + settings.runners
    identity = {"what": "search by gradients", **{name: str(value) for name, value in header.items()}}
    journal.parent.mkdir(parents=True, exist_ok=True)
    steps.run(journal.with_name(CHECKPOINT), identity, lambda done, told: progress(done, total, told))
    write_json(journal.with_name(SUMMARY), summary(steps.architecture, steps.descent, steps.losses))
    runners = repaired(steps.descent, limits, settings.runners, set(exclude))
    return run_search(
        _Listed(runners),
        evaluate,
        space,
        journal,
        header=header,
        progress=lambda p: progress(settings.steps + p.evaluations, total, f"best loss {p.best_loss:.4f}"),
    )


def repaired(descent: Descent, limits: DeviceLimits, count: int, exclude: set[Candidate]) -> tuple[Candidate, ...]:
    """Up to ``count`` candidates that meet the limits, those at the latency limit first, by falling probability.

    Where none of the most probable meets them, the target is lowered until one does.
    """
    space, first = descent.architecture.space, limits.first
    target_ms = float(descent.expected_ms())
    for _ in range(_STEPS_DOWN):
        genes = most_probable(space, _costs(descent, target_ms))
        genes = genes[limits.allows(genes)]
        if len(genes):
            if first.latency_ms is not None:
                genes = genes[np.argsort(first.bound_ms(genes) < NEAR * first.latency_ms, kind="stable")]
            found = [
                candidate for gene in genes[: count + len(exclude)] if (candidate := space.decode(gene)) not in exclude
            ]
            if found:
                return tuple(found[:count])
        target_ms *= 0.95
    probes = [probe for probe in limits.probes() if probe not in exclude]
    found = [probe for probe, ok in zip(probes, limits.allows(space.encode_many(probes)), strict=True) if ok]
    if not found:
        raise InfeasibleError(
            f"a search by gradients found no candidate of space {space.name!r} that meets {limits.describe()}:"
            " relax a limit, or search by another method"
        )
    return tuple(found)


def summary(architecture: Architecture, descent: Descent, losses: Sequence[float]) -> dict[str, object]:
    """The architecture as it was learnt, JSON-able."""
    top = architecture.by_name(architecture.probabilities())
    return {
        "candidate": architecture.candidate().as_dict(),
        "expected": float(descent.expected_ms()),
        "price": descent.price,
        "top_probability": {name: float(row.max()) for name, row in top.items()},
        "effects": {name: [float(e) for e in row] for name, row in architecture.by_name(descent.effects()).items()},
        "losses": list(losses),
    }


def _costs(descent: Descent, target_ms: float) -> npt.NDArray[np.float64]:
    """What each option takes off the logarithm of the probability, but for a factor; nothing does what leads.

    At the target that was searched for what was decided leads, and what was decided against costs, even if it
    scores better: it did not fit with the rest.
    """
    architecture = descent.architecture
    if target_ms == float(descent.expected_ms()):
        scores = descent.effects() + descent.price * descent.slopes()
        leads = architecture.probabilities().argmax(dim=1, keepdim=True)
    else:
        scores = descent.priced(target_ms)
        leads = scores.masked_fill(~architecture.real, np.inf).argmin(dim=1, keepdim=True)
    costs = (scores - scores.gather(1, leads)).abs()
    found: npt.NDArray[np.float64] = costs.clamp(min=_TIE * float(costs.max())).scatter(1, leads, 0.0).numpy()
    return found


def _lessons(task: Task, pairs: Sequence[Pair] | None) -> Lessons:
    train = task.pairs["train"]
    return Lessons(train[0::2], train[1::2]) if pairs is None else Lessons(train, pairs)


def _aim(limits: CandidateLimits, settings: GradientSettings) -> Aim:
    latency, limit_ms = limits.latency, limits.latency_ms
    assert isinstance(latency, TableLatency)
    if limit_ms is None:
        return Aim()
    if settings.latency == "mul":
        return Aim(loss=ProxylessMul(limit_ms))
    if settings.latency == "add":
        return Aim(loss=ProxylessAdd(limit_ms))
    slowest = latency.slowest()
    if slowest is not None and bool(limits.allows(limits.space.encode_many([slowest[1]]))[0]):
        return Aim()  # every candidate is fast enough

    def target_ms(architecture: Architecture) -> float:
        """What expectations must be so that the bound that the limit is held against meets it."""
        if limits.confidence is None:
            return _AIM * limit_ms
        gene = limits.space.encode_many([architecture.candidate()])
        return _AIM * limit_ms * float(latency.latency_ms(gene)[0] / limits.bound_ms(gene)[0])

    return Aim(target_ms=target_ms)


class _Listed:
    """A searcher that proposes what it was given, once."""

    def __init__(self, candidates: tuple[Candidate, ...]) -> None:
        self._candidates = candidates

    def ask(self) -> tuple[Candidate, ...]:
        candidates, self._candidates = self._candidates, ()
        return candidates

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Nothing is learnt from them."""
