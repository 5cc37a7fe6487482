"""Gives a board a private environment with the runtimes, from wheels downloaded here: it needs no internet."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from exporters.artifact import sha256_of
from profiler.boards.known import known_graph
from profiler.boards.look import Board, look_at, refuse_unfit
from profiler.boards.wheels import download, unpacked_bytes, versions_for
from profiler.devices import open_session
from profiler.errors import DeviceError
from profiler.hardware import SshDevice
from profiler.parity import check_parity
from profiler.program import Program
from profiler.transports import Transport

THERE = Path(__file__).with_name("there.py")
_TIMEOUT_S = 1800.0
_SPARE_BYTES = 64 << 20

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment on a board: where, of which packages, for which runtimes, and whether it was made just now."""

    board: Board
    folder: str
    packages: Mapping[str, str]
    runtimes: tuple[str, ...]
    python: str
    fresh: bool

    def as_dict(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)


def set_up(
    name: str, transport: Transport, folder: str, runtimes: Sequence[str], cache: Path, say: Say = lambda _: None
) -> Installed:
    """Make the environment ``folder/venv`` with ``runtimes`` beside those it has, unless it is there already.

    Wheels are kept in ``cache`` here. Interrupted at any point, the same call goes on: what was downloaded and
    what was sent are not again, and an environment counts only when it is whole.
    Raises :class:`DeviceError`, one line with the way out, for a board that is unfit or has too little room.
    """
    board = look_at(transport)
    say(f"{name}: {board}")
    refuse_unfit(board, name)
    if board.managed:
        say(f"{name}: its Python belongs to the system (PEP 668); nothing is installed into it")
    place = f"{folder}/venv"
    assert board.python is not None
    there = OnBoard(name, transport, board.python)
    known = there.do("installed", venv=place) or {}
    wanted = tuple(sorted({*runtimes, *known.get("runtimes", ())}))
    versions = versions_for(wanted, board, name)
    record = {"runtimes": list(wanted), "packages": versions}
    if {key: known.get(key) for key in record} == record:
        say(f"{name}: {place} is there already")
        return Installed(board, place, versions, wanted, known["python"], False)
    say(f"{name}: downloading {_listed(versions)} for {board.machine}")
    wheels = download(versions, board, cache)
    _require_room(board, wheels, name)
    say(f"{name}: sending {sum(wheel.stat().st_size for wheel in wheels) / 1e6:.0f} MB")
    sent = [{"name": wheel.name, "path": transport.put(wheel), "sha256": sha256_of(wheel)} for wheel in wheels]
    say(f"{name}: unpacking into {place}")
    made = there.do("environment", venv=place, wheels=sent, record=record)
    return Installed(board, place, versions, wanted, made["python"], True)


def prove(device: SshDevice) -> str:
    """Run a graph whose answer is known on a device; its runtime with its version. Nothing is timed.

    Raises :class:`profiler.ParityError` if the answer is another one.
    """
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        known = known_graph(device, Path(folder))
        with closing(open_session(device)) as session:
            check_parity(known, session.run(session.load(Program.single(known))), device.name)
            return session.target.runtime


def clean(name: str, transport: Transport, folder: str) -> int:
    """Take away everything that hwnas put on the board, all of it below ``folder``; the bytes that were freed."""
    return int(OnBoard(name, transport, transport.python).do("clean", folder=folder))


class OnBoard:
    """Runs ``there.py`` on a board, by a Python of the board's."""

    def __init__(self, name: str, transport: Transport, python: str) -> None:
        self._name = name
        self._transport = transport
        self._python = python
        self._program = transport.put(THERE)

    def do(self, operation: str, /, **arguments: object) -> Any:
        """What an operation answers; raises :class:`DeviceError` in the board's own words if it fails."""
        request = json.dumps({"op": operation, **arguments})
        done = self._transport.run([self._python, self._program, request], timeout_s=_TIMEOUT_S)
        lines = done.stdout.strip().splitlines()
        try:
            answer = json.loads(lines[-1])
            return answer["done"] if "done" in answer else self._fail(answer)
        except (IndexError, ValueError, TypeError):
            words = done.stderr.strip().splitlines() or [f"exit status {done.status}"]
            raise DeviceError(f"{self._name}: {operation} failed there: {words[-1]}") from None

    def _fail(self, answer: Mapping[str, object]) -> None:
        where = f": {answer['path']}" if answer.get("path") else ""
        raise DeviceError(f"{self._name}: {answer['error']}{where}; run the same command again when that is mended")


def _require_room(board: Board, wheels: Iterable[Path], name: str) -> None:
    needed = _SPARE_BYTES + sum(wheel.stat().st_size + unpacked_bytes(wheel) for wheel in wheels)
    if board.disk_free_bytes is not None and board.disk_free_bytes < needed:
        raise DeviceError(
            f"{name}: {board.disk_free_bytes / 2**20:.0f} MiB are free in {board.home}, {needed / 2**20:.0f} MiB are"
            " needed; make room there"
        )


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{package} {version}" for package, version in versions.items())
