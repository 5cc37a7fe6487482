"""A conversation with the agent on a board over one SSH channel: lines, bytes, and signs of life."""

from __future__ import annotations

import json
import shlex
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from profiler.errors import ConnectionLostError, TransportError

if TYPE_CHECKING:
    import paramiko

PIECE = 1 << 18
_TICK_S = 1.0
_SOURCES = ("board_guard.py", "board_agent.py")
_BOOT = "import os;[exec(bytes(iter(lambda:os.read(0,1)[0],0)),globals()) for _ in range(2)]"
"""Reads its programs from stdin, each up to a NUL: nothing is left on the board, and no shell has to quote them."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds.

    A ping goes out when nothing was said for ``beat_s``; a board that says nothing for ``silence_s`` is
    lost; a board that hears nothing for ``lease_s`` ends what was started; starting may take ``start_s``,
    and a lost board is tried again for ``reach_s``.
    """

    beat_s: float = 5.0
    silence_s: float = 30.0
    lease_s: float = 120.0
    start_s: float = 60.0
    reach_s: float = 180.0
    grace_s: float = 5.0


@cache
def _program() -> bytes:
    folder = files("profiler.transports")
    return b"".join(folder.joinpath(name).read_bytes() + b"\0" for name in _SOURCES)


class Wire:
    """One agent; ``hello`` is what it said of the board. Safe to ping from another thread."""

    def __init__(self, client: paramiko.SSHClient, name: str, python: str, owner: str, patience: Patience) -> None:
        """Start an agent. Raises :class:`TransportError` if there is no Python, or no shell."""
        self.name = name
        self.patience = patience
        self.talking = threading.RLock()
        """Held while something is said that no ping may come between."""
        self._buffer = bytearray()
        self._ended = False
        self.lost = False
        """Whether the connection broke, or the board fell silent; the other wires of the connection are no better."""
        self._said_s = self._heard_s = time.monotonic()
        self._sending_s: float | None = None
        transport = client.get_transport()
        if transport is None:
            raise ConnectionLostError(f"{name}: the connection is closed")
        try:
            self._channel = transport.open_session(timeout=patience.silence_s)
            self._channel.settimeout(_TICK_S)
            self._channel.exec_command(f'exec {_shell_word(python)} -uc "{_BOOT}" {owner}')
        except Exception as exc:  # paramiko raises SSHException, EOFError and OSError here
            raise self._lost(str(exc)) from exc
        try:
            self._send_program(transport)
            self.hello = self._introduced(python, owner.encode())
        except BaseException:
            self.close()
            raise

    @property
    def ended(self) -> bool:
        """Whether nothing can be said any more."""
        return self._ended

    def ask(self, silence_s: float | None = None, /, **request: object) -> dict[str, Any]:
        """A request and its reply; raises :class:`TransportError` with the agent's reason if it was refused."""
        with self.talking:
            self.send(json.dumps(request).encode() + b"\n")
            return self.reply(silence_s)

    def reply(self, silence_s: float | None = None) -> dict[str, Any]:
        """The next reply, which may be an ``error``."""
        line = self.line(None, silence_s)
        if line is None:
            raise self._lost()
        return self.parsed(line)

    def parsed(self, line: bytes) -> dict[str, Any]:
        """What the agent said; raises :class:`ConnectionLostError` if something else printed into the channel."""
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError:
            words = line[:60].decode(errors="replace")
            raise self._lost(f"{words!r} came in between; does something that a login starts print?") from None
        return found

    def send(self, data: bytes | memoryview) -> None:
        """All of ``data``, in pieces; waits while the board is busy, but not for ever."""
        with self.talking:
            rest = memoryview(data)
            moved_s = time.monotonic()
            while rest:
                self._sending_s = time.monotonic()
                try:
                    rest = rest[self._channel.send(bytes(rest[:PIECE])) :]  # a whole buffer would be copied every time
                    moved_s = time.monotonic()
                except TimeoutError:
                    if time.monotonic() - moved_s > self.patience.silence_s:
                        raise self._lost() from None
                except (OSError, EOFError) as exc:
                    raise self._lost(str(exc)) from exc
                finally:
                    self._sending_s = None
            self._said_s = time.monotonic()

    def line(self, timeout_s: float | None = None, silence_s: float | None = None) -> bytes | None:
        """The next line; None at the end. Raises ``TimeoutError``, or :class:`ConnectionLostError` after silence."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            end = self._buffer.find(b"\n")
            if end < 0:
                if not self._receive(deadline, silence_s):
                    return None
                continue
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if line != b"!":
                return line

    def some(self, most: int) -> bytes:
        """Some bytes, at most so many."""
        while not self._buffer:
            if not self._receive(None, None):
                raise self._lost()
        piece = bytes(self._buffer[:most])
        del self._buffer[:most]
        return piece

    def ping(self) -> None:
        """Renew the lease, and ask for a sign of life, if nothing was said for a while."""
        if self._ended or time.monotonic() - self._said_s < self.patience.beat_s or not self.talking.acquire(False):
            return  # whoever holds the lock is talking
        try:
            with suppress(TransportError):
                self.send(b"?\n")
        finally:
            self.talking.release()

    def watch(self) -> None:
        """Break the connection if a send hangs in it: paramiko waits for ever where a network takes no more."""
        since_s, transport = self._sending_s, self._channel.get_transport()
        if since_s is not None and time.monotonic() - since_s > self.patience.silence_s:
            transport.close()

    def close(self, *, wait: bool = True) -> None:
        """End the conversation: the agent ends what it started. Waits a little for that, unless it is useless."""
        with self.talking:  # no ping any more
            self._sending_s = time.monotonic()
            if wait and not self._ended:
                with suppress(Exception):
                    self._channel.shutdown_write()
                    while self._receive(time.monotonic() + self.patience.grace_s, None):
                        self._buffer.clear()
            self._ended = True
            with suppress(OSError, EOFError):  # the connection may break just now
                self._channel.close()
            self._sending_s = None

    def _receive(self, deadline: float | None, silence_s: float | None) -> bool:
        """Wait for more; False at the end."""
        silence_s = silence_s or self.patience.silence_s
        since_s = time.monotonic()
        while not self._ended:
            now_s = time.monotonic()
            if deadline is not None and now_s >= deadline:
                raise TimeoutError
            if now_s - max(self._heard_s, since_s) > silence_s:
                raise self._lost()
            left_s = _TICK_S if deadline is None else min(_TICK_S, deadline - now_s)
            try:
                self._channel.settimeout(left_s)
                piece = self._channel.recv(PIECE)
            except TimeoutError:
                continue
            except (OSError, EOFError) as exc:  # EOFError where it tells the far side that there is room again
                raise self._lost(str(exc)) from exc
            self._heard_s = time.monotonic()
            self._buffer += piece
            self._ended = not piece
            return bool(piece)
        return False

    def _send_program(self, transport: paramiko.Transport) -> None:
        """What makes an agent of the Python there; a shell that has ended already takes none, and is heard for why."""
        try:
            self.send(_program())
        except ConnectionLostError:
            if not (self._channel.closed and transport.is_active()):
                raise
            self._ended = self.lost = False

    def _introduced(self, python: str, token: bytes) -> dict[str, Any]:
        """What the agent says of the board, after whatever login scripts print."""
        deadline = time.monotonic() + self.patience.start_s
        noise = b""
        while True:
            try:
                line = self.line(max(0.0, deadline - time.monotonic()), self.patience.start_s)
            except TimeoutError:
                reason = f"{python} did not start there within {self.patience.start_s:g} s"
                raise ConnectionLostError(f"{self.name}: {reason}") from None
            if line is None:
                raise self._no_agent(python, noise)
            if line == token:
                break
            noise = line or noise
        found = self.line(max(0.0, deadline - time.monotonic()), self.patience.start_s)
        if found is None:
            raise self._no_agent(python, noise)
        return self.parsed(found)

    def _no_agent(self, python: str, noise: bytes) -> TransportError:
        """Why no agent came to life, by what the shell said."""
        self._channel.status_event.wait(self.patience.grace_s)
        status, said = self._channel.exit_status, b""
        with suppress(OSError, EOFError):
            while piece := self._channel.recv_stderr(PIECE):
                said += piece
        words = said.decode(errors="replace").strip().splitlines() or [noise.decode(errors="replace").strip()]
        last = words[-1]
        if status == -1 and not said:
            return ConnectionLostError(f"{self.name}: the connection was lost while {python} started there")
        if status == 126 and "denied" not in last:
            return TransportError(
                f"{self.name}: {python} there is no program for that machine (another architecture?);"
                f" run: hwnas devices setup {self.name}, or correct python: in devices.yaml"
            )
        if status == 127 or "not found" in last or "no such file" in last.lower():
            return TransportError(
                f"{self.name}: there is no {python}; install Python 3.11 or later there (sudo apt install python3),"
                f" or put python: below {self.name} in devices.yaml"
            )
        return TransportError(f"{self.name}: {python} did not start there (exit status {status}): {last or 'no word'}")

    def _lost(self, reason: str = "") -> ConnectionLostError:
        self._ended = self.lost = True
        if not reason and time.monotonic() - self._heard_s > self.patience.silence_s:
            return ConnectionLostError(f"{self.name}: nothing was heard for {self.patience.silence_s:g} s")
        return ConnectionLostError(f"{self.name}: the connection was lost{reason and f' ({reason})'}")


def _shell_word(path: str) -> str:
    """A path for the shell there, ``~`` being the home there."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)
