"""The way to a board by SSH: files are kept there by their hash, commands end with their driver."""

from __future__ import annotations

import base64
import errno
import getpass
import hashlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.errors import ConnectionLostError, DeviceBusyError, TransportError
from profiler.hardware import SshDevice
from profiler.lock import Holder, command_line
from profiler.transports import Channel, Completed, Transport
from profiler.transports.ssh_connection import connect
from profiler.transports.ssh_wire import PIECE, Patience, Wire

_SLOWEST_BYTES_PER_S = 2**20
"""A board reads and hashes its files faster than that."""
_LOCK_POLL_S = 1.0


class SshTransport:
    """Implements :class:`profiler.transports.Transport` on a board; raises :class:`TransportError` where it cannot.

    ``owner`` is who comes: what an earlier connection of the same owner left running there is ended.
    """

    def __init__(self, device: SshDevice, owner: str | None = None, patience: Patience | None = None) -> None:
        self._device = device
        self._owner = owner or uuid.uuid4().hex
        self._patience = patience or Patience()
        self._scratch: str | None = None
        self._there: dict[tuple[str, str], str] = {}
        self._hashes: dict[tuple[Path, int, int], str] = {}
        self._wires: list[Wire] = []
        self._closed = threading.Event()
        self._connection = connect(device)
        try:
            self._agent, found = self._start_agent(alone=True)
        except BaseException:
            self._connection.close()
            raise
        self.folder = str(found["folder"])
        """Where things are kept on the board."""
        self._python = str(found["python"])
        tasks = (Wire.ping, self._patience.beat_s / 2), (Wire.watch, self._patience.silence_s / 2)
        self._keepers = [threading.Thread(target=self._keep, args=task, daemon=True) for task in tasks]
        for keeper in self._keepers:
            keeper.start()

    @property
    def python(self) -> str:
        """The interpreter of ``devices.yaml``, else of the environment made there, else ``python3``."""
        return self._python

    @property
    def lost(self) -> bool:
        """Whether the connection is known to be lost."""
        return self._agent.ended or any(wire.lost for wire in self._wires)

    @property
    def board(self) -> dict[str, Any]:
        """What the board said of itself: ``python`` (the agent's version), ``machine``, ``boot`` (an id)."""
        return dict(self._agent.hello)

    def put(self, local: Path) -> str:
        """Send a file, unless its content is there; a lost connection costs only what was on its way."""
        if not local.is_file():
            raise TransportError(f"{local} is not a file")
        digest = self._digest(local)
        if (digest, local.name) not in self._there:
            self._there[digest, local.name] = self._send_file(local, digest)
        return self._there[digest, local.name]

    def get(self, remote: str, local: Path) -> None:
        """Fetch a file; it is there whole or not at all."""
        size = self._ask(f"get {remote}", op="get", path=remote)["size"]
        partial = local.with_name(f".{local.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as stream:
                while size:
                    size -= stream.write(self._agent.some(min(size, PIECE)))
            partial.replace(local)
        except OSError as exc:
            self._agent.close()  # the rest of the file is on its way
            raise TransportError(f"cannot write {local}: {exc.strerror}") from exc
        finally:
            partial.unlink(missing_ok=True)

    def scratch(self, name: str) -> str:
        """A path in a folder of this connection's own."""
        if self._scratch is None:
            self._scratch = str(self._ask("make a folder", op="scratch")["path"])
        return f"{self._scratch}/{name}"

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Completed:
        """Run a command there to its end; whatever it started ends with it."""
        channel = self._start(argv, collect=True)
        try:
            return channel.completed(timeout_s)
        finally:
            channel.close()

    def start(self, argv: Sequence[str]) -> SshChannel:
        """Start a command there, under a guard that ends it when this side is gone."""
        return self._start(argv, collect=False)

    def lock(self, waiting: Callable[[str], None] | None = None) -> None:
        """Measure there alone until ``close``; see :func:`profiler.lock.alone_on`, whose file on the board it is."""
        mine = {"command": command_line(), "host": f"{getpass.getuser()}@{platform.node()}"}
        told = False
        while (reply := self._ask("lock", op="lock", holder=mine))["holder"] is not None:
            who = _holder(reply["holder"], reply["now_s"])
            if waiting is None:
                raise DeviceBusyError(
                    f"{self._device.name}: {who} measures there, and two at once would disturb each other;"
                    " wait for it (--wait), or end it"
                )
            if not told:
                waiting(f"{self._device.name}: {who} measures there; waiting for it to end")
            told = True
            time.sleep(_LOCK_POLL_S)

    def close(self) -> None:
        """Leave nothing on the board but files that can be used again."""
        for wire in reversed(self._wires):
            wire.close(wait=not self.lost)
        self._closed.set()
        self._connection.close()
        for keeper in self._keepers:
            keeper.join(self._patience.grace_s)

    def _start_agent(self, *, alone: bool) -> tuple[Wire, dict[str, Any]]:
        python = self._device.python or "python3"
        wire = Wire(self._connection.client, self._device.name, python, self._owner, self._patience)
        self._wires = [*(wire for wire in self._wires if wire.lost or not wire.ended), wire]
        reply = wire.ask(
            op="hello", folder=self._device.folder, python=self._device.python,
            owner=self._owner, alone=alone, lease_s=self._patience.lease_s,
        )  # fmt: skip
        return wire, reply

    def _start(self, argv: Sequence[str], *, collect: bool) -> SshChannel:
        wire, _ = self._start_agent(alone=False)
        reply = wire.ask(op="start", argv=list(argv), collect=collect)
        if "error" in reply:
            wire.close()
            raise TransportError(f"{self._device.name}: cannot run {argv[0]}: {_start_error(reply)}")
        return SshChannel(wire, argv[0], int(reply["pid"]))

    def _send_file(self, local: Path, digest: str) -> str:
        size, what = local.stat().st_size, f"store {local.name}"
        silence_s = self._patience.silence_s + size / _SLOWEST_BYTES_PER_S
        with self._agent.talking:
            reply = self._ask(what, silence_s, op="put", name=local.name, sha256=digest, size=size)
            if "path" in reply:
                return str(reply["path"])
            with local.open("rb") as stream:
                stream.seek(reply["offset"])
                left = size - reply["offset"]
                while left and (piece := stream.read(min(left, PIECE))):
                    self._agent.send(piece)
                    left -= len(piece)
            if left:
                self._agent.close()
                raise TransportError(f"{local} became shorter while it was sent")
            return str(self._checked(what, self._agent.reply(silence_s))["path"])

    def _digest(self, local: Path) -> str:
        found = local.stat()
        key = local.resolve(), found.st_size, found.st_mtime_ns
        if key not in self._hashes:
            with local.open("rb") as stream:
                self._hashes[key] = hashlib.file_digest(stream, "sha256").hexdigest()
        return self._hashes[key]

    def _ask(self, what: str, silence_s: float | None = None, /, **request: object) -> dict[str, Any]:
        return self._checked(what, self._agent.ask(silence_s, **request))

    def _checked(self, what: str, reply: dict[str, Any]) -> dict[str, Any]:
        if "error" not in reply:
            return reply
        where = f" ({reply['path']})" if reply.get("path") else ""
        advice = ""
        if reply.get("errno") in (errno.ENOSPC, errno.EDQUOT):
            advice = f"; make room there, then run the same command again (hwnas devices clean {self._device.name})"
        elif what.startswith(("store", "make")) and reply.get("errno") in (errno.EROFS, errno.EACCES, errno.EPERM):
            advice = f"; put folder: with a place that can be written to below {self._device.name} in devices.yaml"
        raise TransportError(f"{self._device.name}: cannot {what}: {reply['error'].lower()}{where}{advice}")

    def _keep(self, task: Callable[[Wire], None], each_s: float) -> None:
        """Let the board know that somebody is there, or see that nothing hangs; until the end."""
        while not self._closed.wait(each_s):
            for wire in self._wires:
                task(wire)


class SshChannel:
    """A command on the board under its guard; implements :class:`profiler.transports.Channel`."""

    def __init__(self, wire: Wire, name: str, pid: int) -> None:
        self._wire = wire
        self._name = name
        self._final: dict[str, Any] | None = None
        self._status: int | None = None
        self._closed = False
        self.pid = pid
        """Its process id on the board."""

    def write_line(self, line: str) -> None:
        """Send a line and its newline."""
        if self._final is not None or self._closed:
            raise TransportError(f"{self._name} has ended")
        self._wire.send(b"=" + line.encode() + b"\n")

    def read_line(self, timeout_s: float) -> str | None:
        """The next line; None once the command has ended."""
        if self._final is not None:
            return None
        try:
            line = self._wire.line(timeout_s)
        except TimeoutError:
            raise TimeoutError(f"{self._name} did not answer within {timeout_s:g} s") from None
        if line is None:
            raise ConnectionLostError(f"{self._wire.name}: the connection was lost")
        if line[:1] == b"=":
            return line[1:].decode(errors="replace")
        self._final = self._wire.parsed(line[1:])
        return None

    def completed(self, timeout_s: float) -> Completed:
        """Wait for the end of a command whose output is collected."""
        try:
            while self.read_line(timeout_s) is not None:
                pass
        except TimeoutError:
            self._end_by(b"k\n")
            raise TimeoutError(f"{self._name} did not end within {timeout_s:g} s") from None
        assert self._final is not None
        return Completed(int(self._final["status"]), _text(self._final["stdout"]), _text(self._final["stderr"]))

    def stderr_tail(self) -> str:
        """The last lines of stderr, once the command has ended."""
        return "" if self._final is None else _text(self._final["stderr"]).rstrip("\n")

    def close(self) -> int | None:
        """Close its stdin, give it a few seconds to end by itself, then kill it and what it started."""
        if not self._closed:
            self._closed = True
            self._end_by(b"<\n")
            self._status = None if self._final is None else int(self._final["status"])
            if self._final is None:
                self._end_by(b"k\n")
            self._wire.close()
        return self._status

    def _end_by(self, order: bytes) -> None:
        """Give the guard an order, and wait a little for the command's end."""
        deadline = time.monotonic() + self._wire.patience.grace_s
        with suppress(TransportError, TimeoutError):
            if self._final is None:
                self._wire.send(order)
            while self.read_line(max(0.0, deadline - time.monotonic())) is not None:
                pass


def open_ssh(device: SshDevice) -> SshTransport:
    """The way to a board."""
    return SshTransport(device)


def _start_error(reply: dict[str, Any]) -> str:
    if reply.get("errno") == errno.ENOEXEC:
        return "it is no program for that machine (another architecture?)"
    return str(reply["error"]).lower()


def _holder(known: str, now_s: float) -> str:
    try:
        return Holder(**json.loads(known)).told(now_s)
    except (ValueError, TypeError):
        return "another process"


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode(errors="replace")


if TYPE_CHECKING:
    _: tuple[type[Transport], type[Channel]] = (SshTransport, SshChannel)
