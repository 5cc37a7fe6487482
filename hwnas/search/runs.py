"""Searches of a space by any method, repeated and beside each other: the same limits and losses, journals apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.device_limits import DeviceLimits
from hwnas.limits import CandidateLimits
from hwnas.profiling import Progress
from hwnas.search.identity import excluded
from hwnas.search.methods import Settings, searcher_of
from hwnas.search.protocol import Costs, Evaluator
from hwnas.search.run import SearchResult, run_search, search_header
from hwnas.space import Candidate, SearchSpace

if TYPE_CHECKING:
    pass

JOURNAL = "search.journal.jsonl"
"""In a search's folder: every candidate it evaluated."""


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
    header = search_header(
        space,
        searcher=method,
        settings={
            **settings.as_dict(),
            **({} if costs is None else {"objectives": list(costs.names)}),
            **excluded(exclude),
        },
        seed=seed,
        limits=limits.describe(),
        evaluator=evaluator,
        latency=latency,
    )
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
    """What searches of one request share; ``evaluate`` is asked once for each candidate, whoever proposes it.

    ``evaluator`` and ``latency`` as :func:`search_space` has them.
    """

    space: SearchSpace
    limits: DeviceLimits
    evaluate: Evaluator
    evaluator: str
    latency: str
    progress: Progress
    exclude: Sequence[Candidate] = ()
    _known: dict[Candidate, float] = field(default_factory=dict)

    def one(self, method: str, settings: Settings, seed: int, folder: Path, costs: Costs | None) -> SearchResult:
        """One search, its journal in ``folder``."""
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
        self._known.update((evaluation.candidate, evaluation.loss) for evaluation in result.evaluations)
        return result

    def _remembered(self, candidates: Sequence[Candidate]) -> Iterator[float]:
        unknown = [candidate for candidate in candidates if candidate not in self._known]
        found = self.evaluate(unknown) if unknown else iter(())
        for candidate in candidates:
            if candidate not in self._known:
                self._known[candidate] = next(found)
            yield self._known[candidate]
