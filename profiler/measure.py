"""The driver: parity, calibration, then randomised rounds over all items on all sessions.

Nothing is timed here; a session's own clock does that. What is taken is journaled visit by visit,
so that a run that was stopped goes on where it was, in the middle of a round too.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from profiler.errors import JournalError, ParityError, ProfilerError, SessionError
from profiler.journal import parity_record
from profiler.journal_writer import Journal
from profiler.loaded import LoadedPrograms
from profiler.parity import Parity, check_parity
from profiler.plan import MAX_SAMPLE_MS, Plan, PlanItem, sample_ms
from profiler.program import Program
from profiler.session import Sample, TimingSession

Phase = Literal["prepare", "measure"]

_GROWTH = 10
_STATIONARY = 0.05
_MAX_WARM_UPS = 5
_MAX_CALLS = 10**8


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. In the phase ``prepare`` a step is an item's parity and calibration on a
    target, in ``measure`` a visit; ``seconds_left`` is None while nothing is known about it.
    """

    phase: Phase
    done: int
    total: int
    round: int
    rounds: int
    item: str
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class _Visit:
    """One item on one session."""

    session: TimingSession
    item: PlanItem

    @property
    def key(self) -> tuple[str, str]:
        return str(self.session.target), self.item.name


def measure(
    sessions: Sequence[TimingSession],
    plan: Plan,
    journal: Journal,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Bring ``journal`` to the end of ``plan`` on ``sessions``, repeating nothing it holds.

    Raises :class:`ParityError` before anything of an artifact is timed whose outputs are not the
    reference's, :class:`JournalError` if the journal is of other items or targets or cannot be
    written, and :class:`profiler.SessionError` if a device fails. Everything taken until then, or
    until Ctrl-C, is in the journal.
    """
    _check_same(sessions, plan, journal)
    run = _Run(sessions, plan, journal, progress or (lambda _: None))
    if run.complete:
        return
    try:
        run.environment("start", None)
        run.prepare()
        run.rounds()
        run.environment("end", None)
        journal.sync()
    finally:
        run.close()


def round_order(seed: int, number: int, visits: int) -> list[int]:
    """The order of a round's visits; from seed and round alone, in any process."""
    order = list(range(visits))
    random.Random(f"{seed}/{number}").shuffle(order)
    return order


class _Run:
    """The state of one call of :func:`measure`."""

    def __init__(
        self,
        sessions: Sequence[TimingSession],
        plan: Plan,
        journal: Journal,
        progress: Callable[[Progress], None],
    ) -> None:
        self._sessions = sessions
        self._plan = plan
        self._journal = journal
        self._progress = progress
        self._visits = [_Visit(session, item) for session in sessions for item in plan.items]
        self._loaded = LoadedPrograms(plan.memory_limit_bytes)
        content = journal.content()
        self._parity: dict[tuple[str, str], Parity] = dict(content.parity)
        self._calls = dict(content.calls)
        self._done = {
            (*key, taken.round) for key, measured in content.measurements.items() for taken in measured.rounds
        }
        self._call_ms: dict[tuple[str, str], float] = {
            key: measured.latency_ms("wall") for key, measured in content.measurements.items()
        }

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to take."""
        return len(self._done) >= self._plan.rounds * len(self._visits)

    def close(self) -> None:
        """Unload everything, unless a session has failed: then there is nothing to save."""
        try:
            self._loaded.clear()
        except ProfilerError:
            return

    def environment(self, at: str, number: int | None) -> None:
        """Write down what every machine is doing."""
        for session in self._sessions:
            self._journal.append(
                {
                    "kind": "environment",
                    "target": str(session.target),
                    "at": at,
                    "round": number,
                    "facts": session.facts(),
                }
            )

    def prepare(self) -> None:
        """Parity of every artifact and calls per sample of every item, where the journal lacks them."""
        started = time.monotonic()
        todo = [visit for visit in self._visits if visit.key not in self._calls or self._unproven(visit)]
        for position, visit in enumerate(todo):
            spent = time.monotonic() - started
            left = spent / position * (len(todo) - position) if position else None
            self._progress(Progress("prepare", position, len(todo), 0, self._plan.rounds, visit.item.name, left))
            handle, _ = self._loaded.get(visit.session, visit.item)
            self._prove(visit, handle)
            if visit.key not in self._calls:
                self._calibrate(visit, handle)
        self._journal.sync()

    def rounds(self) -> None:
        """Visit everything that is still missing, round by round."""
        total = self._plan.rounds * len(self._visits)
        weights = [self._weight_ms(visit) for visit in self._visits]
        ahead = sum(
            weight
            for number in range(self._plan.rounds)
            for visit, weight in zip(self._visits, weights, strict=True)
            if (*visit.key, number) not in self._done
        )
        behind, started = 0.0, time.monotonic()
        for number in range(self._plan.rounds):
            order = round_order(self._plan.seed, number, len(self._visits))
            missing = [i for i in order if (*self._visits[i].key, number) not in self._done]
            if missing:
                self.environment("round", number)
            for index in missing:
                spent = time.monotonic() - started
                pace = spent / behind if behind else 1e-3
                visit = self._visits[index]
                name = visit.item.name
                done = len(self._done)
                self._progress(Progress("measure", done, total, number, self._plan.rounds, name, ahead * pace))
                self._sample(visit, number)
                ahead, behind = ahead - weights[index], behind + weights[index]
            if missing:
                self._journal.sync()
        self._progress(Progress("measure", total, total, self._plan.rounds, self._plan.rounds, "", 0.0))

    def _sample(self, visit: _Visit, number: int) -> None:
        if self._unproven(visit):
            raise ParityError(f"{visit.item.name} on {visit.session.target} has no parity record; it is not timed")
        handle, fresh = self._loaded.get(visit.session, visit.item)
        calls = self._calls[visit.key]
        if fresh:
            visit.session.time(handle, calls, 1)
        taken = visit.session.time(handle, calls, self._plan.samples)
        self._journal.append(
            {
                "kind": "sample",
                "target": visit.key[0],
                "item": visit.item.name,
                "program": visit.item.program.sha256,
                "round": number,
                "calls": calls,
                "wall_ns": [sample.wall_ns for sample in taken],
                "cpu_ns": [sample.cpu_ns for sample in taken],
            }
        )
        self._done.add((*visit.key, number))

    def _unproven(self, visit: _Visit) -> list[Program]:
        """The artifacts of an item, each as a program, that have no passing parity record."""
        target = visit.key[0]
        unproven = {}
        for stage in visit.item.program.stages:
            parity = self._parity.get((target, stage.artifact.sha256))
            if parity is None or not parity.passed:
                unproven[stage.artifact.sha256] = Program.single(stage.artifact)
        return list(unproven.values())

    def _prove(self, visit: _Visit, handle: str) -> None:
        target = visit.key[0]
        for program in self._unproven(visit):
            artifact = program.stages[0].artifact
            if program == visit.item.program:
                outputs = visit.session.run(handle)
            else:
                alone = visit.session.load(program)
                outputs = visit.session.run(alone)
                visit.session.unload(alone)
            parity = check_parity(artifact, outputs, target)
            self._journal.append(parity_record(target, artifact.sha256, parity))
            self._parity[target, artifact.sha256] = parity

    def _calibrate(self, visit: _Visit, handle: str) -> None:
        calls, call_ms = calibrate(visit.session, handle, self._plan.min_sample_ms)
        self._journal.append(
            {
                "kind": "calibration",
                "target": visit.key[0],
                "item": visit.item.name,
                "calls": calls,
                "call_ms": call_ms,
            }
        )
        self._calls[visit.key] = calls
        self._call_ms[visit.key] = call_ms

    def _weight_ms(self, visit: _Visit) -> float:
        call_ms = self._call_ms.get(visit.key, 0.0)
        return self._plan.samples * sample_ms(self._plan, self._calls[visit.key] * call_ms)


def calibrate(session: TimingSession, handle: str, min_sample_ms: float) -> tuple[int, float]:
    """Calls per sample so that one lasts ``min_sample_ms`` to 50 ms, and a call's latency in ms.

    Warms the program up meanwhile: it goes on until two samples in a row differ by less than 5 %
    (five more at most). A call longer than 50 ms makes a sample of its own.
    """
    clock = session.target.clock
    calls = 1
    call_ms = _call_ms(session.time(handle, calls, 1)[0], clock)
    while calls * call_ms < min_sample_ms:
        grown = min(calls * _GROWTH, math.ceil(1.1 * min_sample_ms / call_ms)) if call_ms > 0 else calls * _GROWTH
        calls = max(calls + 1, grown)
        if calls > _MAX_CALLS:
            raise SessionError(f"{session.target}: the clock stands still: {calls} calls took no time")
        call_ms = _call_ms(session.time(handle, calls, 1)[0], clock)
    for _ in range(_MAX_WARM_UPS):
        before, call_ms = call_ms, _call_ms(session.time(handle, calls, 1)[0], clock)
        if abs(before - call_ms) <= _STATIONARY * before:
            break
    if call_ms > 0:  # the first samples were cold: by now the same calls may take less
        calls = max(1, math.ceil(1.1 * min_sample_ms / call_ms))
        if calls * call_ms > MAX_SAMPLE_MS:
            calls = max(1, int(MAX_SAMPLE_MS / call_ms))
    return calls, call_ms


def _call_ms(sample: Sample, clock: str) -> float:
    return (sample.wall_ns if clock == "wall" else sample.cpu_ns) / sample.calls / 1e6


def _check_same(sessions: Sequence[TimingSession], plan: Plan, journal: Journal) -> None:
    targets = [str(session.target) for session in sessions]
    if sorted(targets) != sorted(map(str, journal.header.targets)) or len(set(targets)) < len(targets):
        wanted = ", ".join(map(str, journal.header.targets))
        raise JournalError(f"journal {journal.path} is of {wanted}; the sessions are {', '.join(targets)}")
    items = {item.name: item.program.sha256 for item in plan.items}
    if items != {item.name: item.program for item in journal.header.items}:
        raise JournalError(f"journal {journal.path} is of other items than the plan's; give another --out")
