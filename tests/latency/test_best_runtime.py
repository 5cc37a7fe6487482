"""The least of several runtimes' tables: every number is that of the table which predicts least."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.best_runtime import BestRuntimeLatency, tables_of
from hwnas.device_limits import DeviceLimits
from hwnas.errors import HwnasError, InfeasibleError, SearchError
from hwnas.families.base import Family
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits, latency_range_ms
from hwnas.search.identity import fingerprint_of_limits
from hwnas.search.protocol import BoundedLatency, RangedLatency
from hwnas.space import SearchSpace
from latency_luts import LatencyLut, LutMismatchError, OperatorSpec, Subject
from profiler.target import Target
from tests.contracts.latency_model import BoundedLatencyContract
from tests.latency.tiny import TINY, WORKLOAD, TinyFamily, bounded_lut

FAMILY: Family = TinyFamily()  # type: ignore[assignment]


def table(runtime: str = "onnxruntime", **factors: float) -> LatencyLut:
    """Of ``runtime``, kinds of operators slower by ``factors``; whole models follow them."""
    plain = replace(bounded_lut(), target=Target("here", f"{runtime}-1.2", 1, "thread_cpu"), calibration=None)

    def factor(operator: OperatorSpec) -> float:
        return factors.get(operator.kind, 1.0)

    rows = {
        op: replace(
            row,
            latency_ms=row.latency_ms * factor(op),
            interval_ms=(0.99 * row.latency_ms * factor(op), 1.01 * row.latency_ms * factor(op)),
        )
        for op, row in plain.rows.items()
    }
    models = tuple(
        replace(
            model,
            latency_ms=model.latency_ms
            * sum(n * rows[op].latency_ms for op, n in model.operators.items())
            / sum(n * plain.rows[op].latency_ms for op, n in model.operators.items()),
        )
        for model in plain.models
    )
    return replace(plain, rows=rows, models=models).calibrated()


TABLES = {"a": table(), "b": table("litert", ffn=0.7, stem=3.0, norm=2.0, attention=2.0), "c": table("tvm", ffn=1.3)}


@pytest.fixture(scope="module")
def best() -> BestRuntimeLatency:
    return BestRuntimeLatency.of_tables(TINY, FAMILY, TABLES)


class TestBestRuntimeLatencyIsABoundedLatency(BoundedLatencyContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return TINY

    @pytest.fixture
    def model(self, best: BestRuntimeLatency) -> BoundedLatency:
        return best


def test_every_number_is_that_of_the_table_that_predicts_least(best: BestRuntimeLatency) -> None:
    models = {name: TableLatency(TINY, FAMILY, lut) for name, lut in zip(best.runtimes, TABLES.values(), strict=True)}
    assert best.runtimes == ("onnxruntime", "litert", "tvm")
    chosen = set()
    for candidate in TINY:
        gene = TINY.encode(candidate)[None]
        runtime = best.runtime_of(candidate)
        chosen.add(runtime)
        assert best.of(candidate) == min(model.of(candidate) for model in models.values())
        assert best.latency_ms(gene)[0] == pytest.approx(models[runtime].of(candidate), rel=1e-12)
        np.testing.assert_array_equal(best.interval_ms(gene, 0.9), models[runtime].interval_ms(gene, 0.9))
        np.testing.assert_array_equal(best.upper_ms(gene, 0.9), models[runtime].upper_ms(gene, 0.9))
        assert best.interval_of(candidate) == models[runtime].interval_of(candidate)
    assert chosen == {"onnxruntime", "litert"}, "each is best for some, and who is never best is never chosen"


def test_the_ends_of_the_space_are_exact_or_not_told(best: BestRuntimeLatency) -> None:
    assert isinstance(best, RangedLatency)
    latencies = [best.of(candidate) for candidate in TINY]
    fastest = best.fastest()
    assert fastest is not None
    assert fastest[0] == pytest.approx(min(latencies)) == pytest.approx(best.of(fastest[1]))
    low, high = latency_range_ms(TINY, best)
    assert (low, high) == (pytest.approx(min(latencies)), pytest.approx(max(latencies)))
    upper = best.least_upper_ms(0.9)
    assert upper is not None
    assert upper <= min(best.upper_ms(TINY.encode_many(TINY), 0.9)) * (1 + 1e-12)


@given(stems=st.floats(0.2, 5.0), ffns=st.floats(0.2, 5.0))
def test_the_slowest_is_told_only_where_it_is_the_slowest(stems: float, ffns: float) -> None:
    best = BestRuntimeLatency.of_tables(TINY, FAMILY, {"a": table(), "b": table("litert", stem=stems, ffn=ffns)})
    slowest = best.slowest()
    if slowest is not None:
        assert slowest[0] == pytest.approx(max(best.of(candidate) for candidate in TINY))


def test_limits_hold_the_least(best: BestRuntimeLatency) -> None:
    fastest = best.fastest()
    assert fastest is not None
    limits = CandidateLimits(TINY, FAMILY, WORKLOAD, best, latency_ms=1.5 * fastest[0], confidence=0.9)
    genes = TINY.encode_many(TINY)
    np.testing.assert_array_equal(limits.allows(genes), best.upper_ms(genes, 0.9) <= 1.5 * fastest[0])
    assert fastest[1] in limits.probes()
    with pytest.raises(InfeasibleError, match="none can be shown to stay below"):
        replace(limits, latency_ms=0.9 * fastest[0]).check()
    known = fingerprint_of_limits(DeviceLimits({"": limits}))
    other = CandidateLimits(TINY, FAMILY, WORKLOAD, best.models["litert"], latency_ms=1.0, confidence=0.9)
    assert known.startswith("best of ") and fingerprint_of_limits(DeviceLimits({"": other})) in known


def foreign(**changes: object) -> dict[str, LatencyLut]:
    return {"a": TABLES["a"], "b": replace(TABLES["b"], **changes)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (foreign(target=Target("there", "litert-1", 1, "thread_cpu")), "b is not comparable with a: device is there"),
        (foreign(target=Target("here", "litert-1", 1, "wall")), "a: clock is wall there, thread_cpu here"),
        (foreign(target=Target("here", "litert-1", 2, "thread_cpu")), "a: threads is 2 there, 1 here"),
        (foreign(workload={**WORKLOAD.as_dict(), "batch": 7}), "a: batch of the workload is 7 there, 1 here"),
        (foreign(target=TABLES["a"].target), "a and b are both of onnxruntime; give one table for each"),
        ({"a": TABLES["a"]}, "among tables of two or more, here is onnxruntime; run: hwnas profile --space"),
        ({}, "here is none"),
    ],
)
def test_tables_that_do_not_belong_together(tables: dict[str, LatencyLut], message: str) -> None:
    with pytest.raises(HwnasError, match=message) as told:
        BestRuntimeLatency.of_tables(TINY, FAMILY, tables)
    assert "\n" not in str(told.value)


def test_tables_of_two_machines_of_one_name() -> None:
    one = replace(TABLES["a"], environment={"start": {"cpu_model": "this", "cores": 2}})
    other = replace(TABLES["b"], environment={"start": {"cpu_model": "that", "cores": 2}})
    with pytest.raises(HwnasError, match="cpu_model of the machine is that there, this here"):
        BestRuntimeLatency.of_tables(TINY, FAMILY, {"a": one, "b": other})


def test_a_table_of_another_space() -> None:
    with pytest.raises(LutMismatchError, match="for space 'other'"):
        BestRuntimeLatency.of_tables(TINY, FAMILY, foreign(subject=Subject("other", "0")))


def int8(lut: LatencyLut) -> LatencyLut:
    rows = {
        replace(op, precision="int8"): replace(row, operator=replace(op, precision="int8"))
        for op, row in lut.rows.items()
    }
    return replace(lut, rows=rows, models=(), calibration=None)


def test_precisions_are_never_mixed_unasked(tmp_path: Path) -> None:
    tables = {"a": TABLES["a"], "b": int8(TABLES["b"])}
    with pytest.raises(SearchError, match="a is in fp32, b is in int8: precisions differ in quality"):
        BestRuntimeLatency.of_tables(TINY, FAMILY, tables)
    for name, lut in {"onnxruntime": TABLES["a"], "litert": TABLES["b"], "litert-int8": tables["b"]}.items():
        lut.save(tmp_path / f"{name}.lut.jsonl")
    found, left_out = tables_of([tmp_path], FAMILY)
    assert {Path(path).name for path in found} == {"onnxruntime.lut.jsonl", "litert.lut.jsonl"}
    assert left_out == ("litert-int8.lut.jsonl",)
    named, _ = tables_of([tmp_path / "litert-int8.lut.jsonl"], FAMILY)
    assert [lut.rows for lut in named.values()] == [tables["b"].rows]
    with pytest.raises(SearchError, match="has no table in fp32; run: hwnas profile --runtime all"):
        tables_of([tmp_path / ".."], FAMILY)


def test_a_range_is_exact_at_the_end_that_is_known(best: BestRuntimeLatency, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tables cross nobody knows the slowest, and the fastest is what limits are refused by."""
    found = best.fastest()
    assert found is not None
    monkeypatch.setattr(BestRuntimeLatency, "slowest", lambda _: None)
    monkeypatch.setattr(BestRuntimeLatency, "fastest", lambda _: (found[0] / 2, found[1]))
    low_ms, high_ms = latency_range_ms(TINY, best)
    ends = best.latency_ms(TINY.encode_many([TINY.extreme(0), TINY.extreme(-1)]))
    assert (low_ms, high_ms) == (found[0] / 2, ends.max())
