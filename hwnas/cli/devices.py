"""``hwnas devices``: the registry of devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, table
from hwnas.cli.options import DevicesOption, JsonOption, cache_folder

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
    from hwnas.profiling import opened
    from profiler import load_devices

    registry = load_devices(devices)
    found = []
    for device in registry.by_name.values():
        entry: dict[str, object] = {"device": device.name, "valid": True}
        if open_sessions:
            with opened(device, cache_folder(None)) as session:
                entry |= {"target": str(session.target), "facts": session.facts()}
        found.append(entry)
    emit(
        {"file": str(registry.path), "devices": found},
        json,
        lambda: "\n".join(f"{entry['device']}: {entry.get('target', 'valid')}" for entry in found),
    )


@app.command(epilog="Example: hwnas devices add laptop2 --threads 2 --devices ~/devices.yaml")
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
    json: JsonOption = False,
) -> None:
    """Register a device."""
    from profiler import add_device

    fields: dict[str, object] = {"kind": kind, "threads": threads}
    if clock is not None:
        fields["clock"] = clock
    if description is not None:
        fields["description"] = description
    add_device(devices, name, fields)
    emit({"file": str(devices), "name": name, **fields}, json, f"{name} is in {devices}")
