"""How a device is reached: files there and back, commands, and a channel of lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended: its exit status and what it printed."""

    status: int
    stdout: str
    stderr: str


class Channel(Protocol):
    """A running command one talks to line by line."""

    def write_line(self, line: str) -> None:
        """Send a line; raises :class:`profiler.TransportError` if the command has ended."""
        ...

    def read_line(self, timeout_s: float) -> str | None:
        """The next line without its newline, or None at the end of the command's output.

        Raises ``TimeoutError`` if none came in time.
        """
        ...

    def stderr_tail(self) -> str:
        """The last lines the command wrote to stderr."""
        ...

    def close(self) -> int | None:
        """End the command and everything it started; it is gone when this returns.

        The exit status if it ended by itself (negative: the signal that ended it) and is known.
        """
        ...


class Transport(Protocol):
    """A way to a device. Raises :class:`profiler.TransportError`; close it when done."""

    @property
    def python(self) -> str:
        """The Python interpreter to run the worker with, there."""
        ...

    def put(self, local: Path) -> str:
        """Make a file's content available there; its path. What is there already is not sent again."""
        ...

    def get(self, remote: str, local: Path) -> None:
        """Fetch a file."""
        ...

    def scratch(self, name: str) -> str:
        """A path there that may be written to; it is gone after ``close``."""
        ...

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Completed:
        """Run a command to its end; it is killed, and ``TimeoutError`` raised, after ``timeout_s``."""
        ...

    def start(self, argv: Sequence[str]) -> Channel:
        """Start a command in a process group of its own, so that Ctrl-C here does not reach it."""
        ...

    def close(self) -> None:
        """Give the way up and remove what it left there, but for files that can be used again."""
        ...
