"""``hwnas devices setup`` and ``clean``: what a board needs to run and time models, put there and taken away."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, say
from hwnas.cli.options import DevicesOption, JsonOption, WaitOption

NameArgument = Annotated[str, typer.Argument(help="A board of devices.yaml (kind: ssh).")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(epilog="Example: hwnas devices setup pi4")(setup)
    app.command(epilog="Example: hwnas devices clean pi4")(clean)


@guarded
def setup(
    name: NameArgument,
    runtime: Annotated[
        list[str] | None, typer.Option("--runtime", help="A runtime to install, again for each; else the device's.")
    ] = None,
    devices: DevicesOption = None,
    wait: WaitOption = False,
    json: JsonOption = False,
) -> None:
    """Give a board a Python environment of its own.

    Its packages are downloaded here. The board needs no internet, and nothing of its system is changed. Each
    runtime is proven by a model whose answer is known.
    """
    from contextlib import closing

    from hwnas.cli.options import cache_folder
    from profiler import DeviceError, load_devices
    from profiler.boards import prove, set_up
    from profiler.devices import board_with, require_board
    from profiler.transports.ssh import open_ssh

    board = require_board(load_devices(devices).get(name))
    if board.python is not None:
        raise DeviceError(
            f"{name} has a Python of its own ({board.python}); install its runtimes into that, or take python: out of"
            " devices.yaml and run this again"
        )
    wheels = cache_folder(None).with_name("wheels")
    wanted = [board_with(board, each) for each in runtime or [board.runtime]]
    with closing(open_ssh(board)) as transport:
        transport.lock(say if wait else None)
        installed = set_up(name, transport, transport.folder, [each.runtime for each in wanted], wheels, say)
    proven = {each.runtime: prove(each) for each in wanted}
    emit(
        {"device": name, **installed.as_dict(), "proven": proven},
        json,
        lambda: f"{name} is ready: {' and '.join(proven.values())} gave the known answer; {installed.folder}",
    )


@guarded
def clean(
    name: NameArgument, devices: DevicesOption = None, wait: WaitOption = False, json: JsonOption = False
) -> None:
    """Take away everything that hwnas put on a board."""
    from contextlib import closing

    from profiler import load_devices
    from profiler.boards import clean as take_away
    from profiler.devices import require_board
    from profiler.transports.ssh import open_ssh

    board = require_board(load_devices(devices).get(name))
    with closing(open_ssh(board)) as transport:
        transport.lock(say if wait else None)
        folder = transport.folder
        freed = take_away(name, transport, folder)
    emit(
        {"device": name, "folder": folder, "freed_bytes": freed}, json, f"{name}: {freed / 1e6:.0f} MB freed: {folder}"
    )
