"""One measurement at a time on a device: a lock of its host, which the system takes back from the dead.

The lock is a file of the host's name in a folder that all users of this machine share. What
counts is ``flock`` on it, which ends with the process; what stands in it says who holds it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from profiler.errors import DeviceBusyError, ProfilerError

FOLDER_VARIABLE = "HWNAS_LOCKS"
"""Environment variable: another folder for the locks, such as one that containers share."""

_held: set[Path] = set()
"""The locks that this process holds; a process id in one says nothing, for containers number on their own."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who measures: process id, command line, since when (seconds since 1970), and from which host if by SSH."""

    pid: int
    command: str
    since_s: float
    host: str | None = None

    def __str__(self) -> str:
        return self.told(time.time())

    def told(self, now_s: float) -> str:
        """In words, ``now_s`` by the clock that ``since_s`` was told on."""
        who = f"process {self.pid}" if self.host is None else self.host
        return f"{who} ({self.command}), for {max(0, round((now_s - self.since_s) / 60))} min now"


def lock_path(host: str) -> Path:
    """The file whose lock stands for ``host``; ``TMPDIR`` does not count, for it may differ by user."""
    folder = os.environ.get(FOLDER_VARIABLE) or "/tmp"
    return Path(folder) / f"hwnas-{re.sub(r'[^A-Za-z0-9._-]', '_', host)}.lock"


@contextmanager
def alone_on(*hosts: str, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the locks of ``hosts`` (each once, in one order, so that two can not block one another).

    If another process measures there, tell ``waiting`` who it is and wait for its end; without
    ``waiting`` raise :class:`DeviceBusyError`, as for a lock that this process holds already.
    Without ``flock`` (Windows) nothing is locked.
    """
    with ExitStack() as held:
        for host in sorted(set(hosts)):
            held.enter_context(_alone_on(host, waiting))
        yield


@contextmanager
def _alone_on(host: str, waiting: Callable[[str], None] | None) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    import fcntl

    path = lock_path(host)
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            who = str(holder) if holder is not None else "another process"
            if path in _held:
                raise DeviceBusyError(f"{host}: this process measures there already; let it finish first") from None
            if waiting is None:
                raise DeviceBusyError(
                    f"{host}: {who} measures there, and two at once would disturb each other; wait for it (--wait),"
                    " or end it"
                ) from None
            waiting(f"{host}: {who} measures there; waiting for it to end")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        _write(descriptor, json.dumps(asdict(Holder(os.getpid(), command_line(), round(time.time(), 3)))))
        _held.add(path)
        try:
            yield
        finally:
            _held.discard(path)
            _write(descriptor, "")
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """The lock file, made for all users if it is not there; another user's may only be readable."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        for _ in range(2):  # it may come into being between the two calls
            try:
                return os.open(path, os.O_RDWR | flags)
            except FileNotFoundError:
                pass
            except PermissionError:
                return os.open(path, os.O_RDONLY | flags)
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o666)
            except FileExistsError:
                continue
            os.fchmod(descriptor, 0o666)
            return descriptor
        return os.open(path, os.O_RDWR | flags)
    except OSError as exc:
        raise ProfilerError(
            f"cannot lock the device by {path}: {exc.strerror}; set {FOLDER_VARIABLE} to a writable folder"
        ) from exc


def _write(descriptor: int, text: str) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
    except OSError:
        return  # another user's file: the lock counts all the same, only its holder stays unnamed


def _holder(descriptor: int) -> Holder | None:
    try:
        return Holder(**json.loads(os.pread(descriptor, 4096, 0)))
    except (OSError, ValueError, TypeError):
        return None


def command_line() -> str:
    """This process's, as people know it."""
    words = [Path(sys.argv[0] or "python").name, *sys.argv[1:]]
    return " ".join(words)[:200]
