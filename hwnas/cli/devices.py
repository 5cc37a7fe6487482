"""``hwnas devices``: the registry of devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, say, table
from hwnas.cli.options import DevicesOption, JsonOption, WaitOption

EXIT_CODES = {"disturbed": 3, "unusable": 1}

app = typer.Typer(help="The devices latency is measured on.", no_args_is_help=True)


@app.command("list", epilog="Example: hwnas devices list --devices ~/devices.yaml")
@guarded
def list_devices(devices: DevicesOption = None, json: JsonOption = False) -> None:
    """Show every registered device."""
    from profiler import load_devices

    registry = load_devices(devices)
    documents = [
        {
            "name": device.name,
            "kind": device.kind,
            "runtime": device.runtime,
            "threads": device.threads,
            "clock": device.effective_clock,
            "description": device.description,
            "note": device.note,
        }
        for device in registry.by_name.values()
    ]
    columns = ("name", "kind", "runtime", "threads", "clock", "description", "note")
    emit(
        {"file": str(registry.path), "devices": documents},
        json,
        lambda: (
            table(["device", *columns[1:]], [[d[key] for key in columns] for d in documents]) + f"\n({registry.path})"
        ),
    )


@app.command(epilog="Example: hwnas devices validate --devices ~/devices.yaml --open")
@guarded
def validate(
    devices: DevicesOption = None,
    open_sessions: Annotated[bool, typer.Option("--open", help="Also start each device's runtime once.")] = False,
    json: JsonOption = False,
) -> None:
    """Check the registry, and with --open that every device answers."""
    from contextlib import closing

    from profiler import load_devices, open_session
    from profiler.simulators.device import SimulatedDevice

    registry = load_devices(devices)
    found = []
    for device in registry.by_name.values():
        entry: dict[str, object] = {"device": device.name, "valid": True}
        if isinstance(device, SimulatedDevice):
            entry |= {"engine": device.engine, "configuration": device.configuration}
        elif open_sessions:
            with closing(open_session(device)) as session:
                entry |= {"target": str(session.target), "facts": session.facts()}
        found.append(entry)
    emit(
        {"file": str(registry.path), "devices": found},
        json,
        lambda: "\n".join(f"{entry['device']}: {entry.get('target', 'valid')}{_by(entry)}" for entry in found),
    )


def _by(entry: dict[str, object]) -> str:
    return f", estimated by {entry['engine']}: nothing runs there" if "engine" in entry else ""


@app.command(
    epilog="Exit code: 0 quiet or usable, 3 disturbed now, 1 unusable (or no answer).  Example: hwnas devices check x86"
)
@guarded
def check(
    name: Annotated[str, typer.Argument(help="A device of devices.yaml.")],
    seconds: Annotated[float, typer.Option(min=0.2, max=60, help="How long to look at noise and neighbours.")] = 1.5,
    devices: DevicesOption = None,
    wait: WaitOption = False,
    json: JsonOption = False,
) -> None:
    """Say what would disturb a measurement on a device.

    Looks at noise, neighbours and settings for a second or two, and says what to do about them.
    """
    from hwnas.profiling import opened
    from profiler import SessionError, load_devices
    from profiler.hardware import HardwareDevice
    from profiler.preflight import Surveyor, judge

    device = load_devices(devices).get(name)
    if isinstance(device, HardwareDevice) and device.provider != "cpu":
        say(f"{name} is {device.note}")  # before anything can fail
    with opened(device, say if wait else None, as_it_is=True) as session:
        if not isinstance(session, Surveyor):
            raise SessionError(f"{name} is a {device.kind} device, on which nothing disturbs a measurement")
        found = judge(session.survey(seconds), session.target)

    def text() -> str:
        rows = [[f.name, f.level, f.value] for f in found.findings]
        advice = [f"  {f.name}: {f.advice}" for f in found.findings if f.advice]
        lines = [table(["check", "level", "found"], rows), *(["what to do:", *advice] if advice else [])]
        if found.unknown:
            lines.append(f"this device does not tell: {', '.join(found.unknown)}")
        lines.append(f"fingerprint {found.fingerprint}; {found.target} is {found.verdict}")
        return "\n".join(lines)

    emit(found.as_dict(), json, text)
    if found.verdict in EXIT_CODES:
        raise SystemExit(EXIT_CODES[found.verdict])


@app.command(
    epilog="Example: hwnas devices add pi4 --kind ssh --host raspberrypi.local --user pi --key ~/.ssh/id_ed25519"
)
@guarded
def add(
    name: Annotated[str, typer.Argument(help="What the device is called from now on.")],
    devices: Annotated[Path, typer.Option("--devices", help="Registry to add to; made if missing.")] = Path(
        "devices.yaml"
    ),
    kind: Annotated[str, typer.Option(help="What kind of device it is.")] = "local",
    threads: Annotated[int, typer.Option(help="Threads the runtime may use.")] = 1,
    clock: Annotated[str | None, typer.Option(help="wall or thread_cpu; default by threads.")] = None,
    description: Annotated[str | None, typer.Option(help="A line for people.")] = None,
    runtime: Annotated[str | None, typer.Option(help="What runs there; default onnxruntime.")] = None,
    host: Annotated[str | None, typer.Option(help="Kind ssh: address, or a name of ~/.ssh/config.")] = None,
    user: Annotated[str | None, typer.Option(help="Kind ssh: who logs in there.")] = None,
    port: Annotated[int | None, typer.Option(help="Kind ssh: where its server listens.")] = None,
    key: Annotated[str | None, typer.Option(help="Kind ssh: file of a private key; else the agent's.")] = None,
    python: Annotated[str | None, typer.Option(help="Kind ssh: interpreter there.")] = None,
    json: JsonOption = False,
) -> None:
    """Register a device."""
    from profiler import add_device

    given: dict[str, object] = {
        "clock": clock,
        "description": description,
        "runtime": runtime,
        "host": host,
        "user": user,
        "port": port,
        "key": key,
        "python": python,
    }
    fields = {"kind": kind, "threads": threads, **{name: value for name, value in given.items() if value is not None}}
    add_device(devices, name, fields)
    emit({"file": str(devices), "name": name, **fields}, json, f"{name} is in {devices}")
