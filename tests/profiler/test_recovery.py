"""Workers that die, hang or crash on one program: the run goes on, and says what failed."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="makes the graphs")

from contracts.fake_session import FakeSession
from contracts.graphs import linear

from profiler import (
    ConnectionLostError,
    Journal,
    LocalDevice,
    Plan,
    PlanItem,
    Program,
    Sample,
    SessionError,
    measure,
    open_session,
    read_journal,
    worker_session,
)
from profiler.schedule import most_rounds
from profiler.transports import local

FAKE = FakeSession().target


def make_plan(folder: Path, items: int = 4, **options: object) -> Plan:
    programs = [Program.single(linear(folder / f"{n}.onnx", 4 + n)) for n in range(items)]
    return Plan(tuple(PlanItem(f"i{n}", "operator", p) for n, p in enumerate(programs)), **{"rounds": 3, **options})


def take(path: Path, plan: Plan, opener, target=FAKE) -> None:
    with Journal.open(path, plan.header([target], workload={}, subject={})) as journal:
        measure([opener], plan, journal)


class Device:
    """Opens sessions that die at some of the device's requests, or whenever one of ``crashing`` is loaded."""

    def __init__(self, dies_at: set[int] | None = None, crashing: set[str] | None = None) -> None:
        self.dies_at, self.crashing = dies_at or set(), crashing or set()
        self.requests = self.opened = self.alive = 0

    def open(self) -> FakeSession:
        self.opened += 1
        self.alive += 1
        return Mortal(self)


class Mortal(FakeSession):
    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device, self.dead, self.closed = device, False, False

    def ask(self) -> None:
        self.device.requests += 1
        self.dead = self.dead or self.device.requests in self.device.dies_at
        if self.dead:
            raise SessionError("fake: the worker died: ended by signal 9")

    def load(self, program: Program) -> str:
        self.ask()
        if program.sha256 in self.device.crashing:
            self.dead = True
            raise SessionError("fake: load: it crashed")
        return super().load(program)

    def time(self, handle: str, calls: int, samples: int = 1) -> tuple[Sample, ...]:
        self.ask()
        return super().time(handle, calls, samples)

    def reference(self, workload: str, calls: int, samples: int = 1) -> tuple[Sample, ...]:
        self.ask()
        return super().reference(workload, calls, samples)

    def facts(self) -> dict[str, object]:
        self.ask()
        return super().facts()

    def close(self) -> None:
        self.device.alive -= not self.closed
        self.closed = True
        super().close()


def test_every_round_is_a_new_session(tmp_path: Path) -> None:
    device = Device()
    take(tmp_path / "j", make_plan(tmp_path, rounds=5), device.open)
    assert (device.opened, device.alive) == (1 + 5, 0)


@pytest.mark.parametrize("at", range(1, 131, 3))
def test_a_worker_that_dies_once_costs_nothing_but_a_session(tmp_path: Path, at: int) -> None:
    device = Device({at})
    take(tmp_path / "j", make_plan(tmp_path), device.open)
    content = read_journal(tmp_path / "j")
    assert content.complete
    assert content.failed == {}
    assert [len(found.rounds) for found in content.measurements.values()] == [3] * 4
    assert (device.opened, device.alive) == (1 + 3 + (at <= device.requests), 0)


def test_a_program_that_crashes_is_recorded_and_the_others_are_measured(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    device = Device(crashing={plan.items[1].program.sha256})
    take(tmp_path / "j", plan, device.open)
    content = read_journal(tmp_path / "j")
    assert content.failed == {(str(FAKE), "i1"): "fake: load: it crashed"}
    assert {name for _, name in content.measurements} == {"i0", "i2", "i3"}
    assert all(len(found.rounds) == 3 for found in content.measurements.values())
    assert not content.complete
    assert device.alive == 0


def test_what_failed_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    take(tmp_path / "j", plan, Device(crashing={plan.items[1].program.sha256}).open)
    before = read_journal(tmp_path / "j").measurements
    take(tmp_path / "j", plan, Device().open)
    content = read_journal(tmp_path / "j")
    assert content.complete
    assert content.failed == {}
    for key, found in before.items():
        assert content.measurements[key].rounds == found.rounds


def test_a_program_that_crashes_only_later_keeps_what_was_taken_of_it(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    device = Device()

    def crash_later() -> FakeSession:
        if device.opened == 2:
            device.crashing.add(plan.items[2].program.sha256)
        return device.open()

    take(tmp_path / "j", plan, crash_later)
    content = read_journal(tmp_path / "j")
    assert content.failed == {(str(FAKE), "i2"): "fake: load: it crashed"}
    assert len(content.measurements[str(FAKE), "i2"].rounds) == 1


def test_programs_that_all_fail_are_an_error(tmp_path: Path) -> None:
    for items, message in ((1, "it crashed"), (3, "it crashed"), (8, "5 programs in a row failed.*it crashed")):
        plan = make_plan(tmp_path, items)
        device = Device(crashing={item.program.sha256 for item in plan.items})
        with pytest.raises(SessionError, match=message):
            take(tmp_path / f"j{items}", plan, device.open)
        assert device.alive == 0


def test_a_device_that_cannot_be_reached_is_one_error_and_a_lapse_is_none(tmp_path: Path) -> None:
    plan, device, tries = make_plan(tmp_path), Device(), []

    def opener(lapses: int) -> FakeSession:
        tries.append(0)
        if len(tries) <= lapses:
            raise ConnectionLostError("fake: no route to host")
        return device.open()

    take(tmp_path / "lapse", plan, partial(opener, 2))
    assert read_journal(tmp_path / "lapse").complete
    tries.clear()
    with pytest.raises(ConnectionLostError, match="no route"):
        take(tmp_path / "gone", plan, partial(opener, 99))
    assert len(tries) == 3


def test_a_device_that_dies_at_everything_is_one_error(tmp_path: Path) -> None:
    device = Device(set(range(40, 10**6)))
    with pytest.raises(SessionError, match="the worker died"):
        take(tmp_path / "j", make_plan(tmp_path), device.open)
    assert device.alive == 0
    assert device.opened < 20
    take(tmp_path / "j", make_plan(tmp_path), Device().open)
    assert read_journal(tmp_path / "j").complete


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_real_worker_that_dies_or_hangs_in_a_round(tmp_path: Path, monkeypatch, how: signal.Signals) -> None:
    pytest.importorskip("onnxruntime", reason="the worker's runtime")
    monkeypatch.setattr(local, "_GRACE_S", 0.1)
    plan = make_plan(tmp_path, rounds=2)
    workers: list[worker_session.WorkerSession] = []

    def opener() -> worker_session.WorkerSession:
        session = open_session(LocalDevice(name="here", kind="local"))
        assert isinstance(session, worker_session.WorkerSession)
        workers.append(session)
        if len(workers) == 2:  # the first round's
            timed = session.time

            def time(handle: str, calls: int, samples: int = 1) -> tuple[Sample, ...]:
                with monkeypatch.context() as impatient:  # with this one alone: a busy machine's may be slow
                    if samples == plan.samples:
                        impatient.setattr(worker_session, "REPLY_TIMEOUT_S", 0.5)
                        os.kill(session.pid, how)
                    return timed(handle, calls, samples)

            session.time = time  # type: ignore[method-assign]
        return session

    with opener() as first:
        target = first.target
    workers.clear()
    take(tmp_path / "j", plan, opener, target)
    content = read_journal(tmp_path / "j")
    assert content.complete
    rounds = {taken.round for measured in content.measurements.values() for taken in measured.rounds}
    # the clocks are real: what a busy machine disturbed by a quarter is quarantined, and taken in further rounds
    assert plan.rounds <= len(rounds) <= most_rounds(content.header.plan)
    assert len(workers) == 1 + len(rounds) + 1
