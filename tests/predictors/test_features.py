from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from hwnas.errors import SpaceError
from hwnas.families import get_family
from hwnas.families.seq2seq.features import FEATURES, PARTS, FeaturesOfGenes, count_macs, count_parts
from hwnas.families.seq2seq.hat_yaml import HAT_QKV
from hwnas.space import Candidate, Choice, SearchSpace
from hwnas.spaces import load_space


@pytest.fixture(params=["hat_latency", "g2p"])
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return load_space(request.param)


@pytest.fixture
def candidates(space: SearchSpace) -> list[Candidate]:
    rng = random.Random(0)
    return [space.sample(rng) for _ in range(30)]


def test_features_are_means_over_the_layers_that_exist(space: SearchSpace, candidates: list[Candidate]) -> None:
    features = FeaturesOfGenes(space)(space.encode_many(candidates))
    assert features.shape == (30, len(FEATURES))
    for candidate, row in zip(candidates, features, strict=True):

        def mean(name: str, candidate: Candidate = candidate) -> float:
            return float(np.mean([value for key, value in candidate.entries if key.startswith(f"{name}.")]))

        expected = [
            candidate["encoder_embed"], candidate["encoder_layers"], mean("encoder_ffn"), mean("encoder_heads"),
            candidate["decoder_embed"], candidate["decoder_layers"], mean("decoder_ffn"),
            mean("decoder_self_heads"), mean("decoder_cross_heads"), mean("decoder_attended"),
        ]  # fmt: skip
        np.testing.assert_allclose(row, expected, rtol=1e-12)


def test_macs_from_averages_are_those_from_the_layers(space: SearchSpace, candidates: list[Candidate]) -> None:
    family = get_family(space.family)
    wider = SearchSpace(space.name, space.family, space.choices, {**space.fixed, "qkv": HAT_QKV}, space.workload)
    workload = replace(space.workload, batch=1, beam=1, source_tokens=13, target_tokens=7, cache=3)
    macs = count_macs(FeaturesOfGenes(space)(space.encode_many(candidates)), HAT_QKV, workload)
    expected = [family.count(wider, candidate, workload, "hat").macs for candidate in candidates]
    np.testing.assert_allclose(macs, expected, rtol=1e-12)


def test_parts_are_products_of_sums() -> None:
    row = np.array([640, 6, 2048, 4, 512, 3, 1024, 8, 2, 2.0])
    counts = dict(zip(PARTS, count_parts(row[None])[0].tolist(), strict=True))
    assert counts == {
        "encoder": 1, "encoder_layer": 7.5, "encoder_ffn": 15, "encoder_heads": 3,
        "decoder": 1, "decoder_layer": 3, "decoder_layer_width": 3, "decoder_ffn": 3,
        "decoder_self_heads": 3, "decoder_cross_heads": 0.75, "decoder_attended": 6, "cross_projection": 7.5,
    }  # fmt: skip


def test_another_family_is_refused() -> None:
    space = SearchSpace("mine", "mine", (Choice("depth", (1, 2)),), {}, load_space("g2p").workload)
    with pytest.raises(SpaceError, match="'mine' has no choice 'encoder_embed'"):
        FeaturesOfGenes(space)


def test_genes_that_cannot_be_are_refused() -> None:
    features = FeaturesOfGenes(load_space("g2p"))
    with pytest.raises(SpaceError, match=r"shape \(1, 3\)"):
        features(np.zeros((1, 3), dtype=np.int64))
    genes = load_space("g2p").encode_many([load_space("g2p").extreme(0)])
    with pytest.raises(SpaceError, match="not one of its choice"):
        features(genes + 99)
