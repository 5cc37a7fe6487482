"""What every relaxation of a choice must do; subclass it and give a ``relaxation`` fixture."""

from __future__ import annotations

import pytest
import torch

from hwnas.gradient.relaxation import Relaxation


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class RelaxationContract:
    @pytest.fixture
    def relaxation(self) -> Relaxation:
        raise NotImplementedError

    @pytest.mark.parametrize("options", [2, 3, 4])
    def test_what_is_drawn_is_a_mixture_of_some_options(self, relaxation: Relaxation, options: int) -> None:
        for seed in range(100):
            generator = seeded(seed)
            probabilities = (torch.randn(options, generator=generator, dtype=torch.float64) * seed / 10).softmax(0)
            drawn = relaxation.draw(probabilities, seed / 100, generator)
            assert list(drawn.options) == sorted(set(drawn.options))
            assert set(drawn.options) <= set(range(options))
            assert drawn.weights.shape == (len(drawn.options),) and drawn.weights.is_leaf
            assert drawn.weights.dtype == torch.float32 and drawn.weights.isfinite().all()
            assert drawn.weights.min() >= 0 and drawn.weights.sum().item() == pytest.approx(1, abs=1e-5)
            assert drawn.weights.requires_grad

    def test_the_same_generator_draws_the_same(self, relaxation: Relaxation) -> None:
        probabilities = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
        for seed in range(10):
            one, other = (relaxation.draw(probabilities, 0.5, seeded(seed)) for _ in range(2))
            assert one.options == other.options and torch.equal(one.weights, other.weights)

    def test_every_option_is_looked_at_sometimes(self, relaxation: Relaxation) -> None:
        """Also an improbable one: an option without a gradient could never come back."""
        generator, looked_at = seeded(0), set()
        for _ in range(300):
            drawn = relaxation.draw(torch.tensor([0.98, 0.02, 0.0], dtype=torch.float64), 0.9, generator)
            looked_at |= set(drawn.options)
        assert looked_at >= {0, 1}
