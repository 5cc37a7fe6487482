"""Which toolchains there are: ``toolchains.yaml``, with a lock file and a tool script for each."""

from __future__ import annotations

import hashlib
import platform
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from profiler.errors import ToolchainError

_HERE = Path(__file__).parent
CATALOGUE = _HERE / "toolchains.yaml"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    lock: str
    tool: str


class _Catalogue(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    toolchains: dict[str, _Entry]


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A tool and its pinned environment. ``tool`` is the script that the environment's Python serves."""

    name: str
    description: str
    lock: Path
    tool: Path

    @property
    def versions(self) -> dict[str, str]:
        """Package -> version, as pinned."""
        lines = (line.partition("#")[0].strip() for line in self.lock.read_text(encoding="utf-8").splitlines())
        pins = (line.partition("==") for line in lines if line)
        return {package: version for package, _, version in pins}

    @property
    def identity(self) -> str:
        """What an environment must have been made for: the pins, this Python and this platform (16 hex digits)."""
        pins = "\n".join(f"{package}=={version}" for package, version in sorted(self.versions.items()))
        python = f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}"
        text = f"{self.name}\n{pins}\n{python}\n{sysconfig.get_platform()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_toolchains(catalogue: Path = CATALOGUE) -> dict[str, Toolchain]:
    """Every toolchain of a catalogue, by name; its lock and tool stand in ``locks/`` and ``tools/`` beside it."""
    entries = _Catalogue.model_validate(yaml.safe_load(catalogue.read_text(encoding="utf-8"))).toolchains
    folder = catalogue.parent
    return {
        name: Toolchain(name, entry.description, folder / "locks" / entry.lock, folder / "tools" / entry.tool)
        for name, entry in entries.items()
    }


def get_toolchain(name: str) -> Toolchain:
    """The toolchain called ``name``; raises :class:`ToolchainError` naming those there are."""
    known = load_toolchains()
    if name not in known:
        raise ToolchainError(f"there is no toolchain {name!r}; known: {', '.join(sorted(known))}")
    return known[name]
