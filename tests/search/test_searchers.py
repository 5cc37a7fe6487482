from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Collection

import numpy as np
import pytest

from hwnas.errors import InfeasibleError, SearchError
from hwnas.search.evolution import Evolution, EvolutionSettings
from hwnas.search.protocol import Evaluation, Limits, Searcher
from hwnas.search.random_search import RandomSearch
from hwnas.search.sampling import FeasibleSampler
from hwnas.space import Candidate, Choice, Genes, SearchSpace
from hwnas.spaces import load_space
from hwnas.workload import Workload
from tests.contracts.searcher import SPACE, Make, SearcherContract, WidthLimit, loss_of, run


def evolution_of(evaluations: int) -> EvolutionSettings:
    """Twenty at first, then ten children an iteration."""
    return EvolutionSettings(20, 5, 5, 5, max(1, (evaluations - 20) // 10), 0.3)


class TestEvolutionIsASearcher(SearcherContract):
    @pytest.fixture
    def make(self) -> Make:
        def make(
            space: SearchSpace,
            limits: Limits | None,
            *,
            seed: int = 0,
            evaluations: int = 60,
            exclude: Collection[Candidate] = (),
        ) -> Searcher:
            return Evolution(space, limits, evolution_of(evaluations), seed=seed, exclude=exclude)

        return make


class TestRandomSearchIsASearcher(SearcherContract):
    @pytest.fixture
    def make(self) -> Make:
        def make(
            space: SearchSpace,
            limits: Limits | None,
            *,
            seed: int = 0,
            evaluations: int = 60,
            exclude: Collection[Candidate] = (),
        ) -> Searcher:
            return RandomSearch(space, limits, evaluations=evaluations, seed=seed, batch=7, exclude=exclude)

        return make


def test_hat_settings_are_the_default() -> None:
    settings = EvolutionSettings()
    assert settings.as_dict() == {
        "population": 125,
        "parents": 25,
        "mutants": 50,
        "crossovers": 50,
        "iterations": 30,
        "mutation_probability": 0.3,
    }
    assert settings.evaluations == 3125
    assert settings.evaluations <= 125 * 30  # what HAT spends


@pytest.mark.parametrize(
    "wrong",
    [{"population": 0}, {"parents": 0}, {"mutants": -1}, {"mutants": 0, "crossovers": 0}, {"iterations": 0},
     {"mutation_probability": 0.0}, {"mutation_probability": 1.5}],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SearchError, match=r"evolution: "):
        EvolutionSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(SearchError):
        RandomSearch(SPACE, evaluations=0)


def test_the_children_are_as_many_as_asked_and_the_last_are_evaluated() -> None:
    searcher = Evolution(SPACE, None, EvolutionSettings(10, 4, 3, 2, 5, 0.3))
    sizes = []
    while candidates := searcher.ask():
        sizes.append(len(candidates))
        searcher.tell([Evaluation(candidate, loss_of(candidate)) for candidate in candidates])
    assert sizes == [10, 5, 5, 5, 5, 5]


def test_parents_are_the_best_of_everything_evaluated_ties_by_gene() -> None:
    settings = EvolutionSettings(30, 6, 4, 4, 3, 0.3)
    searcher = Evolution(SPACE, None, settings)
    seen: list[tuple[float, tuple[int, ...]]] = []
    while candidates := searcher.ask():
        evaluations = [Evaluation(c, float(round(3 * loss_of(c)))) for c in candidates]
        searcher.tell(evaluations)
        seen += [(e.loss, tuple(SPACE.encode(e.candidate).tolist())) for e in evaluations]
        assert [(p.loss, p.gene) for p in searcher._parents] == sorted(seen)[:6]


def test_children_come_from_the_parents() -> None:
    """With one parent and a mutation probability near 0, children differ from it in few choices."""
    space = load_space("hat_wmt14_ende")
    searcher = Evolution(space, None, EvolutionSettings(20, 1, 20, 20, 1, 0.02))
    first = searcher.ask()
    searcher.tell([Evaluation(c, float(i)) for i, c in enumerate(first)])
    parent = space.encode(first[0])
    differing = [(space.encode(child) != parent).sum() for child in searcher.ask()]
    assert len(differing) == 40
    assert np.median(differing) <= 4


def test_a_tiny_feasible_share_is_found_from_the_probe_and_walked_through() -> None:
    """About 5e-7 of this space is feasible: uniform draws find none, the smallest candidate is."""
    space = SearchSpace("narrow", "none", tuple(Choice(f"c{i}", tuple(range(1, 5))) for i in range(20)), {}, Workload())
    limits = WidthLimit(10)
    searcher = Evolution(space, limits, EvolutionSettings(30, 10, 10, 10, 3, 0.3))
    proposed = run(searcher, lambda c: -float(space.encode(c).sum()))
    assert len(proposed) == 90
    assert limits.allows(space.encode_many(proposed)).all()
    assert max(space.encode(c).sum() for c in proposed) == 10


def test_a_probe_is_where_it_looks_first() -> None:
    class OnlyAround:
        """Feasible: at most two choices away from one candidate that is not the smallest."""

        def __init__(self, centre: Genes) -> None:
            self.centre = centre

        def allows(self, genes: Genes) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
            return np.asarray((genes != self.centre).sum(axis=1) <= 2)

        def describe(self) -> str:
            return "two choices away"

    space = load_space("hat_wmt14_ende")
    centre = space.sample(random.Random(5))
    limits = OnlyAround(space.encode(centre))
    sampler = FeasibleSampler(space, limits, random.Random(0), probes=[centre])
    found = sampler.fresh(10)
    assert len(set(found)) == 10
    assert limits.allows(space.encode_many(found)).all()
    with pytest.raises(InfeasibleError, match=r"was found that meets two choices away .*relax a limit"):
        FeasibleSampler(space, limits, random.Random(0)).fresh(1)


def test_limits_that_nobody_meets_are_refused_not_searched_for() -> None:
    for searcher in (Evolution(SPACE, WidthLimit(-1)), RandomSearch(SPACE, WidthLimit(-1), evaluations=5)):
        with pytest.raises(InfeasibleError, match="cost <= -1"):
            searcher.ask()


def test_uniform_over_the_feasible_candidates() -> None:
    """Where all three depths hold equally many candidates, first draws are spread as the space's own."""
    counts = {1: 0, 2: 0, 3: 0}
    for seed in range(300):
        (candidate,) = RandomSearch(SPACE, WidthLimit(20), evaluations=1, seed=seed).ask()
        counts[candidate["layers"]] += 1
    assert all(70 < count < 130 for count in counts.values())


def test_the_same_proposals_in_another_process_with_another_hash_seed() -> None:
    code = (
        "from tests.contracts.searcher import *; from hwnas.search.evolution import *;"
        "from hwnas.search.random_search import *; s = EvolutionSettings(20, 5, 5, 5, 4, 0.3);"
        "a = run(Evolution(SPACE, WidthLimit(6), s, seed=3));"
        "b = run(RandomSearch(SPACE, WidthLimit(6), evaluations=40, seed=3, exclude=set(a)));"
        "print([c.entries for c in a + b])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(["."])},
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(outputs) == 1
    assert outputs.pop().count("layers") == 100
