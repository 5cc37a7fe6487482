from __future__ import annotations

import math
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import InfeasibleError, SpaceError
from hwnas.factors import Factor, GatherSum, merge_factors, minimise
from hwnas.families import get_family
from hwnas.latency import TableLatency, decompose, operators_of
from hwnas.limits import CandidateLimits
from hwnas.search.protocol import LatencyModel
from hwnas.space import Choice, SearchSpace
from hwnas.spaces import load_space
from hwnas.workload import Workload
from latency_luts import (
    Calibration,
    LatencyLut,
    LutMismatchError,
    MissingOperatorError,
    OperatorRow,
    OperatorSpec,
    Subject,
)
from profiler.target import Target
from tests.contracts.latency_model import LatencyModelContract
from tests.latency.tiny import TINY, WORKLOAD, TinyFamily, latency_of, tiny_lut

FAMILY = TinyFamily()
CALIBRATION = Calibration(
    tiny_lut().latencies_ms, 0.004, 0.02, 0.0005, {"all": 1.1, "wide": 0.9}, {"ffn": "wide"}, 8, None
)


@pytest.fixture
def table_latency() -> TableLatency:
    return TableLatency(TINY, FAMILY, tiny_lut(), CALIBRATION)


class TestTableLatencyIsALatencyModel(LatencyModelContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return TINY

    @pytest.fixture
    def model(self, table_latency: TableLatency) -> LatencyModel:
        return table_latency


def test_equals_the_calibrated_sum_of_the_decomposition(table_latency: TableLatency) -> None:
    candidates = list(TINY)
    assert len(candidates) == TINY.size()
    expected = [CALIBRATION.predict(decompose(TINY, FAMILY, WORKLOAD, c)) for c in candidates]
    np.testing.assert_allclose(table_latency.latency_ms(TINY.encode_many(candidates)), expected, rtol=1e-12)
    for candidate, latency in zip(candidates[:20], expected, strict=False):
        assert table_latency.of(candidate) == pytest.approx(latency)
        assert sum(table_latency.explain(candidate).values()) == pytest.approx(latency)


def test_decomposition_is_what_a_candidate_pays() -> None:
    candidate = TINY.candidate({"embed": 32, "layers": 2, "ffn.0": 8, "ffn.1": 8, "heads.1": 2})
    assert decompose(TINY, FAMILY, WORKLOAD, candidate) == {
        OperatorSpec.of("attention", heads=2): 3,
        OperatorSpec.of("ffn", embed=32, ffn=8): 10,
        OperatorSpec.of("norm", tokens=4): 2,
        OperatorSpec.of("stem", embed=32): 1,
    }


def test_without_calibration_it_is_the_plain_sum() -> None:
    model = TableLatency(TINY, FAMILY, tiny_lut())
    paid = decompose(TINY, FAMILY, WORKLOAD, TINY.extreme(-1))
    assert model.of(TINY.extreme(-1)) == pytest.approx(sum(n * latency_of(op) for op, n in paid.items()))


def test_fastest_and_slowest_are_exact(table_latency: TableLatency) -> None:
    everything = table_latency.latency_ms(TINY.encode_many(TINY))
    fastest, slowest = table_latency.fastest(), table_latency.slowest()
    assert fastest is not None
    assert slowest is not None
    assert fastest[0] == pytest.approx(everything.min())
    assert slowest[0] == pytest.approx(everything.max())
    assert table_latency.of(fastest[1]) == pytest.approx(everything.min())
    assert table_latency.of(slowest[1]) == pytest.approx(everything.max())


def test_missing_operators_are_named_with_the_way_out() -> None:
    full = tiny_lut()
    rows = {op: row for op, row in full.rows.items() if op.kind != "ffn"}
    with pytest.raises(MissingOperatorError) as caught:
        TableLatency(TINY, FAMILY, replace(full, rows=rows))
    message = str(caught.value)
    assert "ffn[embed=32,ffn=8,precision=fp32]" in message
    assert "and 3 more" in message
    assert "hwnas profile --space tiny" in message


def test_another_workload_or_space_is_refused() -> None:
    with pytest.raises(LutMismatchError, match="source_tokens is 4 there, 9 asked"):
        TableLatency(TINY, FAMILY, tiny_lut(), workload=Workload(1, 1, 9, 5, 10))
    with pytest.raises(LutMismatchError, match="is for space 'tiny'"):
        TableLatency(replace(TINY, choices=TINY.choices[:2]), FAMILY, tiny_lut())
    TableLatency(replace(TINY, name="renamed"), FAMILY, tiny_lut())
    with pytest.raises(LutMismatchError):
        TableLatency(TINY, FAMILY, tiny_lut(workload=Workload(vocabulary=99).as_dict()))
    other = TableLatency.from_lut(TINY, FAMILY, tiny_lut())
    assert other.workload == WORKLOAD


@pytest.mark.parametrize("gene", [[0, 0, 0, 0, 0, 2], [0, -1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
def test_a_gene_outside_the_space_is_refused(table_latency: TableLatency, gene: list[int]) -> None:
    with pytest.raises(SpaceError):
        table_latency.latency_ms(np.array([gene]))


@st.composite
def factor_sums(draw: st.DrawFn) -> tuple[list[int], list[Factor]]:
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    scopes = draw(st.lists(st.sets(st.integers(0, len(sizes) - 1), max_size=3), max_size=7))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return sizes, [Factor(tuple(sorted(s)), rng.normal(size=[sizes[p] for p in sorted(s)])) for s in scopes]


@given(factor_sums(), st.sampled_from([1, 8, 100, 10_000]))
def test_merging_gathering_and_minimising_agree_with_enumeration(
    case: tuple[list[int], list[Factor]], largest: int
) -> None:
    sizes, factors = case
    space = SearchSpace("s", "f", tuple(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes)), {}, WORKLOAD)
    genes = np.array(list(np.ndindex(*sizes)))
    truth = np.array([sum(float(f.table[tuple(gene[list(f.choices)])]) for f in factors) for gene in genes])
    np.testing.assert_allclose(GatherSum(space, factors, 0.5)(genes), truth + 0.5, atol=1e-12)
    for factor in merge_factors(factors, sizes, largest):
        assert factor.table.size <= max(largest, *(f.table.size for f in factors))
    found = minimise(space, factors)
    assert found is not None
    assert found[0] == pytest.approx(truth.min())
    assert truth[np.flatnonzero((genes == found[1]).all(axis=1))[0]] == pytest.approx(truth.min())


@pytest.mark.parametrize("name", ["g2p", "g2p_mixed", "hat_wmt14_ende", "hat_iwslt14_deen", "hat_latency"])
def test_the_shipped_spaces_compile_exactly(name: str) -> None:
    space = load_space(name)
    family = get_family(space.family)
    operators = operators_of(space, family, space.workload)
    rows = {op: OperatorRow(op, math.sqrt(position + 1), 1, 1, "sha", 0.0) for position, op in enumerate(operators)}
    target = Target("here", "runtime-1", 1, "thread_cpu")
    subject = Subject(name, space.fingerprint)
    model = TableLatency.from_lut(space, family, LatencyLut(target, space.workload.as_dict(), subject, rows))
    rng = random.Random(0)
    candidates = [space.sample(rng) for _ in range(25)]
    expected = [model.calibration.predict(decompose(space, family, space.workload, c)) for c in candidates]
    latencies = model.latency_ms(space.encode_many(candidates))
    np.testing.assert_allclose(latencies, expected, rtol=1e-12)
    fastest, slowest = model.fastest(), model.slowest()
    assert fastest is not None
    assert slowest is not None
    assert fastest[0] <= latencies.min() <= latencies.max() <= slowest[0]
    assert model.of(fastest[1]) == pytest.approx(fastest[0])


def test_limits_allow_exactly_what_meets_them(table_latency: TableLatency) -> None:
    limits = CandidateLimits(TINY, FAMILY, WORKLOAD, table_latency, 0.6, params_m=0.002, peak_memory_mib=2)
    candidates = list(TINY)
    expected = [
        table_latency.of(c) <= 0.6 and FAMILY.count(TINY, c, WORKLOAD, "full").params <= 2000 and c["layers"] <= 2
        for c in candidates
    ]
    genes = TINY.encode_many(candidates)
    assert limits.allows(genes).tolist() == expected
    assert limits.allows(genes).tolist() == expected  # from the cache
    assert 0 < sum(expected) < len(expected)
    assert limits.describe() == "latency <= 0.6 ms, params <= 0.002 M, peak memory <= 2 MiB"
    limits.check()


def test_an_infeasible_limit_is_refused_with_the_feasible_range(table_latency: TableLatency) -> None:
    fastest = table_latency.fastest()
    assert fastest is not None
    for limit, range_text in (
        ({"latency_ms": 0.9 * fastest[0]}, f"the fastest candidate has {fastest[0]:.4g} ms"),
        ({"params_m": 1e-6}, "the smallest candidate has 0.000256 M"),
        ({"peak_memory_mib": 0.5}, "the smallest candidate needs 1 MiB, the largest 3 MiB"),
    ):
        with pytest.raises(InfeasibleError, match=range_text):
            CandidateLimits(TINY, FAMILY, WORKLOAD, table_latency, **limit).check()
    CandidateLimits(TINY, FAMILY, WORKLOAD, table_latency, latency_ms=fastest[0] * 1.000001).check()


@pytest.mark.parametrize("limit", [{"latency_ms": 0.0}, {"params_m": -1}, {"peak_memory_mib": math.nan}])
def test_a_limit_that_is_no_amount_is_refused(table_latency: TableLatency, limit: dict[str, float]) -> None:
    with pytest.raises(InfeasibleError, match=next(iter(limit))):
        CandidateLimits(TINY, FAMILY, WORKLOAD, table_latency, **limit)


def test_a_latency_limit_needs_a_table() -> None:
    with pytest.raises(InfeasibleError, match="needs a latency table"):
        CandidateLimits(TINY, FAMILY, WORKLOAD, latency_ms=1.0)


def test_predicting_from_a_table_needs_neither_torch_nor_onnxruntime() -> None:
    code = (
        "import sys; import hwnas.latency, hwnas.limits, hwnas.search.evolution, hwnas.search.run;"
        "from hwnas.spaces import load_space; load_space('g2p');"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'typer', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
