"""Searchers beside the true constrained optimum, and the true front, of the stand-in space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from statistics import median

import numpy as np

from hwnas.search.evolution import Evolution
from hwnas.search.honesty import Box, Regrets, evaluations_to
from hwnas.search.methods import searcher_of, settings_of
from hwnas.search.nsga2 import Objectives
from hwnas.search.protocol import Evaluation, Searcher
from hwnas.search.random_search import RandomSearch
from hwnas.space import Candidate, Genes
from tests.search.stand_in import SPACE, LatencyLimit, best_within, latency_of, losses, truth

METHODS = ("random", "evolution", "regularised", "local", "reinforce", "nsga2", "linas", "bayes")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far above the true optimum (nats; 0 is found) each search of one seed ended."""

    seed: int
    evaluations: int
    evolution_gap: float
    random_gap: float
    shared: int


def exhaust(searcher: Searcher) -> dict[Candidate, float]:
    """Everything a searcher proposes until it is done, with the losses it was told."""
    known, seen = losses(), {}
    while candidates := searcher.ask():
        searcher.tell([Evaluation(candidate, known[candidate]) for candidate in candidates])
        assert not seen.keys() & set(candidates)
        seen |= {candidate: known[candidate] for candidate in candidates}
    return seen


def compare(limits: LatencyLimit, seeds: Iterable[int]) -> Iterator[Outcome]:
    """Both searches with HAT's settings and equal budgets; both draw from the whole feasible space."""
    _, best = best_within(limits)
    for seed in seeds:
        evolved = exhaust(Evolution(SPACE, limits, seed=seed))
        drawn = exhaust(RandomSearch(SPACE, limits, evaluations=len(evolved), seed=seed))
        shared = len(evolved.keys() & drawn.keys())
        yield Outcome(seed, len(evolved), min(evolved.values()) - best, min(drawn.values()) - best, shared)


def table(limits: LatencyLimit, outcomes: list[Outcome]) -> str:
    """A few lines for people."""
    rows = [f"{limits.describe()}, {outcomes[0].evaluations} evaluations, {len(outcomes)} seeds"]
    for name, gaps in (
        ("evolution", [o.evolution_gap for o in outcomes]),
        ("random", [o.random_gap for o in outcomes]),
    ):
        found = sum(gap <= 0 for gap in gaps)
        mean, worst = 1000 * sum(gaps) / len(gaps), 1000 * max(gaps)
        rows.append(
            f"  {name:<10} found the optimum {found:>3} times; gap in millinats: mean {mean:6.2f}, worst {worst:6.2f}"
        )
    return "\n".join(rows)


@dataclass(frozen=True, slots=True)
class Found:
    """How near searches of some seeds came to the optimum under the limit that ``share`` of the space meets."""

    method: str
    share: float
    regrets: Regrets
    note: str = ""

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"found": self.regrets.found, "median": self.regrets.median}


class Latency:
    """The stand-in's latency as a cost."""

    names = ("latency_ms",)

    def __call__(self, genes: Genes) -> Objectives:
        return latency_of(genes)[:, None]


def regrets(method: str, limits: LatencyLimit, share: float, seeds: Iterable[int], evaluations: int) -> Found:
    """Of a method with its own settings and so many evaluations, the loss being the one objective."""
    _, best = best_within(limits)
    settings = settings_of(method, {}, evaluations)
    gaps = []
    for seed in seeds:
        found = exhaust(searcher_of(method, SPACE, limits, settings, seed=seed))
        assert len(found) == evaluations
        gaps.append(min(found.values()) - best)
    return Found(method, share, Regrets(tuple(gaps)))


@dataclass(frozen=True, slots=True)
class Front:
    """Median share of the true front's hypervolume, and median evaluations to NSGA-II's by those who ``reached`` it."""

    method: str
    share: float
    evaluations: float | None
    reached: float


@cache
def whole() -> tuple[Box, float]:
    """The box of all candidates, and what the true front has of it."""
    every = np.column_stack(truth()[2:])
    box = Box.of(every)
    return box, box.share(every)


def front_of(method: str, seed: int, evaluations: int) -> Objectives:
    """Loss and latency of what a method evaluates, in order, without a limit; it is told of both if it can be."""
    costs = Latency() if method in ("nsga2", "linas") else None
    settings = settings_of(method, {}, evaluations)
    found = exhaust(searcher_of(method, SPACE, None, settings, seed=seed, costs=costs))
    return np.column_stack([list(found.values()), latency_of(SPACE.encode_many(found))])


def fronts(
    seeds: Iterable[int], evaluations: int, methods: Iterable[str] = ("random", "nsga2", "linas")
) -> list[Front]:
    """The methods' fronts at equal cost, and what they need for the median hypervolume of NSGA-II."""
    box, true = whole()
    found = {method: [front_of(method, seed, evaluations) for seed in seeds] for method in {"nsga2", *methods}}
    aim = median(box.share(figures) for figures in found["nsga2"])
    compared = []
    for method in methods:
        needed = [evaluations_to(figures, box, aim) for figures in found[method]]
        some = [number for number in needed if number is not None]
        compared.append(
            Front(
                method,
                share=median(box.share(figures) for figures in found[method]) / true,
                evaluations=median(some) if some else None,
                reached=len(some) / len(needed),
            )
        )
    return compared
