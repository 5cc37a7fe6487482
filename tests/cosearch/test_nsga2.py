"""NSGA-II against a truth that is known for every candidate, and the front against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.indicators.hv import HV

from hwnas.errors import SearchError
from hwnas.search.nsga2 import Nsga2, Nsga2Settings, Objectives, pareto_front
from hwnas.search.random_search import RandomSearch
from hwnas.space import Candidate, Choice, SearchSpace
from hwnas.workload import Workload
from tests.contracts.searcher import SPACE as SMALL
from tests.contracts.searcher import WidthLimit
from tests.search.stand_in import SPACE, latency_of, losses, truth


def objectives(candidates: tuple[Candidate, ...]) -> Objectives:
    """Loss, latency, and a third that grows where the decoder's sublayers do."""
    genes = SPACE.encode_many(candidates)
    width = genes[:, SPACE.index["decoder_embed"]] + 0.3 * genes[:, SPACE.index["encoder_embed"]]
    return np.column_stack([[losses()[c] for c in candidates], latency_of(genes), np.exp(width)])


def run(searcher: Nsga2) -> tuple[list[Candidate], Objectives]:
    proposed: list[Candidate] = []
    found = []
    while asked := searcher.ask():
        proposed += asked
        found.append(objectives(asked))
        searcher.tell(asked, found[-1])
    return proposed, np.concatenate(found)


def volume(figures: Objectives) -> float:
    """Share of the box of all candidates' objectives that ``figures`` dominate."""
    every = objectives(truth()[0])
    low, high = every.min(axis=0), every.max(axis=0)
    return float(HV(ref_point=np.ones(3))((figures - low) / (high - low)))


SETTINGS = Nsga2Settings(population=60, generations=15)


def test_it_finds_nearly_all_of_the_true_front_and_more_than_random_search() -> None:
    whole = volume(objectives(truth()[0]))
    ours, random = [], []
    for seed in range(2):
        proposed, found = run(Nsga2(SPACE, settings=SETTINGS, seed=seed))
        assert len(proposed) == SETTINGS.evaluations == 960
        ours.append(volume(found) / whole)
        searcher = RandomSearch(SPACE, evaluations=len(proposed), seed=seed, batch=len(proposed))
        random.append(volume(objectives(searcher.ask())) / whole)
    assert min(ours) > 0.95
    assert min(ours) > max(random)


def test_the_same_seed_proposes_the_same_and_another_does_not() -> None:
    small = Nsga2Settings(population=20, generations=3)
    first, again, other = (run(Nsga2(SPACE, settings=small, seed=seed))[0] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(set(first)) == len(first) == 80


def test_it_ends_when_all_that_is_feasible_is_exhausted() -> None:
    searcher = Nsga2(SMALL, WidthLimit(2), Nsga2Settings(population=10, generations=40))
    proposed: list[Candidate] = []
    for _ in range(42):
        asked = searcher.ask()
        proposed += asked
        if not asked:
            break
        genes = SMALL.encode_many(asked)
        searcher.tell(asked, np.column_stack([genes.sum(axis=1), -genes[:, 1]]).astype(float))
    feasible = {c for c in SMALL if WidthLimit(2).allows(SMALL.encode_many([c]))[0]}
    assert set(proposed) == feasible
    assert len(proposed) == len(feasible)


def test_a_search_of_one_candidate() -> None:
    space = SearchSpace("one", "none", (Choice("only", (7,)),), {}, Workload())
    searcher = Nsga2(space, settings=Nsga2Settings(population=4, generations=2))
    assert [c.as_dict() for c in searcher.ask()] == [{"only": 7}]
    searcher.tell([space.extreme(0)], np.array([[1.0, 2.0]]))
    assert searcher.ask() == ()


@pytest.mark.parametrize(
    "wrong", [{"population": 1}, {"generations": -1}, {"mutation_probability": 0.0}, {"mutation_probability": 1.1}]
)
def test_impossible_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(SearchError, match="nsga2: "):
        Nsga2Settings(**wrong)  # type: ignore[arg-type]


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=30))
def test_the_front_is_what_nothing_betters(points: list[tuple[int, int, int]]) -> None:
    figures = np.array(points, dtype=float).reshape(-1, 3)
    expected = [
        row
        for row, here in enumerate(points)
        if here not in points[:row]
        and not any(all(a <= b for a, b in zip(o, here, strict=True)) and o != here for o in points)
    ]
    assert pareto_front(figures) == expected
