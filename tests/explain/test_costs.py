from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.cross_check import cross_check
from hwnas.explain import explain
from hwnas.latency import TableLatency
from hwnas.scopes import Scopes
from latency_luts import Calibration, OperatorSpec
from profiler.primitives import Primitive
from tests.latency.tiny import TINY, WORKLOAD, TinyFamily, tiny_lut

CALIBRATION = Calibration(
    tiny_lut().latencies_ms, 0.004, 0.02, 0.0005, {"all": 1.1, "wide": 0.9}, {"ffn": "wide"}, 8, None
)


class ScopedFamily(TinyFamily):
    scopes = {"stem": "stem", "block": "ffn", "attend": "attention"}  # noqa: RUF012


def with_intervals(width=0.02):
    table = tiny_lut()
    rows = {
        operator: replace(row, interval_ms=((1 - width) * row.latency_ms, (1 + width) * row.latency_ms))
        for operator, row in table.rows.items()
        if operator.kind != "stem"
    }
    return replace(table, rows={**table.rows, **rows})


def model(table=None):
    return TableLatency(TINY, ScopedFamily(), table or with_intervals(), CALIBRATION)


CANDIDATES = list(TINY)


@given(st.sampled_from(CANDIDATES))
def test_the_costs_sum_to_the_prediction(candidate):
    latency = model()
    found = explain(latency, candidate)
    assert found.latency_ms == pytest.approx(latency.of(candidate), rel=1e-12)
    assert found.constant_ms + sum(cost.total_ms for cost in found.costs) == pytest.approx(found.latency_ms)
    shares = sum(cost.share for cost in found.costs) + found.constant_ms / found.latency_ms
    assert shares == pytest.approx(1.0)
    assert [cost.total_ms for cost in found.costs] == sorted((cost.total_ms for cost in found.costs), reverse=True)
    for cost in found.costs:
        assert cost.total_ms == pytest.approx(cost.count * cost.each_ms)


def test_intervals_go_through_the_calibration():
    found = explain(model(), CANDIDATES[-1])
    for cost in found.costs:
        if cost.operator.kind == "stem":
            assert cost.interval_ms is None
            continue
        low, high = cost.interval_ms
        assert low < cost.total_ms < high
        scale = 0.9 if cost.operator.kind == "ffn" else 1.1
        row_ms = tiny_lut().rows[cost.operator].latency_ms
        assert high - low == pytest.approx(cost.count * scale * 0.04 * row_ms)
    assert all(cost.interval_ms is None for cost in explain(model(tiny_lut()), CANDIDATES[-1]).costs)


def test_labels_name_the_sizes_that_differ_within_the_space():
    labels = {cost.operator.kind: cost.label for cost in explain(model(), CANDIDATES[-1]).costs}
    assert labels == {"ffn": "ffn (embed 32, ffn 32)", "stem": "stem (embed 32)", "attention": "attention (heads 2)",
                      "norm": "norm"}  # fmt: skip


def node(name, ms=0.1, op="MatMul", stage="s"):
    return Primitive(stage, name, op, 1, ms, 2 * ms)


def tall():
    """Three layers with another width each."""
    deep = (c for c in CANDIDATES if c["layers"] == 3 and c["heads.1"] == 2)
    return next(c for c in deep if [c[f"ffn.{layer}"] for layer in range(3)] == [8, 16, 32])


def owners(nodes, candidate=None, family=None):
    return Scopes(TINY, family or ScopedFamily(), TinyFamily().terms(TINY, WORKLOAD), candidate or tall()).owners(nodes)


def test_a_node_belongs_to_the_operator_of_its_layer():
    embed = tall()["embed"]
    found = owners(
        [node("/block.0/expand/Gemm"), node("fused /block.2/MatMul"), node("/model/block.1/Add"), node("/x/y")]
    )
    expected = [("ffn", OperatorSpec.of("ffn", embed=embed, ffn=ffn)) for ffn in (8, 32, 16)]
    assert found == [*expected, None]
    assert owners([node("/attend/Softmax")]) == [("attention", OperatorSpec.of("attention", heads=2))]
    assert owners([node("/block/Gemm")]) == [("ffn", None)]
    assert owners([node("/block.0/Gemm")], family=TinyFamily()) == [None]


def test_a_nameless_node_between_two_of_one_operator_is_its():
    inside = [node("/block.0/a"), node("Transpose_token_2"), node("/block.0/b"), node("Cast_1"), node("/block.1/c")]
    found = owners(inside)
    assert found[1] == found[0]
    assert found[3] is None
    outside = [
        node("/block.0/a"),
        node("/Concat"),
        node("/block.0/b"),
        node("T", stage="t"),
        node("/block.0/a", stage="t"),
    ]
    assert [owner is None for owner in owners(outside)] == [False, True, False, True, False]


def test_table_and_profile_beside_each_other():
    latency, candidate = model(), tall()
    found = explain(latency, candidate)
    by_kind = {cost.operator: cost.total_ms for cost in found.costs if cost.operator.kind != "norm"}
    names = {"stem": "/stem/Add", "attention": "/attend/Softmax"}
    layer = {8: 0, 16: 1, 32: 2}
    nodes = [
        node(names.get(op.kind) or f"/block.{layer[op['ffn']]}/Gemm", 2 * ms, "Gemm") for op, ms in by_kind.items()
    ]
    check = cross_check(found, latency, ScopedFamily(), [*nodes, node("/elsewhere/Add", 0.5, "Add")], 1.5)
    assert check.elsewhere_ms == 0.5
    assert check.profile_ms == pytest.approx(2 * sum(by_kind.values()) + 0.5)
    assert sum(row.profile_share for row in check.rows) == pytest.approx(1.0)
    assert sum(row.table_share for row in check.rows) == pytest.approx(1.0)
    norm = next(row for row in check.rows if row.operator.startswith("norm["))
    assert norm.profile_ms == 0
    assert check.moved_share == pytest.approx(norm.table_share)  # the others have the same proportions in both
    assert list(check.primitives_ms.items()) == [("Gemm", pytest.approx(check.profile_ms - 0.5)), ("Add", 0.5)]
    assert {row.operator for row in check.rows} == {str(cost.operator) for cost in found.costs}


def test_where_layers_cannot_be_told_the_kind_is_compared():
    latency, candidate = model(), tall()
    found = explain(latency, candidate)
    check = cross_check(found, latency, ScopedFamily(), [node("/block/Gemm", 1.0), node("/block.0/Gemm", 0.5)], 1.5)
    ffn = next(row for row in check.rows if row.operator == "ffn")
    assert ffn.profile_ms == 1.5
    assert ffn.table_ms == pytest.approx(sum(c.total_ms for c in found.costs if c.operator.kind == "ffn"))
    assert not any(row.operator.startswith("ffn[") for row in check.rows)


def test_a_family_without_scopes_is_compared_by_nothing_but_nodes():
    latency, candidate = model(), tall()
    check = cross_check(explain(latency, candidate), latency, TinyFamily(), [node("/block.0/Gemm", 1.0)], 1.5)
    assert (check.elsewhere_ms, check.moved_share, check.primitives_ms) == (1.0, None, {"MatMul": 1.0})
    assert check.rows == ()
