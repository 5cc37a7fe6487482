"""Looks at a board before anything is put there, and refuses one that no runtime can be installed on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from profiler.errors import DeviceError
from profiler.transports import Transport

OLDEST_PYTHON = (3, 11)
"""What the worker is written for: Debian 12's, and so Raspberry Pi OS bookworm's."""

MACHINES = ("aarch64", "x86_64")
"""Processors that the runtimes have wheels for on Linux, as ``uname -m`` calls them."""

_MARK = "hwnas-look"
_LOOK = f"""
echo {_MARK}
say() {{ printf '%s=%s\\n' "$1" "$2"; }}
say machine "$(uname -m)"
say bits "$(getconf LONG_BIT 2>/dev/null)"
say libc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
say home "$HOME"
say free "$(df -Pk "$HOME" | {{ read -r _; read -r _ _ _ free _; echo "$free"; }})"
say memory "$(while read -r name size _; do [ "$name" = MemTotal: ] && echo "$size"; done </proc/meminfo)"
say model "$(tr -d '\\0' </proc/device-tree/model 2>/dev/null || sed -n 's/^Model[^:]*: //p' /proc/cpuinfo)"
say system "$([ -r /etc/os-release ] && . /etc/os-release && echo "$PRETTY_NAME")"
say managed "$(echo /usr/lib/python3*/EXTERNALLY-MANAGED)"
for python in python3 python3.14 python3.13 python3.12 python3.11; do
  at=$(command -v $python) && say python "$at $($python --version 2>&1)"
done
exit 0
"""
_PYTHON = re.compile(r"(\S+) Python (\d+)\.(\d+)\.(\d+)")
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Board:
    """What a board says of itself; ``None`` for what it does not tell.

    ``bits`` are those of its programs: a 32-bit system may run on a 64-bit kernel. ``python`` is the
    interpreter to make an environment with, the first that is new enough, else the first there is.
    ``managed``: its Python belongs to the system (PEP 668), so that nothing may be installed into it.
    """

    machine: str
    bits: int | None
    glibc: tuple[int, int] | None
    python: str | None
    python_version: tuple[int, int, int] | None
    managed: bool
    home: str
    disk_free_bytes: int | None
    memory_bytes: int | None
    model: str | None
    system: str | None

    def __str__(self) -> str:
        """In one line, for people."""
        words = [
            self.model or "a board",
            self.machine,
            self.system,
            f"glibc {_dotted(self.glibc)}" if self.glibc else None,
            f"Python {_dotted(self.python_version)}" if self.python_version else None,
            f"{self.memory_bytes / 2**30:.1f} GiB of memory" if self.memory_bytes else None,
            f"{self.disk_free_bytes / 2**30:.1f} GiB free in {self.home}" if self.disk_free_bytes else None,
        ]
        return ", ".join(word for word in words if word)


def look_at(transport: Transport) -> Board:
    """Ask a board by what every Linux has; raises :class:`TransportError` if it cannot be reached."""
    done = transport.run(["/bin/sh", "-c", _LOOK], timeout_s=_TIMEOUT_S)
    _, mark, told = done.stdout.partition(f"{_MARK}\n")
    if not mark:
        words = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.status}"]
        raise DeviceError(f"the board's shell did not do what it was told: {words[-1]}")
    return parse_look(told)


def parse_look(told: str) -> Board:
    """A board from the lines ``name=value`` it printed."""
    lines = [line.partition("=") for line in told.splitlines()]
    values = {name: value.strip() for name, _, value in lines if name != "python"}
    pythons = [found for name, _, value in lines if name == "python" and (found := _PYTHON.match(value))]
    versions = [(found[1], (int(found[2]), int(found[3]), int(found[4]))) for found in pythons]
    new = [known for known in versions if known[1] >= OLDEST_PYTHON]
    best = next(iter(new or versions), None)
    glibc = re.fullmatch(r"glibc (\d+)\.(\d+).*", values.get("libc", ""))
    return Board(
        machine=values.get("machine", ""),
        bits=_number(values.get("bits")),
        glibc=None if glibc is None else (int(glibc[1]), int(glibc[2])),
        python=best and best[0],
        python_version=best and best[1],
        managed=best is not None and best[0].startswith("/usr/bin/") and "*" not in values.get("managed", "*"),
        home=values.get("home", ""),
        disk_free_bytes=_kibibytes(values.get("free")),
        memory_bytes=_kibibytes(values.get("memory")),
        model=values.get("model") or None,
        system=values.get("system") or None,
    )


def refuse_unfit(board: Board, name: str) -> None:
    """Raises :class:`DeviceError`, one line with the way out, for a board on which no runtime can be installed."""
    if board.machine in MACHINES and board.bits == 32:
        raise DeviceError(
            f"{name}: a 32-bit system runs on its 64-bit kernel ({board.machine}), and the runtimes are 64-bit only;"
            " put a 64-bit system on it, such as Raspberry Pi OS (64-bit)"
        )
    if board.machine not in MACHINES:
        raise DeviceError(
            f"{name}: its processor is run as {board.machine or 'nothing known'}, and the runtimes exist for"
            f" {' and '.join(MACHINES)}; put a 64-bit system on it, such as Raspberry Pi OS (64-bit)"
        )
    if board.python_version is None:
        raise DeviceError(f"{name}: there is no Python; install it there: sudo apt install python3")
    if board.python_version < OLDEST_PYTHON:
        raise DeviceError(
            f"{name}: its Python is {_dotted(board.python_version)}, and {_dotted(OLDEST_PYTHON)} or newer is needed;"
            " put a newer system on it (Raspberry Pi OS 12 bookworm has 3.11), or a newer python3 into its PATH"
        )
    if board.glibc is None:
        raise DeviceError(
            f"{name}: its C library is not glibc, which the runtimes need; put Debian, Ubuntu or Raspberry Pi OS on it"
        )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _kibibytes(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None else number * 1024
