"""Intervals and further metrics of candidates: those of the table's own sums, for any number of genes at once."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import InfeasibleError
from hwnas.factors import GatherCounts
from hwnas.families import get_family
from hwnas.latency import TableLatency, decompose
from hwnas.limits import CandidateLimits
from hwnas.search.protocol import BoundedLatency, LatencyModel
from hwnas.space import SearchSpace
from hwnas.spaces import load_space
from latency_luts import LutError
from tests.contracts.latency_model import BoundedLatencyContract
from tests.latency.tiny import TINY, WORKLOAD, TinyFamily, bounded_lut, tiny_lut

FAMILY = TinyFamily()


@pytest.fixture(scope="module")
def latency() -> TableLatency:
    return TableLatency(TINY, FAMILY, bounded_lut())


class TestTableLatencyIsABoundedLatency(BoundedLatencyContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return TINY

    @pytest.fixture
    def model(self, latency: TableLatency) -> BoundedLatency:
        return latency


def test_intervals_are_the_tables_own(latency: TableLatency) -> None:
    candidates = list(TINY)
    genes = TINY.encode_many(candidates)
    expected = [latency.lut.interval_ms(decompose(TINY, FAMILY, WORKLOAD, c), 0.9) for c in candidates]
    np.testing.assert_allclose(latency.interval_ms(genes, 0.9), expected)
    assert latency.interval_of(candidates[3], 0.9) == pytest.approx(expected[3])


def test_counts_are_the_decomposition_of_every_candidate() -> None:
    operators = sorted(tiny_lut().rows)
    candidates = list(TINY)
    counts = GatherCounts(TINY, FAMILY.terms(TINY, WORKLOAD), operators)(TINY.encode_many(candidates))
    expected = [[decompose(TINY, FAMILY, WORKLOAD, c).get(op, 0) for op in operators] for c in candidates]
    np.testing.assert_array_equal(counts, expected)


def test_counts_of_a_shipped_space() -> None:
    space = load_space("hat_wmt14_ende")
    family = get_family(space.family)
    terms = family.terms(space, space.workload)
    operators = sorted({term.operator for term in terms})
    rng = random.Random(0)
    candidates = [space.sample(rng) for _ in range(20)]
    counts = GatherCounts(space, terms, operators)(space.encode_many(candidates))
    expected = [[decompose(space, family, space.workload, c).get(op, 0) for op in operators] for c in candidates]
    np.testing.assert_array_equal(counts, expected)


@given(st.floats(0.5, 0.999))
def test_no_bound_is_below_the_least_one(confidence: float) -> None:
    model = TableLatency(TINY, FAMILY, bounded_lut())
    least_ms = model.least_upper_ms(confidence)
    assert least_ms is not None
    assert model.upper_ms(TINY.encode_many(TINY), confidence).min() >= least_ms * (1 - 1e-12)


def test_an_uncalibrated_table_predicts_but_knows_no_bounds() -> None:
    model = TableLatency(TINY, FAMILY, tiny_lut())
    assert not model.bounded
    assert model.of(TINY.extreme(0)) > 0
    with pytest.raises(LutError, match="is a plain sum"):
        model.upper_ms(TINY.encode_many([TINY.extreme(0)]), 0.95)


def test_a_limit_with_a_confidence_is_held_against_the_upper_bound(latency: TableLatency) -> None:
    candidates = list(TINY)
    genes = TINY.encode_many(candidates)
    predicted, upper = latency.latency_ms(genes), latency.upper_ms(genes, 0.95)
    limit_ms = float(np.median(predicted))
    plain = CandidateLimits(TINY, FAMILY, WORKLOAD, latency, limit_ms)
    sure = replace(plain, confidence=0.95)
    np.testing.assert_array_equal(plain.allows(genes), predicted <= limit_ms)
    np.testing.assert_array_equal(sure.allows(genes), upper <= limit_ms)
    assert 0 < sure.allows(genes).sum() < plain.allows(genes).sum()
    assert sure.describe() == f"latency <= {limit_ms:g} ms at 95 % confidence"
    sure.check()


def test_a_limit_that_no_candidate_surely_meets_is_refused(latency: TableLatency) -> None:
    fastest, least_ms = latency.fastest(), latency.least_upper_ms(0.95)
    assert fastest is not None
    assert least_ms is not None
    between = CandidateLimits(TINY, FAMILY, WORKLOAD, latency, (fastest[0] + least_ms) / 2)
    between.check()
    with pytest.raises(InfeasibleError, match=rf"none can be shown to stay below {least_ms:.4g} ms"):
        replace(between, confidence=0.95).check()


def test_a_confidence_needs_intervals() -> None:
    class Unbounded:
        def latency_ms(self, genes: np.ndarray) -> np.ndarray:
            return np.ones(len(genes))

    unbounded: LatencyModel = Unbounded()
    with pytest.raises(InfeasibleError, match=r"a confidence of 0\.95 needs a latency table with intervals"):
        CandidateLimits(TINY, FAMILY, WORKLOAD, unbounded, 1.0, confidence=0.95)
    with pytest.raises(LutError, match="is a plain sum"):
        CandidateLimits(TINY, FAMILY, WORKLOAD, TableLatency(TINY, FAMILY, tiny_lut()), 1.0, confidence=0.95)
    with pytest.raises(LutError, match=r"a confidence of 1\.5 is none"):
        CandidateLimits(TINY, FAMILY, WORKLOAD, TableLatency(TINY, FAMILY, bounded_lut()), 1.0, confidence=1.5)


def test_energy_is_a_sum_with_limits_of_its_own(latency: TableLatency) -> None:
    energy = latency.metric("energy_mj")
    candidates = list(TINY)
    genes = TINY.encode_many(candidates)
    metric = {op: row.metrics["energy_mj"] for op, row in latency.lut.rows.items()}
    expected = [sum(n * metric[op] for op, n in decompose(TINY, FAMILY, WORKLOAD, c).items()) for c in candidates]
    np.testing.assert_allclose(energy(genes), expected)
    assert energy.of(candidates[5]) == pytest.approx(expected[5])
    least, most = energy.least(), energy.most()
    assert least is not None
    assert most is not None
    assert (least[0], most[0]) == pytest.approx((min(expected), max(expected)))
    most_mj = 1.0001 * float(np.median(expected))
    limits = CandidateLimits(TINY, FAMILY, WORKLOAD, energy=energy, energy_mj=most_mj)
    np.testing.assert_array_equal(limits.allows(genes), np.array(expected) <= most_mj)
    assert limits.describe() == f"energy <= {most_mj:g} mJ"
    limits.check()
    assert least[1] in limits.probes()
    with pytest.raises(InfeasibleError, match=f"the thriftiest candidate takes {least[0]:.4g} mJ"):
        replace(limits, energy_mj=0.9 * least[0]).check()


def test_an_energy_that_nobody_knows_is_refused(latency: TableLatency) -> None:
    with pytest.raises(LutError, match=r"has no energy_mj of .*; its other numbers: none"):
        TableLatency(TINY, FAMILY, tiny_lut()).metric("energy_mj")
    with pytest.raises(InfeasibleError, match="an energy limit of 1 mJ needs a table with energies"):
        CandidateLimits(TINY, FAMILY, WORKLOAD, latency, energy_mj=1.0)
