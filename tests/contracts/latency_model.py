"""What every LatencyModel must do; subclass it and give ``model`` and ``space`` fixtures."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hwnas.search.protocol import BoundedLatency, LatencyModel
from hwnas.space import SearchSpace


class LatencyModelContract:
    @pytest.fixture
    def space(self) -> SearchSpace:
        raise NotImplementedError

    @pytest.fixture
    def model(self) -> LatencyModel:
        raise NotImplementedError

    def test_gives_a_positive_latency_per_gene(self, model: LatencyModel, space: SearchSpace) -> None:
        rng = random.Random(0)
        genes = space.encode_many(space.sample(rng) for _ in range(50))
        latencies = model.latency_ms(genes)
        assert latencies.shape == (50,)
        assert latencies.dtype == np.float64
        assert (latencies > 0).all()

    def test_a_batch_equals_single_calls(self, model: LatencyModel, space: SearchSpace) -> None:
        rng = random.Random(1)
        genes = space.encode_many(space.sample(rng) for _ in range(20))
        singles = np.concatenate([model.latency_ms(gene[None]) for gene in genes])
        np.testing.assert_allclose(model.latency_ms(genes), singles, rtol=1e-12)

    def test_genes_of_no_candidates_give_nothing(self, model: LatencyModel, space: SearchSpace) -> None:
        assert model.latency_ms(space.encode_many([])).shape == (0,)

    def test_inactive_places_do_not_matter(self, model: LatencyModel, space: SearchSpace) -> None:
        rng = random.Random(2)
        raw = np.array([[rng.randrange(len(c.values)) for c in space.choices] for _ in range(50)])
        canonical = space.encode_many(space.decode(gene) for gene in raw)
        np.testing.assert_allclose(model.latency_ms(raw), model.latency_ms(canonical), rtol=1e-12)

    def test_integer_type_does_not_matter(self, model: LatencyModel, space: SearchSpace) -> None:
        genes = space.encode_many([space.extreme(-1), space.extreme(0)])
        np.testing.assert_array_equal(model.latency_ms(genes.astype(np.int8)), model.latency_ms(genes))  # type: ignore[arg-type]


class BoundedLatencyContract(LatencyModelContract):
    """What every BoundedLatency must do besides."""

    @pytest.fixture
    def model(self) -> BoundedLatency:
        raise NotImplementedError

    def test_it_is_one(self, model: BoundedLatency) -> None:
        assert isinstance(model, BoundedLatency)

    def test_intervals_hold_the_prediction_and_widen_with_confidence(
        self, model: BoundedLatency, space: SearchSpace
    ) -> None:
        rng = random.Random(3)
        genes = space.encode_many(space.sample(rng) for _ in range(50))
        latencies = model.latency_ms(genes)
        narrow, wide = model.interval_ms(genes, 0.6), model.interval_ms(genes, 0.95)
        assert wide.shape == (50, 2)
        assert (wide[:, 0] < narrow[:, 0]).all()
        assert (narrow[:, 0] < latencies).all()
        assert (latencies < narrow[:, 1]).all()
        assert (narrow[:, 1] < wide[:, 1]).all()

    def test_the_bound_is_the_upper_end_of_an_interval(self, model: BoundedLatency, space: SearchSpace) -> None:
        genes = space.encode_many([space.extreme(-1), space.extreme(0)])
        np.testing.assert_allclose(model.upper_ms(genes, 0.95), model.interval_ms(genes, 0.9)[:, 1])

    def test_bounds_of_a_batch_equal_single_ones(self, model: BoundedLatency, space: SearchSpace) -> None:
        rng = random.Random(4)
        genes = space.encode_many(space.sample(rng) for _ in range(20))
        singles = np.concatenate([model.upper_ms(gene[None], 0.9) for gene in genes])
        np.testing.assert_allclose(model.upper_ms(genes, 0.9), singles, rtol=1e-12)
        assert model.upper_ms(space.encode_many([]), 0.9).shape == (0,)
