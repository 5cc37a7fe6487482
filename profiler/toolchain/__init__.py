"""Toolchains: tools in locked private environments, spoken to as worker processes in JSON lines."""

from profiler.toolchain.catalogue import Toolchain, get_toolchain, load_toolchains
from profiler.toolchain.install import install, remove
from profiler.toolchain.place import State, environment, state
from profiler.toolchain.process import ToolProcess

__all__ = [
    "State",
    "ToolProcess",
    "Toolchain",
    "environment",
    "get_toolchain",
    "install",
    "load_toolchains",
    "remove",
    "state",
]
