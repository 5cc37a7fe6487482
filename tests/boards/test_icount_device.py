"""A device with a virtual clock: what it may be, what runs on it, and that its numbers say what they are."""

from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="makes the graphs")

from contracts.fake_session import FakeSession
from contracts.graphs import linear

from hwnas.sampling import Sampling
from latency_luts import LatencyLut, LutError, LutMismatchError, OperatorSpec
from latency_luts.diff import compare
from profiler import (
    DeviceError,
    Journal,
    JournalError,
    Plan,
    PlanItem,
    Program,
    Target,
    load_devices,
    measure,
    read_journal,
)
from profiler.devices import require_measures, require_times
from profiler.outcome import Outcome

VIRTUAL = Target("icount", "onnxruntime-1", 1, "virtual")
FFN = OperatorSpec.of("ffn", embed=32)
ENTRY = "devices:\n  icount: {kind: ssh, host: here, source: virtual-clock}\n  pi4: {kind: ssh, host: there}\n"


def plan_of(folder: Path) -> Plan:
    return Plan((PlanItem(str(FFN), "operator", Program.single(linear(folder / "ffn.onnx", 8))),), rounds=3, samples=2)


def taken(path: Path, target: Target, plan: Plan) -> FakeSession:
    session = FakeSession(target, disturbance=lambda _: 7.0)
    with Journal.open(path, plan.header([target], workload={}, subject={})) as journal:
        measure([lambda: session], plan, journal)
    return session


@pytest.mark.parametrize("wrong", ["emulated: true", "threads: 2", "clock: wall"])
def test_it_counts_the_instructions_of_one_thread(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "devices.yaml").write_text(ENTRY.replace("virtual-clock", f"virtual-clock, {wrong}"))
    with pytest.raises(DeviceError, match=f"leave {wrong.partition(':')[0]} out"):
        load_devices(tmp_path / "devices.yaml")


def test_tables_are_built_there_and_nothing_else_is_timed(tmp_path: Path) -> None:
    (tmp_path / "devices.yaml").write_text(ENTRY)
    known = load_devices(tmp_path / "devices.yaml")
    icount, board = known.get("icount"), known.get("pi4")
    assert (icount.effective_clock, board.effective_clock) == ("virtual", "thread_cpu")
    assert "no latency is told" in icount.note
    require_times(icount)
    require_measures(board)
    with pytest.raises(DeviceError, match="'icount' has a virtual clock: it builds tables"):
        require_measures(icount)
    assert (Sampling.usual(icount).rounds, Sampling.usual(icount).half_width) == (3, None)
    assert Sampling.usual(board) == Sampling()


def test_rounds_there_need_no_references(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    counted, timed = (
        taken(tmp_path / clock, Target("icount", "onnxruntime-1", 1, clock), plan) for clock in ("virtual", "wall")
    )
    asked = partial(filter, lambda entry: entry[0] == "reference")
    assert list(asked(counted.log)) == []
    assert len(list(asked(timed.log))) > 6
    content = read_journal(tmp_path / "virtual")
    assert content.complete
    found = content.measurements[str(VIRTUAL), str(FFN)]
    assert [r.quarantined for r in found.rounds] == [None] * 3
    assert found.latency_ms("virtual") == 0.5, "the CPU's clock; the wall's was disturbed"
    told = Outcome.of(content, VIRTUAL)
    assert told.statuses == {}
    assert str(told).startswith("instructions counted; ")


def test_a_journal_of_it_goes_on_by_no_other_clock(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    taken(tmp_path / "j", VIRTUAL, plan)
    with pytest.raises(JournalError, match="virtual"):
        taken(tmp_path / "j", Target("icount", "onnxruntime-1", 1, "thread_cpu"), plan)


def test_its_tables_say_so_and_are_compared_with_no_measured_one(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    tables = []
    for clock in ("virtual", "thread_cpu"):
        target = Target("icount", "onnxruntime-1", 1, clock)
        taken(tmp_path / clock, target, plan)
        LatencyLut.derive(read_journal(tmp_path / clock), target).save(tmp_path / f"{clock}.lut.jsonl")
        tables.append(LatencyLut.load(tmp_path / f"{clock}.lut.jsonl"))
    counted, measured = tables
    assert (counted.source, measured.source) == ("virtual-clock", "measured")
    assert counted.origin.startswith("virtual-clock by an emulator")
    assert (counted.rows[FFN].interval_ms, counted.rows[FFN].status) == (None, None)
    assert measured.rows[FFN].interval_ms is not None
    with pytest.raises(LutError, match="is virtual-clock: it has no error"):
        counted.uncertainty()
    with pytest.raises(LutMismatchError, match="differ in their source"):
        compare(counted, measured)
