"""The driver: parity, calibration, then randomised rounds over all items, each in fresh worker processes.

Nothing is timed here; a session's own clock does that. What is taken is journaled visit by visit,
so that a run that was stopped goes on where it was, in the middle of a round too. What comes next is
decided from the journal alone (:mod:`profiler.schedule`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from profiler.errors import JournalError, ParityError, SessionError
from profiler.evidence import Evidence
from profiler.fingerprint import fingerprint
from profiler.journal import parity_record
from profiler.journal_writer import Journal
from profiler.openings import Opener, Openings
from profiler.parity import check_parity
from profiler.plan import Plan, sample_ms
from profiler.program import Program
from profiler.schedule import Key, Step, affordable, is_done, round_order, round_steps, rounds_ahead, urgency_ms
from profiler.session import ReferenceWorkload, Sample, TimingSession
from profiler.warm_up import calibrate, least_sample_ms, warm_up

Phase = Literal["prepare", "measure"]

REFERENCE_SAMPLES = 5

_ATTEMPTS = 3
_FAILED_IN_A_ROW = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. In the phase ``prepare`` a step is an item's parity and calibration on a
    target, in ``measure`` a visit; ``total`` counts those known to be needed, and grows if it turns out
    that more are. ``seconds_left`` is None while nothing is known about it.
    """

    phase: Phase
    done: int
    total: int
    round: int
    rounds: int
    item: str
    seconds_left: float | None


def measure(
    openers: Sequence[Opener],
    plan: Plan,
    journal: Journal,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Bring ``journal`` to the end of ``plan``, repeating nothing it holds.

    Each of ``openers`` opens a session on one of the journal's targets: anew for every round,
    because programs differ by some per cent from process to process, and when a worker died or hung.
    A program that fails by itself is journaled as failed, and what else there is goes on.

    Raises :class:`ParityError` before anything of an artifact is timed whose outputs are not the
    reference's, :class:`JournalError` if the journal is of other items, targets or another CPU, or
    cannot be written, and :class:`profiler.SessionError` if a device fails again and again, or every program
    does. Everything taken until then, or until Ctrl-C, is in the journal.
    """
    items = {item.name: item.program.sha256 for item in plan.items}
    if items != {item.name: item.program for item in journal.header.items}:
        raise JournalError(f"journal {journal.path} is of other items than the plan's; give another --out")
    run = _Run(plan, journal, progress or (lambda _: None))
    if run.finished:
        return
    with closing(Openings(openers, journal.header.targets, plan.memory_limit_bytes)) as sessions:
        run.take(sessions)
        journal.sync()


class _Run:
    """The state of one call of :func:`measure`."""

    def __init__(self, plan: Plan, journal: Journal, progress: Callable[[Progress], None]) -> None:
        self._plan = plan
        self._journal = journal
        self._progress = progress
        self._limits = journal.header.plan
        self._targets = {str(target): target for target in journal.header.targets}
        self._steady = {name for name, target in self._targets.items() if target.clock == "virtual"}
        self._items = {item.name: item for item in plan.items}
        self._keys: list[Key] = [
            (target, name)
            for target in self._targets
            for name, item in self._items.items()
            if item.target in (None, target)
        ]
        self._evidence = Evidence.collected(journal.header, journal.records(), journal.path)
        self._given_up: dict[Key, str] = {}
        self._failed_in_a_row = 0
        self._sessions: Openings
        self._began = time.monotonic()
        self._before_s = self._evidence.elapsed_s()
        self._other_budget = plan.budget_s != self._evidence.budget_s
        self._round = self._evidence.next_round if self._other_budget else self._evidence.last_round
        self._planned: tuple[int, list[Step]] | None = None

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to take, nor to try again."""
        ended = self._evidence.ended and not self._other_budget
        return not self._evidence.failed and (ended or self._next() is None)

    def take(self, sessions: Openings) -> None:
        """Everything that is missing."""
        self._sessions = sessions
        if self._other_budget:  # from a round of its own on: a round is planned by one budget
            self._write({"kind": "budget", "budget_s": self._plan.budget_s, "round": self._round})
        self._environment("start", None)
        self._prepare()
        self._planned = None  # calibration says how far apart the references of a round are
        found = self._next()
        while found is not None:
            sessions.close()
            self._take_round(*found)
            self._journal.sync()
            found = self._next()
        if len(self._given_up) == len(self._keys):
            raise SessionError(next(iter(self._given_up.values())))
        self._environment("end", None)
        taken = len(self._evidence)
        self._progress(Progress("measure", taken, taken, self._round, self._plan.rounds, "", 0.0))

    def _next(self) -> tuple[int, list[Step]] | None:
        """The next round's number, and what is missing of it; None if nothing is to be taken any more."""
        while not self._spent:
            if self._planned is None or self._planned[0] != self._round:
                self._planned = self._round, self._steps(self._round)
            steps = self._planned[1]
            wanted = [step for step in steps if step.item is not None and self._key(step) not in self._given_up]
            if not wanted:
                return None
            missing = [step for step in steps if not self._has(step)]
            if missing:
                return self._round, missing
            self._round += 1
        return None

    def _steps(self, number: int) -> list[Step]:
        """The whole of a round, from what was taken before it."""
        measured = self._evidence.content(number).measurements
        done = {key: is_done(self._limits, measured.get(key), self._targets[key[0]].clock) for key in self._keys}
        self._ahead = {
            key: rounds_ahead(self._limits, measured.get(key), done[key])
            - (0 if (found := measured.get(key)) is None else len(found.rounds))
            for key in self._keys
            if key not in self._given_up
        }
        uses = {
            key: urgency_ms(measured.get(key), self._targets[key[0]].clock, self._items[key[1]].use)
            for key in self._keys
            if not done[key]
        }
        chosen = set(affordable(list(uses), uses, self._costs_s(number), self._left_s(number)))
        order = [self._keys[i] for i in round_order(self._plan.seed, number, len(self._keys))]
        visits_ms = {key: self._visit_ms(key) for key in self._keys}
        return round_steps([key for key in order if key in chosen], visits_ms, self._steady)

    def _left_s(self, number: int) -> float | None:
        """Seconds of the budget that visits of a round may take; None without one."""
        if self._plan.budget_s is None:
            return None
        return self._plan.budget_s - self._evidence.elapsed_s(number) - self._evidence.overhead_s(number)

    def _costs_s(self, number: int) -> Mapping[Key, float]:
        """What a visit to each item will take, loading it included: as the last one, or a guess."""
        return {key: self._evidence.visit_s(key, number) or 2e-3 * self._visit_ms(key) + 0.05 for key in self._keys}

    def _visit_ms(self, key: Key) -> float:
        """How long the samples of a visit last."""
        call_ms = self._evidence.call_ms.get(key, 0.0)
        return self._plan.samples * sample_ms(self._plan, self._evidence.calls.get(key, 1) * call_ms)

    def _key(self, step: Step) -> Key:
        return step.target, step.item or ""

    def _has(self, step: Step) -> bool:
        if step.workload is not None:
            return self._evidence.has_reference(step.target, self._round, step.position, step.workload)
        return self._key(step) in self._given_up or self._evidence.has(self._key(step), self._round)

    def _prepare(self) -> None:
        """Parity of every artifact and calls per sample of everything, where the journal lacks them."""
        began = time.monotonic()
        for target in [name for name in self._targets if name not in self._steady]:
            for workload in get_args(ReferenceWorkload):
                if (target, reference_item(workload)) not in self._evidence.calls:
                    self._reliably(target, partial(self._calibrate_reference, target, workload))
        todo = [key for key in self._keys if key not in self._evidence.calls or self._unproven(key)]
        for position, key in enumerate(todo):
            if self._spent:
                break
            spent = time.monotonic() - began
            left = spent / position * (len(todo) - position) if position else None
            self._progress(Progress("prepare", position, len(todo), 0, self._plan.rounds, key[1], left))
            self._attempt(key, partial(self._make_ready, key))
        self._journal.sync()

    def _take_round(self, number: int, steps: Sequence[Step]) -> None:
        self._environment("round", number)
        began = time.monotonic()
        ahead_ms = sum(self._visit_ms(key) * rounds for key, rounds in self._ahead.items())
        total = len(self._evidence) + sum(self._ahead.values())
        behind_ms = 0.0
        for step in steps:
            if self._spent:
                return
            if step.workload is not None:
                self._reliably(step.target, partial(self._take_reference, step, number, step.workload))
                continue
            key = self._key(step)
            pace = (time.monotonic() - began) / behind_ms if behind_ms else 1e-3
            left_s = max(0.0, ahead_ms - behind_ms) * pace
            self._progress(Progress("measure", len(self._evidence), total, number, self._plan.rounds, key[1], left_s))
            self._attempt(key, partial(self._take_sample, step, number))
            behind_ms += self._visit_ms(key)

    def _attempt(self, key: Key, work: Callable[[], None]) -> None:
        """Do it; after a failure, again in a new session; if that fails too, give the item up."""
        reason = ""
        for _ in range(_ATTEMPTS):
            self._sessions.get(key[0])
            try:
                work()
            except SessionError as exc:
                reason = str(exc)
                self._sessions.drop(key[0])
                continue
            self._failed_in_a_row = 0
            return
        self._write({"kind": "failure", "target": key[0], "item": key[1], "reason": reason})
        self._given_up[key] = reason
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= _FAILED_IN_A_ROW:
            raise SessionError(
                f"{self._failed_in_a_row} programs in a row failed on {key[0]}, the last with: {reason};"
                " what was taken is kept, run it again to go on"
            )

    def _reliably(self, target: str, work: Callable[[], None]) -> None:
        """Do what has nothing to do with a program; a device that fails at it again and again is an error."""
        for attempt in range(_ATTEMPTS):
            self._sessions.get(target)
            try:
                work()
                break
            except SessionError:
                self._sessions.drop(target)
                if attempt == _ATTEMPTS - 1:
                    raise

    def _take_sample(self, step: Step, number: int) -> None:
        key, item = self._key(step), self._items[self._key(step)[1]]
        if self._unproven(key):
            raise ParityError(f"{item.name} on {step.target} has no parity record; it is not timed")
        began = time.monotonic()
        session = self._sessions.get(step.target)
        counted = session.counters()
        handle, fresh = self._sessions.load(step.target, item)
        cold_ms = warm_up(session, handle, self._evidence.calls[key]) if fresh else None
        before = session.counters()
        taken = session.time(handle, self._evidence.calls[key], self._plan.samples)
        loading, facts = _grown(counted, before), _grown(before, session.counters())
        first_ms = loading.get("first_call_ns", 0) / 1e6
        facts |= {name: loading[name] for name in loading if name == "gpu_loaded_bytes"}
        self._write(
            {
                "kind": "sample",
                "target": step.target,
                "item": item.name,
                "program": item.program.sha256,
                "round": number,
                "position": step.position,
                "calls": self._evidence.calls[key],
                **_nanoseconds(taken),
                "facts": {name: value for name, value in facts.items() if name != "first_call_ns"},
                "cold_ms": first_ms or cold_ms,
                "took_s": round(time.monotonic() - began, 4),
            }
        )

    def _take_reference(self, step: Step, number: int, workload: ReferenceWorkload) -> None:
        session = self._sessions.get(step.target)
        calls = self._evidence.calls[step.target, reference_item(workload)]
        session.reference(workload, max(1, calls // 2))
        taken = session.reference(workload, calls, REFERENCE_SAMPLES)
        self._write(
            {
                "kind": "reference",
                "target": step.target,
                "round": number,
                "position": step.position,
                "workload": workload,
                "calls": calls,
                **_nanoseconds(taken),
            }
        )

    def _environment(self, at: str, number: int | None) -> None:
        """Write down what every machine is doing."""
        for target in self._targets:
            self._reliably(target, partial(self._write_facts, target, at, number))

    def _write_facts(self, target: str, at: str, number: int | None) -> None:
        session = self._sessions.get(target)
        facts = session.facts()
        self._evidence.check_same_cpu(target, facts, self._journal.path)
        state = {"fingerprint": fingerprint(facts, session.target.clock), "facts": facts}
        self._write({"kind": "environment", "target": target, "at": at, "round": number, **state})

    def _make_ready(self, key: Key) -> None:
        handle, _ = self._sessions.load(key[0], self._items[key[1]])
        session = self._sessions.get(key[0])
        self._prove(key, session, handle)
        if key not in self._evidence.calls:
            self._calibrate(key, lambda calls, samples: session.time(handle, calls, samples))

    def _unproven(self, key: Key) -> list[Program]:
        """The artifacts of an item, each as a program, that have no passing parity record."""
        unproven = {}
        for stage in self._items[key[1]].program.stages:
            parity = self._evidence.parity.get((key[0], stage.artifact.sha256))
            if parity is None or not parity.passed:
                unproven[stage.artifact.sha256] = Program.single(stage.artifact)
        return list(unproven.values())

    def _prove(self, key: Key, session: TimingSession, handle: str) -> None:
        for program in self._unproven(key):
            artifact = program.stages[0].artifact
            if program == self._items[key[1]].program:
                outputs = session.run(handle)
            else:
                alone = session.load(program)
                outputs = session.run(alone)
                session.unload(alone)
            parity = check_parity(artifact, outputs, key[0])
            self._write(parity_record(key[0], artifact.sha256, parity))

    def _calibrate_reference(self, target: str, workload: ReferenceWorkload) -> None:
        session = self._sessions.get(target)
        session.reference(workload, 1)
        self._calibrate(
            (target, reference_item(workload)), lambda calls, samples: session.reference(workload, calls, samples)
        )

    def _calibrate(self, key: Key, timed: Callable[[int, int], tuple[Sample, ...]]) -> None:
        least_ms = least_sample_ms(self._plan.min_sample_ms, self._evidence.resolution_ns(key[0]))
        calls, call_ms = calibrate(timed, self._targets[key[0]].clock, least_ms, key[0])
        self._write({"kind": "calibration", "target": key[0], "item": key[1], "calls": calls, "call_ms": call_ms})

    @property
    def _spent(self) -> bool:
        """Whether the budget is used up."""
        return self._plan.budget_s is not None and self._now_s() >= self._plan.budget_s

    def _now_s(self) -> float:
        """Seconds spent measuring, in this call and those before."""
        return self._before_s + time.monotonic() - self._began

    def _write(self, record: Mapping[str, object]) -> None:
        timed = {**record, "at_s": round(self._now_s(), 3)}
        self._journal.append(timed)
        self._evidence.add(timed)


def reference_item(workload: ReferenceWorkload) -> str:
    """The name by which the calls per sample of a reference workload are journaled."""
    return f"reference/{workload}"


def _nanoseconds(taken: Iterable[Sample]) -> dict[str, list[int]]:
    samples = list(taken)
    return {"wall_ns": [sample.wall_ns for sample in samples], "cpu_ns": [sample.cpu_ns for sample in samples]}


def _grown(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in before if name in after}
