"""``hwnas devices trust``: take a board's host key for its own from now on."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, say
from hwnas.cli.options import DevicesOption, JsonOption

_COMPARE = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas devices trust pi4 --fingerprint SHA256:…")(trust)


@guarded
def trust(
    name: Annotated[str, typer.Argument(help="A device of devices.yaml that is reached by SSH.")],
    fingerprint: Annotated[
        str | None,
        typer.Option("--fingerprint", help="Trust this key alone, without asking; as ssh-keygen -l prints it."),
    ] = None,
    devices: DevicesOption = None,
    json: JsonOption = False,
) -> None:
    """Show a board's host key and trust it if you say so.

    A key trusted before is replaced.

    The board itself prints its fingerprint by: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
    """
    from profiler import DeviceError, load_devices
    from profiler.hardware import SshDevice
    from profiler.transports import ssh_connection

    device = load_devices(devices).get(name)
    if not isinstance(device, SshDevice):
        raise DeviceError(f"{name!r} is {device.kind}, it is not reached by SSH and has no host key")
    key = ssh_connection.host_key_of(device)
    say(f"{key.name} shows the {key.kind} key {key.fingerprint}")
    if fingerprint is None:
        if not sys.stdin.isatty():
            raise DeviceError(
                f"{name}: compare that with what `{_COMPARE}` prints on the board, then say so:"
                f" hwnas devices trust {name} --fingerprint {key.fingerprint}"
            )
        typer.confirm(f"Is that what `{_COMPARE}` prints on the board?", abort=True, err=True)
    elif fingerprint != key.fingerprint:
        raise DeviceError(f"{name}: the board shows {key.fingerprint}, not {fingerprint}; nothing was trusted")
    ssh_connection.trust(key)
    file = ssh_connection.own_known_hosts()
    document = {"device": name, "host": key.name, "kind": key.kind, "fingerprint": key.fingerprint, "file": str(file)}
    emit(document, json, f"{name}: trusted from now on ({file})")
