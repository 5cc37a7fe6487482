"""``hwnas toolchain``: tools that need an environment of their own."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, say, table
from hwnas.cli.options import JsonOption

app = typer.Typer(help="Tools that cannot share hwnas's environment.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="A toolchain of `hwnas toolchain list`.")]


@app.command("list", epilog="Example: hwnas toolchain list")
@guarded
def list_toolchains(json: JsonOption = False) -> None:
    """Show every toolchain, and whether it is installed."""
    from profiler.toolchain import environment, load_toolchains, state

    documents = [
        {
            "name": toolchain.name,
            "state": state(toolchain),
            "description": toolchain.description,
            "versions": toolchain.versions,
            "folder": str(environment(toolchain)),
        }
        for toolchain in load_toolchains().values()
    ]
    columns = ("name", "state", "description")
    emit(
        {"toolchains": documents},
        json,
        lambda: table(["toolchain", *columns[1:]], [[document[key] for key in columns] for document in documents]),
    )


@app.command(epilog="Example: hwnas toolchain install nn-dataflow")
@guarded
def install(name: NameArgument, json: JsonOption = False) -> None:
    """Install a toolchain.

    It gets a private environment with pinned versions, and is checked to work.
    """
    from profiler.toolchain import environment, get_toolchain
    from profiler.toolchain import install as make

    toolchain = get_toolchain(name)
    versions = make(toolchain, say=say)
    emit(
        {"name": name, "folder": str(environment(toolchain)), "checked": versions},
        json,
        lambda: f"{name} works: {', '.join(f'{key} {value}' for key, value in versions.items())}",
    )


@app.command(epilog="Example: hwnas toolchain remove nn-dataflow")
@guarded
def remove(name: NameArgument, json: JsonOption = False) -> None:
    """Delete a toolchain's environment."""
    from profiler.toolchain import get_toolchain
    from profiler.toolchain import remove as delete

    removed = delete(get_toolchain(name))
    emit({"name": name, "removed": removed}, json, f"{name} is removed" if removed else f"{name} was not installed")
