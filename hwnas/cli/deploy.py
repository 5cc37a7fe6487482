"""``hwnas deploy``: a bundle on a board, proven and timed there, and runnable without this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, progress_bar, say
from hwnas.cli.options import DevicesOption, JsonOption, WaitOption


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas deploy runs/bundle --device pi4 --sustained 10")(deploy)


@guarded
def deploy(
    bundle: Annotated[Path, typer.Argument(help="Folder made by hwnas export.")],
    device: Annotated[str, typer.Option("--device", help="A board of devices.yaml, set up by hwnas devices setup.")],
    sustained: Annotated[
        float | None, typer.Option("--sustained", min=0.05, help="Minutes to run it without a pause after that.")
    ] = None,
    devices: DevicesOption = None,
    wait: WaitOption = False,
    json: JsonOption = False,
) -> None:
    """Put a bundle on a board, prove it and time it there.

    It stays there as hwnas-run. What was seen goes into the bundle's manifest. Ends with 3 if a limit is not held
    there, or if the board answers an example otherwise.
    """
    from hwnas.deploy.board import deploy as put
    from hwnas.deploy.board import describe, trusted_manifest
    from profiler import load_devices
    from profiler.devices import require_board

    board = require_board(load_devices(devices).get(device))
    with progress_bar("measuring") as bar, progress_bar("sustained") as long_bar:
        seen = put(
            bundle, board, sustained_s=None if sustained is None else 60 * sustained,
            say=say, measuring=bar.update, sustaining=long_bar.update, waiting=say if wait else None,
        )  # fmt: skip
    emit(seen, json, lambda: describe(seen, trusted_manifest(bundle), device))
    if seen["held"] is False or seen["answers"]["different"]:
        raise SystemExit(3)
