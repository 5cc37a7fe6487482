"""What is told of a search's quality, against definitions and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.search.honesty import Box, Regrets, best_so_far, compare, evaluations_to

BOX = Box(np.zeros(2), np.ones(2))


def test_the_hypervolume_of_a_few_points_by_hand() -> None:
    assert BOX.share(np.array([[0.5, 0.5]])) == pytest.approx(0.25)
    assert BOX.share(np.array([[0.5, 0.5], [0.25, 0.75], [0.6, 0.6]])) == pytest.approx(0.25 + 0.25 * 0.25)
    assert BOX.share(np.array([[1.0, 0.0]])) == 0
    assert Box(np.zeros(2), np.array([2.0, 10.0])).share(np.array([[1.0, 5.0]])) == pytest.approx(0.25)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_it_is_the_share_of_cells_that_something_betters(points: list[tuple[int, int]]) -> None:
    box = Box(np.zeros(2), np.full(2, 6.0))
    cells = sum(any(a <= x and b <= y for a, b in points) for x in range(6) for y in range(6))
    assert box.share(np.array(points, dtype=float)) == pytest.approx(cells / 36)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20), st.floats(0.01, 0.9))
def test_evaluations_to_a_hypervolume_are_the_first_that_reach_it(points: list[tuple[int, int]], share: float) -> None:
    box, figures = Box(np.zeros(2), np.full(2, 6.0)), np.array(points, dtype=float)
    reached = [n for n in range(1, len(points) + 1) if box.share(figures[:n]) >= share]
    assert evaluations_to(figures, box, share) == (reached[0] if reached else None)


def test_searches_are_compared_in_one_box() -> None:
    ours = {3: np.array([[0.4, 0.5], [0.0, 1.0], [0.9, 0.9]])}
    theirs = {3: np.array([[0.5, 0.5], [1.0, 0.0]])}
    found, rival = compare(ours, theirs)
    assert rival is not None
    assert (found.seeds[0].best_loss, rival.seeds[0].best_loss) == (0.0, 0.5)
    assert found.seeds[0].hypervolume == pytest.approx(0.3)
    assert rival.seeds[0].hypervolume == pytest.approx(0.25)
    assert found.evaluations == (1, 2, 3)
    assert found.best_loss == (0.4, 0.0, 0.0)
    assert compare(ours, {})[1] is None


def test_regret_and_progress() -> None:
    regrets = Regrets((0.0, 0.2, 0.0, 0.1))
    assert (regrets.found, regrets.median, regrets.worst) == (0.5, pytest.approx(0.05), 0.2)
    assert best_so_far([3, 1, 2, 0]).tolist() == [3, 1, 1, 0]
