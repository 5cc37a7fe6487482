"""What runs on a board between a driver and a command: passes lines on, and ends the command with its driver.

Sent and run together with ``board_agent.py``; see there. ``?`` is answered ``!`` at any time: by this
process, so that a busy command is told from a board that is gone.
"""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Reply = dict[str, Any]

PIECE = 1 << 18
TAIL_BYTES = 1 << 12


class Gone(Exception):  # noqa: N818  no error: it ends every conversation
    """The driver closed the connection, or has not been heard of for too long."""


class Wire:
    """Lines and bytes from the driver and to it; every word of the driver's renews the lease."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.lease_s = 120.0

    def fill(self) -> None:
        """Wait for more; raises :class:`Gone` at the end."""
        piece = os.read(0, PIECE)
        if not piece:
            raise Gone
        self.renew()
        self.buffer += piece

    def renew(self) -> None:
        """The driver is there."""
        signal.setitimer(signal.ITIMER_REAL, self.lease_s)

    def next_line(self) -> bytes | None:
        """A whole line that has arrived; pings are answered, not returned."""
        while True:
            end = self.buffer.find(b"\n")
            if end < 0:
                return None
            line = bytes(self.buffer[:end])
            del self.buffer[: end + 1]
            if line != b"?":
                return line
            self.say(b"!")

    def line(self) -> bytes:
        """Wait for the next line."""
        while True:
            line = self.next_line()
            if line is not None:
                return line
            self.fill()

    def some(self, most: int) -> bytes:
        """Wait for some bytes, at most so many."""
        if not self.buffer:
            self.fill()
        piece = bytes(self.buffer[:most])
        del self.buffer[:most]
        return piece

    def say(self, line: bytes) -> None:
        """Send a line."""
        self.give(line + b"\n")

    def give(self, data: bytes) -> None:
        """Send bytes."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(1, rest) :]
            except BrokenPipeError:
                raise Gone from None

    def reply(self, **values: Any) -> None:
        """Send a reply."""
        self.say(json.dumps(values).encode())


class Guard:
    """Passes lines between the driver and a command, and ends the command when the driver is gone.

    In: ``=LINE`` for its stdin, ``<`` closes that, ``k`` kills it. Out: ``=LINE`` of its stdout (with
    ``collect`` none, but all of it in the end), at last ``x`` with its status and stderr (base64; without
    ``collect`` the last lines). Streams are always read, so that the command never waits for a reader.
    """

    def __init__(self, wire: Wire, child: subprocess.Popen[bytes], *, collect: bool) -> None:
        assert child.stdout is not None and child.stderr is not None
        self.wire, self.child, self.collect = wire, child, collect
        self.out, self.err = child.stdout.fileno(), child.stderr.fileno()
        self.open = {self.out, self.err}
        self.written, self.said, self.pending = bytearray(), bytearray(), bytearray()
        self.closing = False

    def watch(self) -> None:
        """Until the command ends or the driver is gone."""
        awake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while not has_ended(self.child):
            stdin = self.child.stdin
            if self.closing and not self.pending and stdin is not None:
                stdin.close()
            writing = [stdin] if self.pending and stdin is not None and not stdin.closed else []
            ready, writable, _ = select.select([0, awake, *self.open], writing, [])
            if awake in ready:
                os.read(awake, 512)
            for descriptor in self.open.intersection(ready):
                self.take(descriptor)
            if writable:
                self.feed(writable[0].fileno())
            if 0 in ready:
                self.wire.fill()
            self.obey()
        end_group(self.child)
        for descriptor in (self.out, self.err):  # what is still in the pipes
            while descriptor in self.open and select.select([descriptor], [], [], 0)[0]:
                self.take(descriptor)
        if self.written and not self.collect:
            self.wire.say(b"=" + bytes(self.written))
        final = {"status": self.child.wait(), "stderr": text64(self.said)}
        if self.collect:
            final["stdout"] = text64(self.written)
        self.wire.say(b"x" + json.dumps(final).encode())

    def take(self, descriptor: int) -> None:
        """Read what the command printed."""
        piece = os.read(descriptor, PIECE)
        if not piece:
            self.open.discard(descriptor)
        elif descriptor == self.err:
            self.said += piece
            if not self.collect:
                del self.said[:-TAIL_BYTES]
        else:
            self.written += piece
            if not self.collect:
                *whole, rest = self.written.split(b"\n")
                for line in whole:
                    self.wire.say(b"=" + bytes(line))
                self.written = rest

    def feed(self, descriptor: int) -> None:
        """Pass on what waits for the command's stdin, no more than it takes without waiting."""
        try:
            del self.pending[: os.write(descriptor, self.pending[: select.PIPE_BUF])]
        except BrokenPipeError:
            self.pending.clear()
            self.closing = True

    def obey(self) -> None:
        """Do what the driver said."""
        while True:
            order = self.wire.next_line()
            if order is None:
                return
            if order[:1] == b"=":
                self.pending += order[1:] + b"\n"
            elif order == b"<":
                self.closing = True
            elif order == b"k":
                end_group(self.child)


def has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Whether it has; its id stays its own until :func:`end_group` waits for it."""
    look = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return child.returncode is not None or os.waitid(os.P_PID, child.pid, look) is not None


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Kill a command and what it started."""
    if child.returncode is None:  # not waited for yet, so its id is still its own
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def text64(data: bytearray) -> str:
    """Bytes as JSON can hold them."""
    return base64.b64encode(data).decode()
