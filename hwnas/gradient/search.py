"""A search by gradients: learn the architecture, repair it to meet the limits, evaluate what is most probable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.best_runtime import BestRuntimeLatency
from hwnas.data.task import Pair, Task
from hwnas.device_limits import DeviceLimits
from hwnas.errors import SearchError
from hwnas.expected import ExpectedLatency, LeastExpectedLatency
from hwnas.families.base import Family
from hwnas.files import write_json
from hwnas.gradient.architecture import Architecture
from hwnas.gradient.descent import Descent
from hwnas.gradient.repair import Runners
from hwnas.gradient.settings import GradientSettings
from hwnas.gradient.steps import Aim, Lessons, Steps
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits
from hwnas.losses.proxyless import ProxylessAdd, ProxylessMul
from hwnas.profiling import Progress, quietly
from hwnas.search.protocol import Evaluator
from hwnas.search.run import SearchResult, run_search
from hwnas.space import Candidate

if TYPE_CHECKING:
    from hwnas.supernet import SuperTransformer

CHECKPOINT, SUMMARY = "gradient.pt", "gradient.json"
"""Beside the journal: what a resumed search goes on from, and what the architecture was before it was repaired."""

_AIM = 0.99
"""Share of the limit that is aimed at: in the middle of what is at the limit."""


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
    if isinstance(first.latency, BestRuntimeLatency):
        expected: ExpectedLatency | LeastExpectedLatency = LeastExpectedLatency(first.latency)
    elif isinstance(first.latency, TableLatency):
        expected = ExpectedLatency(first.latency)
    else:
        raise SearchError("a search by gradients needs a table: the expectation follows from its operators")
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
    return run_search(
        Runners(steps.descent, limits, settings.runners, exclude),
        evaluate,
        space,
        journal,
        header=header,
        progress=lambda p: progress(settings.steps + p.evaluations, total, f"best loss {p.best_loss:.4f}"),
    )


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


def _lessons(task: Task, pairs: Sequence[Pair] | None) -> Lessons:
    train = task.pairs["train"]
    return Lessons(train[0::2], train[1::2]) if pairs is None else Lessons(train, pairs)


def _aim(limits: CandidateLimits, settings: GradientSettings) -> Aim:
    latency, limit_ms = limits.latency, limits.latency_ms
    assert isinstance(latency, TableLatency | BestRuntimeLatency)
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
