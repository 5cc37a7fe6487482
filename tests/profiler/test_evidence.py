"""What the records of a journal say: corrected, quarantined, failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler import JournalError, JournalHeader, JournalItem, JournalPlan, Target
from profiler.evidence import Evidence
from profiler.outcome import Outcome

TARGET = Target("x86", "onnxruntime-1.0", 1, "wall")
NAME = str(TARGET)
HEADER = JournalHeader(
    targets=(TARGET,),
    workload={},
    subject={},
    items=(JournalItem("a", "operator", "pa"), JournalItem("b", "operator", "pb")),
    plan=JournalPlan(rounds=8, samples=3, min_sample_ms=2.0, seed=0),
)


def sample(item: str, number: int, ms: float = 1.0, position: int = 2, **more: object) -> dict[str, object]:
    ns = [int(ms * 1e6)] * 3
    record = {"kind": "sample", "target": NAME, "item": item, "program": "p", "round": number, "position": position}
    return {**record, "calls": 1, "wall_ns": ns, "cpu_ns": ns, "at_s": float(number), **more}


def references(number: int, ratio: float = 1.0) -> list[dict[str, object]]:
    """Both workloads at the start and the end of a round of two visits."""
    return [
        {
            "kind": "reference", "target": NAME, "round": number, "position": position, "workload": workload,
            "calls": 1, "wall_ns": [int(ratio * ns)] * 3, "cpu_ns": [int(ratio * ns)] * 3,
        }
        for position, workload, ns in ((0, "compute", 1e5), (1, "memory", 2e5), (4, "compute", 1e5), (5, "memory", 2e5))
    ]  # fmt: skip


def environment(number: int | None, **facts: object) -> dict[str, object]:
    return {"kind": "environment", "target": NAME, "at": "round" if number is not None else "end", "round": number,
            "facts": facts}  # fmt: skip


def evidence(*records: dict[str, object]) -> Evidence:
    found = Evidence(HEADER)
    for record in records:
        found.add(record)
    return found


def test_without_references_nothing_is_corrected() -> None:
    found = evidence(*(sample("a", n, 1.0 + n / 100) for n in range(8))).content().measurements[NAME, "a"]
    assert found.latency_ms("wall") == found.raw_latency_ms("wall") == pytest.approx(1.035)


def test_what_the_references_share_is_taken_out_and_raw_is_kept() -> None:
    records: list[dict[str, object]] = []
    for number in range(8):
        slow = 1.15 if number >= 5 else 1.0
        records += [*references(number, slow), sample("a", number, slow), sample("b", number, 2 * slow, position=3)]
    content = evidence(*records).content()
    for item, ms in (("a", 1.0), ("b", 2.0)):
        found = content.measurements[NAME, item]
        assert found.rounds_ms("wall") == pytest.approx([ms] * 8, rel=0.01)
        assert [r.raw_ms("wall") for r in found.rounds[5:]] == pytest.approx([1.15 * ms] * 3)
    assert content.drift[NAME].rounds[7]["compute"] == pytest.approx(1.15, rel=0.01)
    outcome = Outcome.of(content, TARGET)
    assert outcome.correction == pytest.approx((1 / 1.15, 1.0), rel=0.01)
    assert outcome.visits == 16


def test_a_device_far_beyond_its_level_is_quarantined() -> None:
    records: list[dict[str, object]] = []
    for number in range(8):
        slow = 1.6 if number == 4 else 1.0
        records += [*references(number, slow), sample("a", number, slow)]
    content = evidence(*records).content()
    found = content.measurements[NAME, "a"]
    assert found.used_rounds == (0, 1, 2, 3, 5, 6, 7)
    assert found.latency_ms("wall") == pytest.approx(1.0)
    assert not content.complete, "a quarantined round is to be repeated"
    outcome = Outcome.of(content, TARGET)
    assert sum(outcome.quarantined.values()) == 1
    assert "1 of 8 visits were quarantined (the device was" in str(outcome)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"steal_jiffies": 3}, "the host took the CPU away"),
        ({"steal_jiffies": 1}, None),  # one tick is what a visit of a few ms cannot tell from none
        ({"wall_ns": 3_500_000, "raw_ns": 3_000_000}, "the clock jumped"),
        ({"wall_ns": 3_001_000, "raw_ns": 3_000_000}, None),
        ({"nivcsw": 40}, None),
        ({}, None),
    ],
)
def test_what_was_counted_meanwhile_may_rule_a_visit_out(facts: dict[str, int], reason: str | None) -> None:
    content = evidence(sample("a", 0), sample("a", 1, facts=facts)).content()
    assert [r.quarantined for r in content.measurements[NAME, "a"].rounds] == [None, reason]


def test_a_clock_that_was_set_back_rules_a_visit_out() -> None:
    back = sample("a", 1) | {"wall_ns": [100_000] * 3}
    found = evidence(sample("a", 0), back).content().measurements[NAME, "a"]
    assert "clock" in (found.rounds[1].quarantined or "")


@pytest.mark.parametrize("bits", [(0x4, 0x0), (0x0, 0x40000), (0x0, 0x2)])
def test_a_board_that_throttled_within_a_round(bits: tuple[int, int]) -> None:
    found = evidence(
        environment(0, throttled_bits=0), sample("a", 0),
        environment(1, throttled_bits=bits[0]), sample("a", 1),
        environment(None, throttled_bits=bits[1]),
    ).content().measurements[NAME, "a"]  # fmt: skip
    assert (found.rounds[0].quarantined is None) == (bits[0] == 0), "what is throttled at its end was in it too"
    assert "throttled" in (found.rounds[1].quarantined or "")


def test_having_throttled_before_is_no_reason() -> None:
    found = evidence(
        environment(0, throttled_bits=0x50000), sample("a", 0), environment(None, throttled_bits=0x50000)
    ).content().measurements[NAME, "a"]  # fmt: skip
    assert found.rounds[0].quarantined is None


def test_a_failure_counts_until_the_item_was_sampled() -> None:
    failure = {"kind": "failure", "target": NAME, "item": "a", "reason": "it crashed"}
    failed = evidence(failure).content()
    assert failed.failed == {(NAME, "a"): "it crashed"}
    with pytest.raises(Exception, match=r"a was not measured on x86.*: it crashed"):
        failed.measured(TARGET, "a")
    with pytest.raises(Exception, match=r"b was not measured on x86.*: it was not reached"):
        failed.measured(TARGET, "b")
    again = evidence(failure, sample("a", 3)).content()
    assert again.failed == {}
    assert again.measured(TARGET, "a").used_rounds == (3,)


def test_what_came_later_does_not_count_for_the_rounds_before() -> None:
    found = evidence(*(record for n in range(4) for record in (*references(n), sample("a", n))))
    assert found.content(2).measurements[NAME, "a"].used_rounds == (0, 1)
    assert found.content(2) == evidence(*(r for n in range(2) for r in (*references(n), sample("a", n)))).content()
    assert (found.elapsed_s(2), found.elapsed_s()) == (1.0, 3.0)
    assert (found.last_round, len(found)) == (3, 4)


def test_what_the_host_took_is_counted_over_all_cores() -> None:
    records = [sample("a", 0), sample("a", 1, ms=100.0, facts={"steal_jiffies": 8})]
    for cores, reason in ((1, "the host took the CPU away"), (4, None)):
        found = evidence(environment(0, cores=cores), *records).content().measurements[NAME, "a"]
        assert found.rounds[1].quarantined == reason


def test_what_making_ready_took_is_of_no_round() -> None:
    calibration = {"kind": "calibration", "target": NAME, "item": "a", "calls": 1, "call_ms": 1.0, "at_s": 100.0}
    again = environment(None) | {"at": "start", "at_s": 150.0}
    found = evidence(calibration, sample("a", 0, at_s=103.0, took_s=2.0), again)
    assert (found.elapsed_s(0), found.elapsed_s(1), found.elapsed_s()) == (100.0, 103.0, 150.0)
    assert found.overhead_s(1) == pytest.approx(1.0)


@pytest.mark.parametrize("broken", [{"calls": 0}, {"wall_ns": ["x"]}, {"at_s": "soon"}, {"facts": None}])
def test_a_line_of_nonsense_is_named(broken: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"line 3 .*"):
        Evidence.collected(HEADER, [sample("a", 0), sample("a", 1) | broken], tmp_path / "j")


def test_another_cpu_is_refused_and_other_changes_are_told(tmp_path: Path) -> None:
    def started(**facts: object) -> dict[str, object]:
        return environment(None, cpu_model="Xeon", **facts) | {"at": "start"}

    found = evidence(started(kernel="6.1", gpu_name="T4"), sample("a", 0), started(kernel="6.2"))
    found.check_same_cpu(NAME, {"cpu_model": "Xeon"}, tmp_path)
    found.check_same_cpu(NAME, {}, tmp_path)
    with pytest.raises(JournalError, match=r"begun on Xeon, x86.* is Epyc now; give another --out"):
        found.check_same_cpu(NAME, {"cpu_model": "Epyc"}, tmp_path)
    with pytest.raises(JournalError, match=r"begun on T4, x86.* is A100 now; give another --out"):
        found.check_same_cpu(NAME, {"cpu_model": "Xeon", "gpu_name": "A100"}, tmp_path)
    outcome = Outcome.of(found.content(), TARGET)
    assert outcome.changed == ("kernel was 6.1, is 6.2",)
    assert "the device changed in the course of the run: kernel was 6.1, is 6.2" in str(outcome)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"throttles": 0}, None),  # it throttled in that round, and not during this visit
        ({"throttles": 1}, "the device was throttled"),
        ({"throttles": 0, "load_khz": 1_000_000}, "the board's clock was another"),
        ({"throttles": 0, "load_khz": 1_499_000}, None),
    ],
)
def test_what_a_board_tells_of_a_visit_counts_for_that_visit(told: dict[str, int], reason: str | None) -> None:
    full = {"throttles": 0, "load_khz": 1_500_000}
    content = evidence(
        environment(0, throttled_bits=0), sample("a", 0, facts=full), sample("b", 0, facts=full),
        environment(1, throttled_bits=0x4), sample("a", 1, facts=told), environment(None, throttled_bits=0x40000),
    ).content()  # fmt: skip
    assert [r.quarantined for r in content.measurements[NAME, "a"].rounds] == [None, reason]
    assert Outcome.of(content, TARGET).throttled == ("throttled",)
