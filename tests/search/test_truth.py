from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.families.base import Mixture
from hwnas.search.evolution import EvolutionSettings
from tests.search.relaxation import METHODS, Family, relaxed
from tests.search.relaxation import table as table_latency
from tests.search.stand_in import SPACE, limit_at, loss_factors, losses, truth, variance_shares
from tests.search.truth import Outcome, compare, fronts, regrets, table


def test_the_stand_in_is_hard_enough_to_mean_something() -> None:
    assert SPACE.size() == len(losses()) == 41_796
    assert len(set(truth()[2].tolist())) == SPACE.size()  # one optimum, no ties
    for depth in (None, 3):
        singles, pairs = variance_shares(depth)
        assert pairs >= 0.30
        assert 0 < singles < 1 - pairs + 1e-9


def test_widths_saturate() -> None:
    """Of each choice alone, the second step gains less than the first; the largest is seldom worth it."""
    singles = {f.choices[0]: f.table for f in loss_factors() if len(f.choices) == 1}
    for position, gains in singles.items():
        if len(SPACE.choices[position].values) == 3:
            first, second = -np.diff(gains)
            assert 0 < second < first / 2


def test_the_optimum_is_not_found_choice_by_choice() -> None:
    """Taking of every choice the value that is best on average misses it, with and without a limit."""
    candidates, genes, loss, _ = truth()
    for limits in (None, limit_at(0.5)):
        allowed = np.ones(len(loss), dtype=bool) if limits is None else limits.allows(genes)
        greedy = [
            int(np.argmin([loss[allowed & (genes[:, p] == i)].mean() for i in range(len(choice.values))]))
            for p, choice in enumerate(SPACE.choices)
        ]
        best = candidates[int(np.argmin(np.where(allowed, loss, np.inf)))]
        assert SPACE.decode(greedy) != best


def check(outcomes: list[Outcome], needed: int) -> None:
    assert sum(outcome.evolution_gap <= 0 for outcome in outcomes) >= needed
    assert all(outcome.evaluations == EvolutionSettings().evaluations for outcome in outcomes)
    evolution = sum(outcome.evolution_gap for outcome in outcomes)
    assert evolution < sum(outcome.random_gap for outcome in outcomes)


def test_evolution_finds_the_constrained_optimum_for_a_few_seeds() -> None:
    check(list(compare(limit_at(0.5), range(3))), needed=3)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_evolution_finds_the_constrained_optimum_for_95_of_100_seeds(
    share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = limit_at(share)
    outcomes = list(compare(limits, range(100)))
    with capsys.disabled():
        print("\n" + table(limits, outcomes))
    check(outcomes, needed=95)


def test_different_streams(share: float = 0.5) -> None:
    """Evolution and random search of one seed share no more candidates than chance gives."""
    limits = limit_at(share)
    (outcome,) = compare(limits, [7])
    expected = outcome.evaluations**2 / (share * SPACE.size())
    assert outcome.shared < 1.3 * expected


def test_pairs_of_choices_all_interact() -> None:
    scopes = {factor.choices for factor in loss_factors()}
    depth = SPACE.index["decoder_layers"]
    for i, j in combinations(range(len(SPACE.choices)), 2):
        assert {(i, j), tuple(sorted({i, j, depth}))} & scopes


@pytest.mark.parametrize("method", ["evolution", "regularised", "nsga2", "local", "reinforce"])
def test_every_cheap_method_comes_nearer_than_random_search(method: str) -> None:
    """Three seeds of 500 evaluations; the benchmark (benchmarks/search_truth.py) has fifty."""
    limits = limit_at(0.2)
    found, drawn = (regrets(name, limits, 0.2, range(3), 500).regrets for name in (method, "random"))
    assert found.median < drawn.median


@pytest.mark.parametrize("method", ["linas", "bayes"])
def test_a_model_of_the_loss_finds_the_optimum_in_fewer_evaluations(method: str) -> None:
    limits = limit_at(0.2)
    assert regrets(method, limits, 0.2, range(1), 250).regrets.found == 1
    assert regrets("random", limits, 0.2, range(1), 500).regrets.found == 0


def test_linas_needs_at_most_60_percent_of_the_evaluations_of_nsga2() -> None:
    _, _, linas = fronts(range(2), 400)
    assert linas.evaluations is not None
    assert linas.evaluations <= 0.6 * 400


@pytest.mark.parametrize("method", METHODS)
def test_gradients_come_nearer_than_random_search_at_equal_cost(method: str) -> None:
    """With the loss expected exactly in the place of a SuperTransformer's: see tests/search/relaxation.py."""
    limits = limit_at(0.2)
    found = relaxed(method, limits, 0.2, range(1), 300, steps=150).regrets
    assert found.median < regrets("random", limits, 0.2, range(3), 300).regrets.median


def test_the_relaxation_is_the_stand_in() -> None:
    """Its table gives the stand-in's latency, and its expectation of one-hot choices the stand-in's loss."""
    candidates, genes, loss, latency_ms = truth()
    assert table_latency().latency_ms(genes) == pytest.approx(latency_ms, rel=1e-12)
    for row in range(0, len(candidates), 9973):
        mixtures = {
            choice.name: Mixture((choice.values[genes[row, place]],), torch.ones(1))
            for place, choice in enumerate(SPACE.choices)
        }
        expected, tokens = Family().loss(Family().soft(nn.Identity(), mixtures), None, 0.0)
        assert float(expected) / tokens == pytest.approx(loss[row], rel=1e-9)
