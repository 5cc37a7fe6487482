"""Where a toolchain's environment is, and whether it is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from profiler.errors import ToolchainError
from profiler.toolchain.catalogue import Toolchain, get_toolchain

State = Literal["installed", "outdated", "missing"]

PARTIAL = ".partial"
"""Ends the name of an environment that is being made or deleted."""


def root_folder() -> Path:
    """Where environments are kept unless a folder is given: in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hwnas" / "toolchains"


def environment(toolchain: Toolchain, root: Path | None = None) -> Path:
    """The folder of its environment. It exists only when whole: it is moved there after its check passed.

    Its tools are reached through :func:`python` and never by scripts in ``bin``, which name the
    folder they were made in.
    """
    return (root or root_folder()) / f"{toolchain.name}-{toolchain.identity}"


def python(environment: Path) -> Path:
    """The interpreter of an environment."""
    return environment / "bin" / "python"


def state(toolchain: Toolchain, root: Path | None = None) -> State:
    """``outdated``: there is an environment, but of other pins or of another Python."""
    if environment(toolchain, root).is_dir():
        return "installed"
    return "outdated" if any(not path.name.endswith(PARTIAL) for path in others(toolchain, root)) else "missing"


def installed_python(name: str, root: Path | None = None) -> Path:
    """The interpreter of toolchain ``name``; raises :class:`ToolchainError` with the command that installs it."""
    toolchain = get_toolchain(name)
    found = state(toolchain, root)
    if found != "installed":
        what = "is not installed" if found == "missing" else "is of other versions"
        raise ToolchainError(f"toolchain {name} {what}; run: hwnas toolchain install {name}")
    return python(environment(toolchain, root))


def tuned_file() -> Path:
    """Where the toolchain tvm keeps which tiles won; it outlives the toolchain's environments."""
    return root_folder().parent / "tvm-tuned.json"


def others(toolchain: Toolchain, root: Path | None = None) -> list[Path]:
    """Its environments that are of other pins or of another Python, or were left half made or half deleted."""
    final = environment(toolchain, root)
    return [
        path
        for path in sorted(final.parent.glob(f"{toolchain.name}-{'[0-9a-f]' * len(toolchain.identity)}*"))
        if path != final and path.is_dir() and len(path.name.removesuffix(PARTIAL)) == len(final.name)
    ]
