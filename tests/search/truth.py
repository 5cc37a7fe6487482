"""Evolution and random search beside the true constrained optimum of the stand-in space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hwnas.search.evolution import Evolution
from hwnas.search.protocol import Evaluation, Searcher
from hwnas.search.random_search import RandomSearch
from hwnas.space import Candidate
from tests.search.stand_in import SPACE, LatencyLimit, best_within, losses


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
