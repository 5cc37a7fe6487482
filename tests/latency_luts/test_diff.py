"""What two tables differ by: nothing if only noise is between them, and exactly what was changed otherwise."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from latency_luts import DISPATCH, LatencyLut, LutMismatchError, OperatorRow, OperatorSpec, Subject
from latency_luts.diff import compare
from profiler.target import Target

OPERATORS = (DISPATCH, *(OperatorSpec.of("ffn", embed=32 * n) for n in range(1, 40)))
TRUE_MS = {operator: 0.01 * (n + 1) for n, operator in enumerate(OPERATORS)}


def session(seed: int, *, noise: float = 0.01, level: float = 0.0, more: float = 1.0, **slower: float) -> LatencyLut:
    """A table of one session; its intervals tell ``noise``, its rows differ ``more`` times that."""
    rng = np.random.default_rng(seed)
    common = float(np.exp(level * rng.normal()))
    rows = {}
    for operator, true_ms in TRUE_MS.items():
        latency_ms = true_ms * common * slower.get(operator.kind, 1.0) * float(np.exp(more * noise * rng.normal()))
        interval = (latency_ms * (1 - 1.96 * noise), latency_ms * (1 + 1.96 * noise))
        rows[operator] = OperatorRow(operator, latency_ms, 10, 50, "sha", 0.0, interval_ms=interval)
    target = Target("here", "runtime-1", 1, "thread_cpu")
    return LatencyLut(target, {"batch": 1}, Subject("g2p", "abc"), rows, session_sd=level)


@pytest.mark.parametrize("more", [1.0, 2.0])
def test_noise_alone_is_no_change(more: float) -> None:
    told = [compare(session(2 * n, more=more), session(2 * n + 1, more=more)) for n in range(100)]
    assert sum(found.changed for found in told) <= 5 + 3 * (100 * 0.05 * 0.95) ** 0.5
    assert all(found.missing == found.added == found.described == () for found in told)


def test_a_device_whose_level_is_known_to_wander_has_not_shifted_by_it() -> None:
    told = [compare(session(2 * n, level=0.03), session(2 * n + 1, level=0.03)) for n in range(100)]
    assert sum(found.shifted for found in told) <= 5 + 3 * (100 * 0.05 * 0.95) ** 0.5


def test_the_interval_of_a_ratio_holds_the_truth() -> None:
    inside = total = 0
    for n in range(50):
        for change in compare(session(2 * n), session(2 * n + 1), confidence=0.95).operators:
            assert change.interval is not None
            inside += change.interval[0] <= 1 <= change.interval[1]
            total += 1
    assert inside / total >= 0.99  # 95 % for all 40 together


def test_one_operator_that_changed_is_named() -> None:
    before, after = session(0), session(1)
    slow = OPERATORS[7]
    row = after.rows[slow]
    interval = (1.1 * row.interval_ms[0], 1.1 * row.interval_ms[1])  # type: ignore[index]
    after = replace(
        after, rows={**after.rows, slow: replace(row, latency_ms=1.1 * row.latency_ms, interval_ms=interval)}
    )
    found = compare(before, after)
    assert found.changed
    assert not found.shifted
    (change,) = [change for change in found.operators if change.changed]
    assert change.operator == str(slow)
    assert change.ratio == pytest.approx(1.1, rel=0.05)
    assert change.interval is not None
    assert change.interval[0] > 1
    assert json.loads(json.dumps(found.as_dict()))["changed"] is True


def told(table: LatencyLut, compute_ms: float, **facts: object) -> LatencyLut:
    """The table as of a session in which the compute reference took so long."""
    return replace(table, drift={"levels_ms": {"compute": compute_ms}}, environment={"start": {"numpy": "2", **facts}})


def test_a_device_that_is_slower_by_its_references_is_no_change() -> None:
    before, after = told(session(0), 0.1), told(session(1, ffn=1.07, dispatch=1.07), 0.107)
    found = compare(before, after)
    assert not found.changed
    assert found.level == pytest.approx(1.07)
    slow = next(change for change in found.operators if change.operator == str(OPERATORS[7]))
    assert slow.after_ms == pytest.approx(after.rows[OPERATORS[7]].latency_ms / 1.07)
    assert slow.ratio == pytest.approx(slow.after_ms / slow.before_ms)
    assert found.shift == pytest.approx(1.0, abs=0.01)
    other_runtime = replace(after, target=replace(after.target, runtime="runtime-2"))
    assert not compare(before, other_runtime).shifted, "the references are no runtime's"
    on_gpu = replace(after, target=replace(after.target, runtime="runtime-1+cuda"))
    assert compare(before, on_gpu).level is None, "there they are other workloads"


@pytest.mark.parametrize(
    ("compute_ms", "facts", "level"), [(0.1, {}, 1.0), (0.107, {"numpy": "3"}, None), (0.2, {}, None)]
)
def test_what_the_references_do_not_tell_is_a_shift(compute_ms: float, facts: dict, level: float | None) -> None:
    found = compare(told(session(0), 0.1), told(session(1, ffn=1.07), compute_ms, **facts))
    assert found.shifted
    assert found.level == level


def test_everything_slower_at_once_is_a_shift_and_no_change_of_any_operator() -> None:
    found = compare(session(0), session(1, ffn=1.07))
    assert found.shifted
    assert found.shift == pytest.approx(1.07, rel=0.01)
    assert found.shift_interval[0] < 1.07 < found.shift_interval[1]
    assert [change.operator for change in found.operators if change.changed] == [str(DISPATCH)]


def test_many_operators_that_are_slower_cannot_hide_behind_their_own_scatter() -> None:
    after = session(1)
    rows = {
        op: replace(row, latency_ms=1.2 * row.latency_ms) if n % 5 < 2 else row
        for n, (op, row) in enumerate(after.rows.items())
    }
    found = compare(session(0), replace(after, rows=rows))
    assert sum(change.changed and change.ratio > 1.1 for change in found.operators) == 16


def test_what_is_certain_but_small_counts_only_beyond_the_tolerance() -> None:
    before, after = (
        told(session(0, noise=1e-4), 0.1),
        told(session(1, noise=1e-4, ffn=1.03, dispatch=1.03), 0.1),
    )
    assert not compare(before, after, tolerance=0.05).changed
    assert compare(before, after).shifted


def test_older_tables_tell_their_noise_by_the_spread_of_their_rounds() -> None:
    def older(lut: LatencyLut, **metrics: float) -> LatencyLut:
        rows = {op: replace(row, interval_ms=None, metrics=metrics) for op, row in lut.rows.items()}
        return replace(lut, rows=rows)

    found = compare(older(session(0), spread=0.03), older(session(1), spread=0.03))
    assert all(change.interval is not None for change in found.operators)
    unknown = compare(older(session(0)), older(session(1)))
    assert all(change.interval is None and not change.changed for change in unknown.operators)


def test_estimates_repeat_exactly_so_any_difference_counts() -> None:
    engine = {"engine": "systolic", "version": "1", "configuration": "ab", "fidelity": "exact"}
    before = replace(session(0), source="estimated", provenance=engine)
    assert not compare(before, before).changed
    row = before.rows[OPERATORS[3]]
    rows = {**before.rows, OPERATORS[3]: replace(row, latency_ms=1.001 * row.latency_ms)}
    found = compare(before, replace(before, rows=rows, provenance={**engine, "version": "2"}))
    assert [change.operator for change in found.operators if change.changed] == [str(OPERATORS[3])]
    assert "'version': '2'" in found.described[0]


def test_operators_that_are_gone_or_new_are_a_change() -> None:
    whole = session(0)
    less = replace(whole, rows={op: row for op, row in whole.rows.items() if op != OPERATORS[5]})
    assert (compare(whole, less).missing, compare(less, whole).added) == ((str(OPERATORS[5]),),) * 2
    assert compare(whole, less).changed
    assert compare(less, whole).changed


def test_a_row_of_nothing_counts_as_none() -> None:
    whole = session(0)
    free = replace(whole.rows[DISPATCH], latency_ms=0.0, interval_ms=None)
    without = replace(whole, rows={**whole.rows, DISPATCH: free})
    assert not compare(without, without).changed
    assert compare(whole, without).missing == (str(DISPATCH),)


def test_what_cannot_be_compared_is_refused() -> None:
    one = session(0)
    engine = {"engine": "systolic", "version": "1", "configuration": "ab", "fidelity": "exact"}
    with pytest.raises(LutMismatchError, match=r"differ in their source \(measured, estimated\)"):
        compare(one, replace(one, source="estimated", provenance=engine))
    with pytest.raises(LutMismatchError, match=r"differ in their clock \(thread_cpu, wall\)"):
        compare(one, replace(one, target=replace(one.target, clock="wall")))
    with pytest.raises(LutMismatchError, match="no operator in common"):
        compare(one, replace(one, rows={OperatorSpec.of("other"): next(iter(one.rows.values()))}))
    with pytest.raises(LutMismatchError, match="a confidence of 2 is none"):
        compare(one, one, confidence=2)


def test_what_else_differs_is_described() -> None:
    one = replace(session(0), fingerprint="aa")
    other = replace(one, fingerprint="bb", target=replace(one.target, runtime="runtime-2"))
    target, state = compare(one, other).described
    assert target == "target: here/runtime-1/threads=1/thread_cpu before, here/runtime-2/threads=1/thread_cpu after"
    assert state == "state of the device: aa before, bb after"
