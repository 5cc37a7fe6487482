"""The command line: everything under ``hwnas``.

``hwnas devices | space | data | train | profile | lut | predict | explain | predictor | subset | proxies | search
| export | deploy | run | demo | report | compare | runtimes | toolchain | accelerator``.

Results go to stdout (``--json`` for machines), progress and log to stderr. Exit codes: 0 done,
1 our error in one line (``--debug`` for the traceback), 2 usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys

import typer

from hwnas.cli import (
    accelerator,
    accelerator_fit,
    compare,
    data,
    demo,
    deploy,
    devices,
    devices_parity,
    devices_setup,
    devices_trust,
    explain,
    export,
    lut,
    predict,
    predictor,
    profile,
    proxies,
    report,
    run,
    runtimes,
    search,
    space,
    subset,
    toolchain,
    train,
    tune,
)
from hwnas.cli.console import guarded, set_debug

app = typer.Typer(
    name="hwnas",
    help="Measure what a Transformer's operators cost on your device, search under a latency limit, ship the winner.",
    epilog="Start with: hwnas demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
devices_trust.register(devices.app)
devices_setup.register(devices.app)
devices_parity.register(devices.app)
app.add_typer(devices.app, name="devices")
app.add_typer(space.app, name="space")
app.add_typer(data.app, name="data")
app.add_typer(lut.app, name="lut")
app.add_typer(predictor.app, name="predictor")
app.add_typer(toolchain.app, name="toolchain")
app.add_typer(runtimes.app, name="runtimes")
accelerator_fit.register(accelerator.app)
app.add_typer(accelerator.app, name="accelerator")
train.register(app)
profile.register(app)
predict.register(app)
tune.register(app)
explain.register(app)
subset.register(app)
proxies.register(app)
search.register(app)
export.register(app)
deploy.register(app)
run.register(app)
demo.register(app)
report.register(app)
compare.register(app)


def _show_version(asked: bool) -> None:
    if asked:
        from hwnas import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    _version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_show_version, help="Print the version and leave."
    ),
) -> None:
    set_debug(debug)


def take_command_line() -> None:
    """Do what ``sys.argv`` says; what it prints has left by then, or that is its error."""
    guarded(_run)()


def _run() -> None:
    status: object = None
    try:
        app()
    except SystemExit as end:
        status = end.code
        raise
    finally:
        try:
            if sys.stdout is not None:  # whoever started it may have closed it
                sys.stdout.flush()
        except OSError:
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), sys.stdout.fileno())  # else the interpreter tries it once more
            if not status:
                raise
