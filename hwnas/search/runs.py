"""Searches of a space by any method, repeated and beside each other: the same limits and losses, journals apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.device_limits import DeviceLimits
from hwnas.families.base import Family
from hwnas.limits import CandidateLimits
from hwnas.profiling import Progress
from hwnas.search.identity import excluded
from hwnas.search.methods import Settings, cost_of, method_named, require_costs, searcher_of
from hwnas.search.protocol import Costs, Evaluator, Limits
from hwnas.search.random_search import RandomSettings
from hwnas.search.request import SearchRequest
from hwnas.search.run import SearchResult, run_search, search_header
from hwnas.space import Candidate, SearchSpace

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    from hwnas.data.task import Pair, Task
    from hwnas.supernet import SuperTransformer

JOURNAL = "search.journal.jsonl"
"""In a search's folder: every candidate it evaluated."""
BASELINE = "baseline"
"""The folder in it of random search at equal cost."""


def search_space(
    space: SearchSpace,
    evaluate: Evaluator,
    limits: CandidateLimits | DeviceLimits,
    *,
    method: str,
    settings: Settings,
    seed: int,
    evaluator: str,
    latency: str,
    journal: Path,
    progress: Progress,
    exclude: Sequence[Candidate] = (),
    costs: Costs | None = None,
) -> SearchResult:
    """Run one method that proposes and is told; ``random`` spends as many evaluations as any ``settings`` say.

    ``evaluator`` and ``latency`` say in the journal what the losses and latencies are from, so
    that others are never mixed in. The same call after an interruption repeats no evaluation. Raises
    :class:`hwnas.errors.InfeasibleError` before anything is evaluated if no candidate can meet
    the limits.
    """
    limits.check()
    searcher = searcher_of(
        method, space, limits, settings, seed=seed, probes=limits.probes(), exclude=exclude, costs=costs
    )
    header = _header(space, limits, method, settings, seed, evaluator, latency, exclude, costs)
    return run_search(
        searcher,
        evaluate,
        space,
        journal,
        header=header,
        progress=lambda p: progress(p.evaluations, settings.evaluations, f"best loss {p.best_loss:.4f}"),
    )


@dataclass(frozen=True, slots=True)
class Runs:
    """What searches of one request share; ``evaluate`` is asked only for candidates not yet ``known``.

    ``evaluator`` and ``latency`` as :func:`search_space` has them. ``family``, ``supernet``, ``task`` and
    ``pairs`` (those it scores on) are what gradients are taken of.
    """

    space: SearchSpace
    family: Family
    supernet: SuperTransformer
    task: Task
    pairs: Sequence[Pair]
    limits: DeviceLimits
    evaluate: Evaluator
    evaluator: str
    latency: str
    progress: Progress
    exclude: Sequence[Candidate] = ()
    known: dict[Candidate, float] = field(default_factory=dict)

    def repeated(
        self, request: SearchRequest, out: Path, costs: Costs | None
    ) -> tuple[dict[int, SearchResult], dict[int, SearchResult]]:
        """The searches asked for, by their seeds, and random search of equal cost beside each, if that is.

        The first seed's are in ``out`` itself and in :data:`BASELINE` there, the others' in folders of these.
        """
        results: dict[int, SearchResult] = {}
        rivals: dict[int, SearchResult] = {}
        for seed in range(request.seed, request.seed + request.seeds):
            apart = "" if seed == request.seed else f"seed-{seed}"
            results[seed] = self.one(request.method, request.settings, seed, out / apart, costs)
            if request.baseline:
                budget = RandomSettings(self.cost(request, results[seed]))
                rivals[seed] = self.one("random", budget, seed, out / BASELINE / apart, None)
        return results, rivals

    def cost(self, request: SearchRequest, result: SearchResult) -> int:
        """What a search cost in evaluations: those there were, and what its gradients are worth by forward passes."""
        return cost_of(request.settings, len(result.evaluations), len(self.pairs))

    def one(self, method: str, settings: Settings, seed: int, folder: Path, costs: Costs | None) -> SearchResult:
        """One search, its journal in ``folder``."""
        if method_named(method).searcher is None:
            result = self._by_gradient(method, settings, seed, folder, costs)
        else:
            result = search_space(
                self.space,
                self._remembered,
                self.limits,
                method=method,
                settings=settings,
                seed=seed,
                evaluator=self.evaluator,
                latency=self.latency,
                journal=folder / JOURNAL,
                progress=self.progress,
                exclude=self.exclude,
                costs=costs,
            )
        self.known.update((evaluation.candidate, evaluation.loss) for evaluation in result.evaluations)
        return result

    def _by_gradient(
        self, method: str, settings: Settings, seed: int, folder: Path, costs: Costs | None
    ) -> SearchResult:
        from hwnas.gradient.search import find_by_gradient
        from hwnas.gradient.settings import GradientSettings

        assert isinstance(settings, GradientSettings)
        require_costs(method, costs)
        header = _header(
            self.space, self.limits, method, settings, seed, self.evaluator, self.latency, self.exclude, costs
        )
        return find_by_gradient(
            self.family,
            self.supernet,
            self.task,
            self.limits,
            settings,
            evaluate=self._remembered,
            seed=seed,
            journal=folder / JOURNAL,
            header=header,
            pairs=self.pairs,
            exclude=self.exclude,
            progress=self.progress,
        )

    def _remembered(self, candidates: Sequence[Candidate], /) -> Iterator[float]:
        unknown = [candidate for candidate in candidates if candidate not in self.known]
        found = self.evaluate(unknown) if unknown else iter(())
        for candidate in candidates:
            if candidate not in self.known:
                self.known[candidate] = next(found)
            yield self.known[candidate]


def _header(
    space: SearchSpace,
    limits: Limits,
    method: str,
    settings: Settings,
    seed: int,
    evaluator: str,
    latency: str,
    exclude: Sequence[Candidate],
    costs: Costs | None,
) -> dict[str, object]:
    objectives = {} if costs is None else {"objectives": list(costs.names)}
    return search_header(
        space,
        searcher=method,
        settings={**settings.as_dict(), **objectives, **excluded(exclude)},
        seed=seed,
        limits=limits.describe(),
        evaluator=evaluator,
        latency=latency,
    )
