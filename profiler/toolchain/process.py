"""A toolchain's functions from here: its Python as a child process, one JSON line to ask and one to answer."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from profiler.errors import ToolchainError, ToolRefusalError, TransportError
from profiler.toolchain.catalogue import Toolchain, get_toolchain
from profiler.toolchain.place import installed_python
from profiler.transports.local import LocalChannel

SERVE = Path(__file__).with_name("serve.py")

TIMEOUT_S = 1800.0
"""The longest one call may take (a large model through a converter)."""


class ToolProcess:
    """A running tool; close it, or use ``with``. After an error of its process it is of no more use."""

    def __init__(self, interpreter: Path, toolchain: Toolchain) -> None:
        self._name = toolchain.name
        self._numbers = itertools.count(1)
        argv = [str(interpreter), "-I", "-u", str(SERVE), str(toolchain.tool)]
        try:
            self._channel = LocalChannel(argv)
        except OSError as exc:
            raise ToolchainError(
                f"toolchain {self._name} does not start ({exc.strerror}); "
                f"run: hwnas toolchain remove {self._name} && hwnas toolchain install {self._name}"
            ) from exc

    @classmethod
    def open(cls, name: str, root: Path | None = None) -> ToolProcess:
        """Start toolchain ``name``; raises :class:`ToolchainError` with the command that installs it."""
        return cls(installed_python(name, root), get_toolchain(name))

    def call(self, function: str, *, timeout_s: float = TIMEOUT_S, **arguments: object) -> Any:
        """What ``function(**arguments)`` of the tool script returns; everything goes as JSON.

        Raises :class:`ToolRefusalError` with the tool's own message if the function raises, and
        :class:`ToolchainError` with the last line of its stderr if the process dies, or takes too long.
        """
        number = next(self._numbers)
        try:
            self._channel.write_line(json.dumps({"id": number, "call": function, "arguments": arguments}))
            line = self._channel.read_line(timeout_s)
        except TimeoutError:
            self._channel.close()
            raise ToolchainError(f"toolchain {self._name}: {function} took more than {timeout_s:g} s") from None
        except TransportError:
            line = None
        if line is None:
            status, words = self._channel.close(), self._channel.stderr_tail().splitlines()
            raise ToolchainError(f"toolchain {self._name} died in {function}: {words[-1] if words else status}")
        reply = json.loads(line)
        if "error" in reply:
            raise ToolRefusalError(f"toolchain {self._name}: {reply['error']}")
        return reply["result"]

    def close(self) -> None:
        """End the process."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
