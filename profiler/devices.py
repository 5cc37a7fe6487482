"""``devices.yaml``: which devices there are, how they are reached, and what runs there."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from pydantic import ValidationError

from profiler.errors import DeviceError
from profiler.hardware import LocalDevice, SshDevice
from profiler.session import TimingSession
from profiler.simulators.device import SimulatedDevice

if TYPE_CHECKING:
    from profiler.transports import Transport

SHIPPED = Path(__file__).with_name("devices.yaml")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


Device = LocalDevice | SshDevice | SimulatedDevice

_KINDS: dict[str, tuple[type[Device], str | None]] = {
    "local": (LocalDevice, "profiler.transports.local:open_local"),
    "ssh": (SshDevice, "profiler.transports.ssh:open_ssh"),
    "simulated": (SimulatedDevice, None),
}
"""Kind -> its model and the function that opens a way to it (named, so that it is imported only then), if one can."""


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices of one file, by name."""

    path: Path
    by_name: Mapping[str, Device]

    def get(self, name: str) -> Device:
        """The device called ``name``; raises :class:`DeviceError` naming those there are."""
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise DeviceError(f"{name!r} is not in {self.path.name}; known: {known}")
        return self.by_name[name]


def load_devices(path: Path | None = None) -> Devices:
    """Read ``path``, else ``./devices.yaml`` if there is one, else the file that is shipped.

    Raises :class:`DeviceError`, one line with file and place, for anything wrong in it.
    """
    if path is None:
        here = Path("devices.yaml")
        path = here if here.is_file() else SHIPPED
    return _parse(_read(path), path)


def add_device(path: Path, name: str, fields: Mapping[str, object], start: Path | None = None) -> Device:
    """Add a device to a file, atomically, leaving the rest as it is; a missing file is made, as a copy of ``start``.

    Raises :class:`DeviceError` if the name is taken or a field is wrong; the file is then untouched.
    """
    known_in = path if path.exists() else start
    old = "devices:\n" if known_in is None else _read(known_in)
    known = _parse(old, path)
    if name in known.by_name:
        raise DeviceError(f"{name!r} is in {path} already; choose another name, or edit the file")
    device = _device(name, dict(fields), path)
    entry = yaml.safe_dump({name: dict(fields)}, sort_keys=False, allow_unicode=True, default_flow_style=None)
    indent = _indent(old)
    block = "".join(f"{indent}{line}\n" for line in entry.splitlines())
    new = old + ("" if old.endswith("\n") else "\n") + block
    if not _is_extension(new, known, device, path):
        raise DeviceError(f"{path} is not in the form this can add to; add these lines by hand:\n{block.rstrip()}")
    target = path.resolve()
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(new, encoding="utf-8")
        partial.replace(target)
    except OSError as exc:
        raise DeviceError(f"cannot write {path}: {exc.strerror}") from exc
    finally:
        partial.unlink(missing_ok=True)
    return device


def host_of(device: Device) -> str:
    """The machine behind a device: two devices of one host must not be measured at once."""
    if isinstance(device, LocalDevice):
        return "localhost"
    return f"{device.host} (by SSH)" if isinstance(device, SshDevice) else device.name


def require_runs(device: Device) -> str:
    """What opens a session on ``device``; raises :class:`DeviceError` if nothing can."""
    opens = _KINDS[device.kind][1]
    if opens is None:
        raise DeviceError(
            f"{device.name!r} is {device.kind}: nothing runs or is measured there, it can only be estimated"
            " (hwnas profile); name a device that runs"
        )
    return opens


def require_board(device: Device) -> SshDevice:
    """``device`` as a board reached by SSH; raises :class:`DeviceError` if it is none."""
    if not isinstance(device, SshDevice):
        raise DeviceError(f"{device.name!r} is {device.kind}: only a board (kind: ssh) is set up and deployed to")
    return device


def board_with(board: SshDevice, runtime: str) -> SshDevice:
    """``board`` with another runtime; raises :class:`DeviceError` if it cannot have that."""
    fields = board.model_dump(exclude={"name"}) | {"runtime": runtime}
    return cast(SshDevice, _device(board.name, fields, Path("--runtime")))


def require_times(device: Device) -> None:
    """Raises :class:`DeviceError` where nothing runs, and for an emulated device: its times may enter no table."""
    require_runs(device)
    if isinstance(device, SshDevice) and device.emulated:
        raise DeviceError(
            f"{device.name!r} is emulated: its times are the emulator's, and nothing is timed there; compare outputs"
            " there (hwnas devices parity, hwnas deploy), and measure on a board"
        )


def require_measures(device: Device) -> None:
    """:func:`require_times`, and :class:`DeviceError` for a virtual clock: it builds tables, and tells no latency."""
    require_times(device)
    if isinstance(device, SshDevice) and not device.measures:
        raise DeviceError(
            f"{device.name!r} has a virtual clock: it builds tables (hwnas profile), and what it counts is no measured"
            " latency; name a device that measures"
        )


def open_transport(device: LocalDevice | SshDevice) -> Transport:
    """A way to ``device``; raises :class:`profiler.TransportError` if there is none."""
    module, _, function = require_runs(device).partition(":")
    return cast("Transport", getattr(import_module(module), function)(device))


def open_session(device: Device) -> TimingSession:
    """Start what times programs on ``device``.

    Raises :class:`DeviceError` for a simulated device: what runs nowhere can only be estimated.
    """
    require_runs(device)
    assert not isinstance(device, SimulatedDevice)
    from profiler.worker_session import WorkerSession

    return WorkerSession(open_transport(device), device)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise DeviceError(f"{path} is not a text file in UTF-8") from exc
    except OSError as exc:
        raise DeviceError(f"cannot read {path}: {exc.strerror}") from exc


def _parse(text: str, path: Path) -> Devices:
    try:
        document = yaml.load(text, Loader=_UniqueKeys)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        raise DeviceError(f"{path}{place}: {exc.problem or exc.context}") from exc
    except (yaml.YAMLError, ValueError) as exc:  # a date that cannot be is a ValueError
        raise DeviceError(f"{path}: {' '.join(str(exc).split())}") from exc
    if not isinstance(document, dict) or set(document) != {"devices"}:
        raise DeviceError(f"{path}: one top-level key 'devices' is expected")
    entries = document["devices"] or {}
    if not isinstance(entries, dict):
        raise DeviceError(f"{path}: devices: names with fields below them are expected")
    return Devices(path, {str(name): _device(str(name), fields, path) for name, fields in entries.items()})


def _device(name: str, fields: object, path: Path) -> Device:
    place = f"{path}: devices.{name}"
    if _NAME.fullmatch(name) is None:
        raise DeviceError(f"{place}: a name has letters, digits, '.', '_' and '-' only")
    if not isinstance(fields, dict):
        raise DeviceError(f"{place}: fields like 'kind: local' are expected")
    kind = fields.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        given = "kind is missing" if kind is None else f"kind {kind!r} is unknown"
        raise DeviceError(f"{place}: {given}; known: {', '.join(_KINDS)}")
    model = _KINDS[kind][0]
    known = ["kind", *(field for field in model.model_fields if field not in ("name", "kind"))]
    unknown = [str(field) for field in fields if field not in known]
    if unknown:
        raise DeviceError(f"{place}: unknown key {unknown[0]!r}; known: {', '.join(known)}")
    try:
        return model(name=name, **fields)
    except ValidationError as exc:
        error = exc.errors()[0]
        where = "".join(f".{part}" for part in error["loc"])
        message = error["msg"].removeprefix("Value error, ")
        got = f", not {error['input']!r}" if error["loc"] else ""
        raise DeviceError(f"{place}{where}: {message}{got}") from exc


def _indent(text: str) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    devices = root.value[0][1] if isinstance(root, yaml.MappingNode) else None
    if isinstance(devices, yaml.MappingNode) and devices.value:
        return " " * int(devices.value[0][0].start_mark.column)
    return "  "


def _is_extension(text: str, known: Devices, device: Device, path: Path) -> bool:
    try:
        return dict(_parse(text, path).by_name) == {**known.by_name, device.name: device}
    except DeviceError:
        return False


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is given twice, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a name is expected here", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
