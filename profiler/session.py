"""The seam between the driver, which decides what is timed when, and whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from profiler.program import Program
from profiler.target import Target

Tensors = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Sample:
    """Time of ``calls`` calls in a row, on both of the device's clocks (nanoseconds, whole sample)."""

    calls: int
    wall_ns: int
    cpu_ns: int


class TimingSession(Protocol):
    """A runtime on a device, ready to load, run and time programs. Close it, or use ``with``."""

    @property
    def target(self) -> Target:
        """Where this session runs."""
        ...

    def load(self, program: Program) -> str:
        """Make ``program`` ready and return its handle."""
        ...

    def unload(self, handle: str) -> None:
        """Free what ``load`` took."""
        ...

    def time(self, handle: str, calls: int, samples: int = 1) -> tuple[Sample, ...]:
        """``samples`` samples of ``calls`` calls each, taken in a row on the device."""
        ...

    def run(self, handle: str, inputs: Tensors | None = None) -> dict[str, npt.NDArray[np.generic]]:
        """Outputs of the last stage by name; ``inputs`` replaces reference inputs of the first stage."""
        ...

    def facts(self) -> dict[str, object]:
        """The environment as JSON-able values: CPU, governor, frequency, load, steal, threads, versions."""
        ...

    def close(self) -> None:
        """End the session and everything it started."""
        ...
