"""The relaxations: what each of them is by its paper, beside the contract."""

from __future__ import annotations

import pytest
import torch

from hwnas.errors import SearchError
from hwnas.gradient.darts import Darts
from hwnas.gradient.gumbel import Gumbel, GumbelSettings
from hwnas.gradient.proxyless import ProxylessSettings, TwoPaths
from hwnas.gradient.relaxation import Relaxation
from tests.contracts.relaxation import RelaxationContract, seeded

HALF = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


class TestDarts(RelaxationContract):
    @pytest.fixture
    def relaxation(self) -> Relaxation:
        return Darts()


class TestGumbel(RelaxationContract):
    @pytest.fixture
    def relaxation(self) -> Relaxation:
        return Gumbel(5.0, 0.5, hard=False)


class TestStraightThrough(RelaxationContract):
    @pytest.fixture
    def relaxation(self) -> Relaxation:
        return Gumbel(5.0, 0.5, hard=True)


class TestTwoPaths(RelaxationContract):
    @pytest.fixture
    def relaxation(self) -> Relaxation:
        return TwoPaths(Gumbel(5.0, 0.5, hard=False))


class TestBinaryPaths(RelaxationContract):
    @pytest.fixture
    def relaxation(self) -> Relaxation:
        return TwoPaths(Gumbel(5.0, 0.5, hard=True))


def test_darts_is_the_mixture_itself() -> None:
    drawn = Darts().draw(HALF, 0.0, seeded(0))
    torch.testing.assert_close(drawn.weights.detach(), HALF.float())


def test_gumbel_draws_corners_as_often_as_they_are_probable() -> None:
    """The Gumbel-max trick; and near the end soft weights are close to a corner."""
    generator, drawn = seeded(1), torch.zeros(3)
    for _ in range(4000):
        drawn += Gumbel(5.0, 0.5, hard=True).draw(HALF, 0.5, generator).weights.detach()
    torch.testing.assert_close(drawn / 4000, HALF.float(), atol=0.03, rtol=0)
    soft = [Gumbel(5.0, 0.01, hard=False).draw(HALF, 1.0, generator).weights.detach().max() for _ in range(200)]
    assert sum(top > 0.99 for top in soft) > 190


def test_binary_gates_are_two_paths_one_of_them_active_by_their_probabilities() -> None:
    generator, active, seen = seeded(2), torch.zeros(3), 0
    for _ in range(4000):
        drawn = TwoPaths(Gumbel(5.0, 0.5, hard=True)).draw(HALF, 0.5, generator)
        assert sorted(drawn.weights.tolist()) == [0.0, 1.0]
        if drawn.options == (0, 1):
            seen += 1
            active[drawn.options[int(drawn.weights.argmax())]] += 1
    assert (active / seen)[:2].tolist() == pytest.approx([0.5 / 0.8, 0.3 / 0.8], abs=0.04)


def test_gates_between_two_paths_go_to_their_ends() -> None:
    paths, generator = TwoPaths(Gumbel(5.0, 0.05, hard=False)), seeded(3)

    def tops(progress: float) -> list[float]:
        return [paths.draw(HALF, progress, generator).weights.max().item() for _ in range(300)]

    assert max(tops(0.0)) < 0.95 < sorted(tops(1.0))[60]


def test_bad_settings_are_named() -> None:
    with pytest.raises(SearchError, match=r"gumbel: tau_first 0\.1 and tau_last 0\.5 must fall"):
        GumbelSettings(tau_first=0.1)
    with pytest.raises(SearchError, match=r"proxyless: tau_first 5\.0 and tau_last 0\.0"):
        ProxylessSettings(tau_last=0.0)
