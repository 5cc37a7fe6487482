"""A small measurement on a board, disturbed on the way, and what must hold of its journal afterwards."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contracts.graphs import linear

from profiler import Journal, Plan, PlanItem, Program, Progress, measure, read_journal
from profiler.hardware import SshDevice
from profiler.ssh_sessions import SshSessions
from profiler.transports.ssh_wire import Patience

ITEMS, ROUNDS = 4, 2
QUICK = Patience(beat_s=0.2, silence_s=2.0, lease_s=6.0, start_s=20.0, reach_s=60.0, grace_s=1.0)
"""As the real one, for a minute that lasts a few seconds: where a test waits for silence, or for the end of a lease."""

PATIENT = Patience(beat_s=0.2, silence_s=30.0, lease_s=60.0, start_s=60.0, reach_s=60.0, grace_s=10.0)
"""Where it waits for neither: a machine that is busy with other things is not silent."""

Samples = dict[tuple[str, int], str]


@dataclass
class Run:
    """``folder`` holds graphs and journal; ``take`` goes on with the journal, ``at`` calls something before a visit."""

    folder: Path
    device: SshDevice
    patience: Patience = QUICK

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    def plan(self) -> Plan:
        items = [
            PlanItem(f"i{n}", "operator", Program.single(linear(self.folder / f"{n}.onnx", 4 + n)))
            for n in range(ITEMS)
        ]
        return Plan(tuple(items), rounds=ROUNDS)

    def take(self, at: dict[int, Callable[[], object]] | None = None) -> None:
        """Measure; ``at`` says what happens before the so-many-th visit of all."""
        todo = dict(at or {})

        def progress(seen: Progress) -> None:
            if seen.phase == "measure" and seen.done in todo:
                todo.pop(seen.done)()

        plan, threads = self.plan(), set(threading.enumerate())
        with SshSessions(self.device, patience=self.patience) as sessions:
            with sessions.open() as session:
                target = session.target
            with Journal.open(self.journal, plan.header([target], workload={}, subject={})) as journal:
                measure([sessions.open], plan, journal, progress)
        assert not todo, "it never came to that"
        assert {t for t in threading.enumerate() if not isinstance(t, threading.Timer)} - threads == set()

    def samples(self) -> Samples:
        """The lines of all samples by item and round; none may be taken twice."""
        found: Samples = {}
        for line in self.journal.read_text().splitlines():
            record = json.loads(line)
            if record.get("kind") == "sample":
                key = record["item"], record["round"]
                assert key not in found, f"{key} was taken twice"
                found[key] = line
        return found

    def check(self, before: Samples | None = None) -> None:
        """It is as if nothing had happened: the same items in the same rounds, and what was there before."""
        content = read_journal(self.journal)
        assert content.complete
        assert content.failed == {}
        found = self.samples()
        assert {(f"i{n}", number) for n in range(ITEMS) for number in range(ROUNDS)} <= set(found)
        assert {item for item, _ in found} == {f"i{n}" for n in range(ITEMS)}
        for key, line in (before or {}).items():
            assert found[key] == line
