"""Losses learnt from evaluated candidates."""

import random

import numpy as np
import pytest
from training.toy import SPACE

from hwnas.errors import PredictorError
from hwnas.evaluators.predicted import KINDS, OneHot, fit, held_out_spearman
from hwnas.ranks import spearman
from hwnas.spaces import load_space

G2P = load_space("g2p")


def made_up(space, number: int, seed: int = 0):
    """Different candidates of a space, and losses that are a sum over their choices with a little noise."""
    rng = random.Random(seed)
    candidates = list(dict.fromkeys(space.sample(rng) for _ in range(3 * number)))[:number]
    encoded = OneHot(space)(space.encode_many(candidates))
    weights = np.random.default_rng(1).normal(size=encoded.shape[1])
    noise = np.random.default_rng(seed).normal(scale=0.05, size=number)
    return candidates, list(3.0 + 0.1 * (encoded @ weights + noise))


def test_an_encoded_gene_has_a_one_for_every_active_choice() -> None:
    rng = random.Random(0)
    candidates = [G2P.sample(rng) for _ in range(50)]
    encoded = OneHot(G2P)(G2P.encode_many(candidates))
    assert encoded.shape == (50, sum(len(choice.values) for choice in G2P.choices))
    assert encoded.sum(axis=1).tolist() == [len(candidate.entries) for candidate in candidates]
    assert len(np.unique(encoded, axis=0)) == len(set(candidates))


def test_what_stands_at_inactive_places_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    genes = np.stack([rng.integers(0, [len(choice.values) for choice in G2P.choices]) for _ in range(50)])
    canonical = G2P.encode_many(G2P.decode(gene) for gene in genes)
    assert (OneHot(G2P)(genes) == OneHot(G2P)(canonical)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_predictor_ranks_candidates_it_has_not_seen(kind) -> None:
    candidates, losses = made_up(G2P, 160)
    model = fit(G2P, candidates[:120], losses[:120], kind)
    predicted = model.loss(G2P.encode_many(candidates[120:]))
    assert spearman(predicted, losses[120:]) > 0.7
    assert predicted.mean() == pytest.approx(np.mean(losses), abs=0.2)
    assert held_out_spearman(G2P, candidates, losses, kind) > 0.7


def test_held_out_candidates_are_not_learnt_from() -> None:
    candidates, _ = made_up(G2P, 60)
    nothing = list(np.random.default_rng(3).normal(size=60))
    for kind in KINDS:
        assert abs(held_out_spearman(G2P, candidates, nothing, kind)) < 0.4


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_fits_the_same(kind) -> None:
    candidates, losses = made_up(SPACE, 20)
    genes = SPACE.encode_many(candidates)
    first, second = (fit(SPACE, candidates, losses, kind, seed=4).loss(genes) for _ in range(2))
    assert (first == second).all()


@pytest.mark.parametrize("kind", KINDS)
def test_equal_losses_are_predicted_as_they_are(kind) -> None:
    candidates, _ = made_up(SPACE, 10)
    predicted = fit(SPACE, candidates, [2.0] * 10, kind).loss(SPACE.encode_many(candidates))
    assert predicted == pytest.approx(2.0, abs=1e-3)


def test_what_cannot_be_learnt_from_is_refused() -> None:
    candidates, losses = made_up(SPACE, 10)
    with pytest.raises(PredictorError, match="'forest' is unknown; known: ridge, gbdt, mlp"):
        fit(SPACE, candidates, losses, "forest")  # type: ignore[arg-type]
    with pytest.raises(PredictorError, match=r"7 candidates with 7 losses.*at least 8"):
        fit(SPACE, candidates[:7], losses[:7])
    with pytest.raises(PredictorError, match="not finite"):
        fit(SPACE, candidates, [float("nan"), *losses[1:]])


def test_spearman_shares_the_ranks_of_ties() -> None:
    assert spearman([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 1, 1], [3, 2, 1]) == 0
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(0.866, abs=1e-3)
