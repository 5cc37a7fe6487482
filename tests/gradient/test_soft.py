"""The soft SuperTransformer: with one-hot weights it is the candidate, and its gradients are those of its logits."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.families import get_family
from hwnas.families.base import Mixture, SoftChoices, Vocabularies
from hwnas.space import Candidate, SearchSpace
from hwnas.spaces import load_space
from hwnas.supernet import SuperTransformer

FAMILY = get_family("seq2seq")
ELASTIC = FAMILY.space(
    {
        "name": "elastic",
        "family": "seq2seq",
        "workload": {"source_tokens": 5, "target_tokens": 5, "vocabulary": 9},
        "choices": {
            "encoder_embed": [16, 8],
            "encoder_layers": [2, 4, 3],
            "encoder_ffn": [8, 32, 16],
            "encoder_heads": [1, 6, 4],
            "decoder_embed": [8, 24, 16],
            "decoder_layers": [3, 1, 2],
            "decoder_ffn": [8, 16],
            "decoder_self_heads": [2, 3],
            "decoder_cross_heads": [1, 4],
            "decoder_attended": [2, 1],
        },
        "fixed": {"qkv": 24, "positions": 16},
    }
)
"""Depths of both sides, values in any order, and numbers of heads that do not divide each other."""


def supernet_of(space: SearchSpace) -> SuperTransformer:
    torch.manual_seed(3)
    supernet = SuperTransformer(FAMILY, space, Vocabularies(12, 9)).eval()
    for parameter in supernet.parameters():  # norms and biases too, that start at 1 and 0
        parameter.data += 0.1 * torch.randn_like(parameter)
    return supernet


SUPERNETS = {space.name: supernet_of(space) for space in (ELASTIC, load_space("g2p"))}
torch.manual_seed(4)
SOURCE, TARGET = torch.randint(4, 9, (3, 5)), torch.randint(4, 9, (3, 4))
SOURCE[1, 3:] = 0  # padding


def one_hot(space: SearchSpace, candidate: Candidate, rng: random.Random) -> dict[str, Mixture]:
    """Weights of 1 for what the candidate has; anything where it has nothing."""
    values = candidate.as_dict()
    mixtures = {}
    for choice in space.choices:
        index = choice.values.index(values[choice.name]) if choice.name in values else rng.randrange(len(choice.values))
        mixtures[choice.name] = Mixture(choice.values, torch.eye(len(choice.values))[index].requires_grad_())
    return mixtures


@pytest.mark.parametrize("name", SUPERNETS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_one_hot_weights_give_the_candidates_logits(name: str, seed: int) -> None:
    supernet, rng = SUPERNETS[name], random.Random(seed)
    candidate = supernet.space.sample(rng)
    with supernet.active(candidate) as model, torch.no_grad():
        wanted = model(SOURCE, TARGET)
    mixtures = one_hot(supernet.space, candidate, rng)
    torch.testing.assert_close(FAMILY.soft(supernet.largest, mixtures)(SOURCE, TARGET), wanted, rtol=1e-4, atol=2e-5)
    single = {
        name: Mixture((mix.values[k := int(mix.weights.argmax())],), mix.weights[k : k + 1])
        for name, mix in mixtures.items()
    }
    torch.testing.assert_close(FAMILY.soft(supernet.largest, single)(SOURCE, TARGET), wanted, rtol=1e-4, atol=2e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_what_has_no_weight_may_as_well_not_take_part(seed: int) -> None:
    """Two paths of each choice give the same as all of them, where the others weigh nothing."""
    space, rng = ELASTIC, random.Random(seed)
    largest = SUPERNETS["elastic"].largest
    two, all_ = {}, {}
    for choice in space.choices:
        kept = sorted(rng.sample(range(len(choice.values)), min(2, len(choice.values))))
        weights = torch.zeros(len(choice.values))
        weights[kept] = torch.tensor([rng.random() for _ in kept])
        all_[choice.name] = Mixture(choice.values, weights)
        two[choice.name] = Mixture(tuple(choice.values[k] for k in kept), weights[kept])
    narrow, whole = (FAMILY.soft(largest, mixtures)(SOURCE, TARGET) for mixtures in (two, all_))
    torch.testing.assert_close(narrow, whole, rtol=1e-4, atol=2e-5)


def test_gradients_of_all_weights_are_finite_differences() -> None:
    space, rng = ELASTIC, random.Random(5)
    largest = supernet_of(space).double().largest
    names = [choice.name for choice in space.choices]
    weights = [
        torch.tensor([rng.uniform(0.1, 1) for _ in choice.values], dtype=torch.float64, requires_grad=True)
        for choice in space.choices
    ]

    def loss(*weights: torch.Tensor) -> torch.Tensor:
        mixtures = {n: Mixture(space.choices[space.index[n]].values, w) for n, w in zip(names, weights, strict=True)}
        return FAMILY.soft(largest, mixtures)(SOURCE, TARGET).square().mean()

    assert torch.autograd.gradcheck(loss, weights)
    assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(loss(*weights), weights))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_gradients_are_finite_where_weights_are_one_hot(seed: int) -> None:
    rng = random.Random(seed)
    mixtures = one_hot(ELASTIC, ELASTIC.sample(rng), rng)
    FAMILY.soft(SUPERNETS["elastic"].largest, mixtures)(SOURCE, TARGET).square().mean().backward()
    assert all(m.weights.grad is None or m.weights.grad.isfinite().all() for m in mixtures.values())


def test_the_family_says_that_its_choices_can_be_soft() -> None:
    assert isinstance(FAMILY, SoftChoices)
