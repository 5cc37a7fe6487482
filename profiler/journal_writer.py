"""Writes a journal: created or continued, one writer at a time, every line whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from profiler.errors import JournalError
from profiler.journal import JournalHeader, parse_header, parse_lines


class Journal:
    """An append-only journal that this process alone may write. Close it, or use ``with``."""

    def __init__(self, path: Path, descriptor: int, header: JournalHeader, size_bytes: int) -> None:
        self.path = path
        self.header = header
        self._descriptor = descriptor
        self._size_bytes = size_bytes

    @classmethod
    def open(cls, path: Path, header: JournalHeader) -> Journal:
        """Create the journal, or continue the one at ``path`` if it is of the same run.

        A torn last line is cut off. Raises :class:`JournalError` if another process writes it,
        if it is damaged, or if it is of another run (what differs is named).
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            raise JournalError(f"cannot open journal {path}: {exc.strerror}") from exc
        try:
            _lock(descriptor, path)
            journal = cls._continued(path, descriptor, header)
            if journal is None:
                os.ftruncate(descriptor, 0)
                created = header.created or datetime.now(UTC).isoformat(timespec="seconds")
                journal = cls(path, descriptor, replace(header, created=created), 0)
                journal.append(journal.header.as_dict())
                journal.sync()
        except BaseException:
            os.close(descriptor)
            raise
        return journal

    @classmethod
    def _continued(cls, path: Path, descriptor: int, header: JournalHeader) -> Journal | None:
        records, whole = parse_lines(path.read_bytes(), path)
        if not records:
            return None
        found = parse_header(records[0], path)
        differing = difference(found, header)
        if differing is not None:
            raise JournalError(f"journal {path} is of another run: {differing}; give another --out, or delete it")
        os.ftruncate(descriptor, whole)
        return cls(path, descriptor, found, whole)

    def append(self, record: Mapping[str, object]) -> None:
        """Write one line through to the operating system: it survives this process being killed.

        Raises :class:`JournalError` if it cannot be written; the lines before stay as they were.
        """
        line = json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        written = 0
        try:
            while written < len(line):
                written += os.pwrite(self._descriptor, line[written:], self._size_bytes + written)
        except BaseException as exc:
            os.ftruncate(self._descriptor, self._size_bytes)
            if isinstance(exc, OSError):
                raise JournalError(
                    f"cannot write journal {self.path}: {exc.strerror}; what it holds is kept, run it again to go on"
                ) from exc
            raise
        self._size_bytes += len(line)

    def sync(self) -> None:
        """Force everything onto the disk: it survives the machine going down."""
        try:
            os.fsync(self._descriptor)
        except OSError as exc:
            raise JournalError(f"cannot write journal {self.path}: {exc.strerror}") from exc

    def records(self) -> list[dict[str, Any]]:
        """Everything written so far but the header."""
        return parse_lines(self.path.read_bytes(), self.path)[0][1:]

    def close(self) -> None:
        """Give the journal up to other writers."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _lock(descriptor: int, path: Path) -> None:
    import fcntl  # not on Windows, where journals can still be read

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        raise JournalError(f"journal {path} is being written by another process; wait for it or stop it") from exc


def difference(found: JournalHeader, wanted: JournalHeader) -> str | None:
    """The first thing in which two headers differ, in words; None if they are of the same run.

    A run may go on with another budget: :func:`profiler.measure` journals from which round on.
    """
    before = json.loads(json.dumps(found.as_dict()))
    after = json.loads(json.dumps(wanted.as_dict()))
    before["plan"]["budget_s"] = after["plan"]["budget_s"] = None
    for key in ("targets", "subject", "workload", "plan", "anchors", "items"):
        if before[key] == after[key]:
            continue
        if key == "targets":
            old, new = ([str(t) for t in header.targets] for header in (found, wanted))
            return f"its targets are {', '.join(old)}, wanted are {', '.join(new)}"
        if key == "anchors":
            return "it is told at another level: of another table, or of none"
        if key == "items":
            return _items_difference(before[key], after[key])
        for name in sorted(before[key].keys() | after[key].keys()):
            if before[key].get(name) != after[key].get(name):
                return f"its {key} has {name} {before[key].get(name)!r}, wanted is {after[key].get(name)!r}"
    return None


def _items_difference(before: list[dict[str, object]], after: list[dict[str, object]]) -> str:
    old, new = ({item["name"]: item for item in items} for items in (before, after))
    for name in [*old, *new]:
        if name not in new:
            return f"it has {name}, which is not wanted"
        if name not in old:
            return f"it lacks {name}"
        if old[name] != new[name]:
            keys = [key for key in new[name] if old[name].get(key) != new[name][key]]
            return f"{name} has another {keys[0]}"
    return "its items stand in another order"
