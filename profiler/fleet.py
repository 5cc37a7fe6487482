"""Equal boards that share one plan: each measures a part at the same time, and what one leaves the others take."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from profiler.drift import DriftReport
from profiler.errors import BoardError, DeviceError, ProfilerError, SessionError, TransportError
from profiler.journal import Environment, JournalContent, Json, read_journal
from profiler.journal_writer import Journal
from profiler.measurement import Measurement
from profiler.measuring import Progress, measure
from profiler.openings import Opener
from profiler.parity import Parity
from profiler.plan import Plan, PlanItem
from profiler.schedule import Key, is_done
from profiler.target import Target

EQUAL = 0.03
"""Boards whose common operators differ by less than this share are equal: processes differ by as much."""

COMMON = 6
"""Operators that every board measures, to see whether they are equal."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What a fleet measured. ``content`` has one target, whose device names all boards with commas.

    ``ratios`` are the boards' latencies of the common operators over the first board's (medians), ``lost`` the reasons
    by board.
    """

    content: JournalContent
    target: Target
    ratios: Mapping[str, float]
    lost: Mapping[str, str]


def measure_shared(
    openers: Mapping[str, Opener],
    plan: Plan,
    folder: Path,
    *,
    workload: Json,
    subject: Json,
    progress: Callable[[Progress], None] = lambda seen: None,
) -> Shared:
    """Measure ``plan`` on boards by name, at least two; their journals are kept in ``folder``, and gone on with.

    Raises :class:`DeviceError` if the boards are not of one runtime, or not equal on common operators, or if the plan
    has a budget, and what :func:`measure` raises if no board is left.
    """
    if plan.budget_s is not None:
        raise DeviceError("a budget is one device's; leave it out for several")
    return _Fleet(openers, plan, folder, workload, subject, progress).run()


class _Fleet:
    """The state of one call of :func:`measure_shared`."""

    def __init__(
        self,
        openers: Mapping[str, Opener],
        plan: Plan,
        folder: Path,
        workload: Json,
        subject: Json,
        progress: Callable[[Progress], None],
    ) -> None:
        self._openers, self._plan, self._folder = dict(openers), plan, folder
        self._workload, self._subject = workload, subject
        self._show = progress
        self._items = {item.name: item for item in plan.items}
        self._targets = {board: _target_of(opener) for board, opener in openers.items()}
        first, *others = self._targets
        for other in others:
            if replace(self._targets[other], device=first) != self._targets[first]:
                raise DeviceError(
                    f"{first} and {other} cannot share one table: they are {self._targets[first]} and"
                    f" {self._targets[other]}"
                )
        self._lost: dict[str, ProfilerError] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._lock, self._stop = threading.Lock(), threading.Event()

    def run(self) -> Shared:
        common = _spread([item for item in self._plan.items if item.role == "operator"])
        journals = {board: self._begun("common", common, board) for board in self._openers}
        self._together({board: [path] for board, path in journals.items()})
        ratios = self._ratios(common, journals)
        self._require_equal(ratios, len(common))
        while todo := self._todo():
            self._together(todo)
        target = replace(next(iter(self._targets.values())), device=",".join(self._openers))
        return Shared(self._united(target), target, ratios, {board: str(error) for board, error in self._lost.items()})

    @property
    def _left(self) -> list[str]:
        """The boards that are not lost; raises the last one's error if there is none."""
        left = [board for board in self._openers if board not in self._lost]
        if not left:
            raise list(self._lost.values())[-1]
        return left

    def _journals(self) -> list[tuple[str, Path, JournalContent]]:
        """Board, path and content of every journal; the boards in the order they were given."""
        return [
            (board, path, read_journal(path))
            for board in self._openers
            for path in sorted(self._folder.glob(f"*.{board}.journal.jsonl"))
        ]

    def _todo(self) -> dict[str, list[Path]]:
        """By board the journals it has to go on with, and a new one for its part of what nobody has."""
        todo: dict[str, list[Path]] = {}
        taken: set[str] = set()
        for board, path, content in self._journals():
            if board not in self._left:
                taken |= set(_finished(content))
                continue
            taken |= {item.name for item in content.header.items}
            if not _ended(content):
                todo.setdefault(board, []).append(path)
        rest = [item for item in self._plan.items if item.name not in taken]
        boards = self._left
        for number, board in enumerate(boards):
            if share := rest[number :: len(boards)]:
                todo.setdefault(board, []).append(self._begun("share", share, board))
        return todo

    def _part(self, items: Sequence[PlanItem]) -> Plan:
        return replace(self._plan, items=tuple(items))

    def _begun(self, kind: str, items: Sequence[PlanItem], board: str) -> Path:
        """The journal of some items on a board: a new one, or the one that is there."""
        named = hashlib.sha256("\n".join(item.name for item in items).encode()).hexdigest()[:8]
        path = self._folder / f"{kind}-{named}.{board}.journal.jsonl"
        self._journal(path, items, board).close()
        return path

    def _journal(self, path: Path, items: Sequence[PlanItem], board: str) -> Journal:
        plan = replace(self._plan, items=tuple(items))
        return Journal.open(path, plan.header([self._targets[board]], workload=self._workload, subject=self._subject))

    def _together(self, work: Mapping[str, Sequence[Path]]) -> None:
        """Every board goes on with its journals, at the same time; a board that fails is lost."""
        failures: list[BaseException] = []
        threads = [
            threading.Thread(target=self._on_board, args=(board, paths, failures), name=board)
            for board, paths in work.items()
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            self._stop.set()
            for thread in threads:
                thread.join()
            raise
        if failures:
            raise failures[0]

    def _on_board(self, board: str, paths: Sequence[Path], failures: list[BaseException]) -> None:
        def progress(seen: Progress) -> None:
            if self._stop.is_set():
                raise _StoppedError
            with self._lock:
                self._seen[board] = seen.done, seen.total
                done, total = (sum(values) for values in zip(*self._seen.values(), strict=True))
                self._show(replace(seen, done=done, total=total))

        try:
            for path in paths:
                items = [self._items[item.name] for item in read_journal(path).header.items]
                with self._journal(path, items, board) as journal:
                    measure([self._openers[board]], replace(self._plan, items=tuple(items)), journal, progress)
        except _StoppedError:
            return
        except (TransportError, SessionError, BoardError) as exc:
            self._lost[board] = exc
        except BaseException as exc:  # no fault of the board's: raised in the thread that waits
            self._stop.set()
            failures.append(exc)

    def _ratios(self, common: Sequence[PlanItem], journals: Mapping[str, Path]) -> dict[str, float]:
        """The median ratio of each board's latencies to the first's, of those that measured all that is common."""
        latency_ms = {
            board: [content.measured(target, item.name).latency_ms(target.clock) for item in common]
            for board in self._left
            for target in [self._targets[board]]
            for content in [read_journal(journals[board])]
        }
        first = next(iter(latency_ms.values()))
        return {
            board: median(there / here for there, here in zip(found, first, strict=True))
            for board, found in latency_ms.items()
        }

    def _require_equal(self, ratios: Mapping[str, float], common: int) -> None:
        board = max(ratios, key=lambda name: abs(math.log(ratios[name])))
        if abs(math.log(ratios[board])) > math.log1p(EQUAL):
            raise DeviceError(
                f"{next(iter(ratios))} and {board} are not equal: {board} takes {ratios[board]:.2f} times as long"
                f" (median of {common} common operators; at most {1 + EQUAL:g} is noise); profile each for itself"
            )

    def _united(self, target: Target) -> JournalContent:
        """All that was measured, as if on one device; of what several measured, the first that finished counts."""
        name = str(target)
        measurements: dict[Key, Measurement] = {}
        parity: dict[Key, Parity] = {}
        calls: dict[Key, int] = {}
        failed: dict[Key, str] = {}
        environment: list[Environment] = []
        drift: dict[str, DriftReport] = {}
        elapsed_s = 0.0
        for _, _, content in self._journals():
            (own,) = content.header.targets
            for item in _finished(content):
                measurements.setdefault((name, item), content.measurements[str(own), item])
                calls.setdefault((name, item), content.calls[str(own), item])
            parity |= {(name, artifact): found for (_, artifact), found in content.parity.items()}
            failed |= {(name, item): reason for (_, item), reason in content.failed.items()}
            environment += [replace(entry, target=name) for entry in content.environment]
            drift |= content.drift
            elapsed_s = max(elapsed_s, content.elapsed_s)
        return JournalContent(
            self._plan.header([target], workload=self._workload, subject=self._subject),
            measurements,
            parity,
            tuple(environment),
            calls,
            drift,
            {key: reason for key, reason in failed.items() if key not in measurements},
            elapsed_s,
        )


class _StoppedError(Exception):
    """Whoever waits for this thread gave up."""


def _ended(content: JournalContent) -> bool:
    """Whether its run came to its end."""
    return bool(content.environment) and content.environment[-1].at == "end"


def _finished(content: JournalContent) -> list[str]:
    """The items that need not be measured again."""
    (target,) = content.header.targets
    return [
        item.name
        for item in content.header.items
        if (key := (str(target), item.name)) in content.measurements
        and key not in content.failed
        and (_ended(content) or is_done(content.header.plan, content.measurements[key], target.clock))
    ]


def _spread(items: Sequence[PlanItem]) -> list[PlanItem]:
    """Some items, evenly from all of them."""
    return [items[i * len(items) // min(COMMON, len(items))] for i in range(min(COMMON, len(items)))]


def _target_of(opener: Opener) -> Target:
    with closing(opener()) as session:
        return session.target
