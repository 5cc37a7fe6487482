"""Toolchains for slow tests: installed where the user's are, once."""

import pytest

from profiler.errors import ToolchainError
from profiler.toolchain import get_toolchain, install, state


def need(name: str) -> None:
    """Install the toolchain unless it is there, as ``hwnas toolchain install`` does; skip if that cannot be done."""
    toolchain = get_toolchain(name)
    if state(toolchain) == "installed":
        return
    try:
        install(toolchain)
    except ToolchainError as exc:
        pytest.skip(f"toolchain {name} cannot be installed here: {exc}")
