"""The way to this machine itself: files stay where they are, commands are child processes."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.errors import TransportError
from profiler.hardware import LocalDevice
from profiler.transports import Channel, Completed, Transport

TOOLCHAINS: Mapping[str, str] = {"tvm": "tvm", "tflite": "tflite-runtime"}
"""Runtimes that cannot share our environment, and the toolchain each is in."""

_STDERR_LINES = 20
_GRACE_S = 5.0


class LocalTransport:
    """Implements :class:`profiler.transports.Transport` on this machine."""

    def __init__(self, python: str = sys.executable) -> None:
        self._scratch: str | None = None
        self._python = python

    @property
    def python(self) -> str:
        """The interpreter this runs in, unless another was given."""
        return self._python

    def put(self, local: Path) -> str:
        """The file itself: nothing is copied."""
        if not local.is_file():
            raise TransportError(f"{local} is not a file")
        return str(local.resolve())

    def get(self, remote: str, local: Path) -> None:
        """Copy a file."""
        try:
            shutil.copyfile(remote, local)
        except OSError as exc:
            raise TransportError(f"cannot copy {remote} to {local}: {exc.strerror}") from exc

    def scratch(self, name: str) -> str:
        """A path in a temporary folder of this transport's own."""
        if self._scratch is None:
            self._scratch = tempfile.mkdtemp(prefix="hwnas-")
        return str(Path(self._scratch) / name)

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Completed:
        """Run a child process to its end."""
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, errors="replace", timeout=timeout_s,
                stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{argv[0]} did not end within {timeout_s:g} s") from None
        except OSError as exc:
            raise TransportError(f"cannot run {argv[0]}: {exc.strerror}") from exc
        return Completed(done.returncode, done.stdout, done.stderr)

    def start(self, argv: Sequence[str]) -> LocalChannel:
        """Start a child process."""
        try:
            return LocalChannel(argv)
        except OSError as exc:
            raise TransportError(f"cannot run {argv[0]}: {exc.strerror}") from exc

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None


class LocalChannel:
    """A child process in a session of its own; implements :class:`profiler.transports.Channel`."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._name = argv[0]
        self._status: int | None = None
        self._closed = False
        self._pending = b""
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._drain = threading.Thread(target=self._keep_stderr, daemon=True)
        self._drain.start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def write_line(self, line: str) -> None:
        """Send a line and its newline."""
        assert self._process.stdin is not None
        rest = memoryview(line.encode() + b"\n")
        try:
            while rest:
                rest = rest[self._process.stdin.write(rest) or 0 :]
        except (OSError, ValueError) as exc:
            raise TransportError(f"{self._name} has ended") from exc

    def read_line(self, timeout_s: float) -> str | None:
        """Wait, without using the CPU, for the next line."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"{self._name} did not answer within {timeout_s:g} s")
                piece = os.read(self._process.stdout.fileno(), 1 << 16)
                if not piece:
                    self._drain.join(_GRACE_S)
                    return None
                self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode(errors="replace")

    def stderr_tail(self) -> str:
        """The last lines of stderr; all of them once ``read_line`` has seen the end."""
        return "\n".join(self._stderr)

    def close(self) -> int | None:
        """Close its stdin, give it a few seconds to end by itself, then kill its process group."""
        if self._closed:
            return self._status
        self._closed = True
        process = self._process
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            with suppress(OSError):
                process.stdin.close()
            with suppress(TimeoutError, subprocess.TimeoutExpired):
                deadline = time.monotonic() + _GRACE_S
                while self.read_line(max(0.0, deadline - time.monotonic())) is not None:
                    pass
                self._status = process.wait(_GRACE_S)
        finally:
            if process.returncode is None:  # not waited for yet, so its id is still its own
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            self._drain.join(_GRACE_S)
            process.stdout.close()
            process.stderr.close()
        return self._status

    def _keep_stderr(self) -> None:
        assert self._process.stderr is not None
        with suppress(ValueError, OSError):
            for line in self._process.stderr:
                self._stderr.append(line.decode(errors="replace").rstrip())


def open_local(device: LocalDevice) -> LocalTransport:
    """The way to this machine; a runtime in a toolchain brings its own Python.

    Raises :class:`profiler.errors.ToolchainError`, with the command that installs it, if that is missing.
    """
    if device.runtime not in TOOLCHAINS:
        return LocalTransport()
    from profiler.toolchain.place import installed_python

    return LocalTransport(str(installed_python(TOOLCHAINS[device.runtime])))


if TYPE_CHECKING:
    _: tuple[type[Transport], type[Channel]] = (LocalTransport, LocalChannel)
