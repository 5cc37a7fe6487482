from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from hwnas.search.evolution import EvolutionSettings
from tests.search.stand_in import SPACE, limit_at, loss_factors, losses, truth, variance_shares
from tests.search.truth import Outcome, compare, table


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
