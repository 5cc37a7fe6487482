"""The seam between the driver, which decides what is timed when, and whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from profiler.program import Program
from profiler.target import Target

Tensors = Mapping[str, npt.NDArray[np.generic]]

ReferenceWorkload = Literal["compute", "memory"]
"""A reference workload: what bounds it. Its time tells how fast the device is right now."""


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

    def reference(self, workload: ReferenceWorkload, calls: int, samples: int = 1) -> tuple[Sample, ...]:
        """As :meth:`time`, of a small workload that is built in and the same in every session.

        ``compute`` multiplies float32 matrices that fit the caches, ``memory`` streams a piece of
        a buffer larger than the last-level cache.
        """
        ...

    def counters(self) -> dict[str, int]:
        """Cheap numbers that only grow, so that their difference tells of what came between.

        Those it has of: ``nivcsw`` (involuntary context switches of the worker),
        ``steal_jiffies`` (taken by the host of a virtual machine), ``pressure_us`` (some task
        waited for a CPU), ``wall_ns`` and ``raw_ns`` (the clock that counts, and the machine's
        undisciplined one), ``first_call_ns`` (spent in first calls of programs), ``throttles`` (grows
        if a board or a GPU is or was throttled since the last look), ``load_khz`` (grows by a board's clock
        after the first and the last sample of whatever is timed), and of a GPU ``gpu_event_ns`` (samples, by
        its own clock), ``gpu_sm_khz`` (as ``load_khz``) and ``gpu_loaded_bytes`` (taken by loading programs).
        """
        ...

    def facts(self) -> dict[str, object]:
        """The environment as JSON-able values: CPU, governor, frequency, load, steal, threads, versions."""
        ...

    def close(self) -> None:
        """End the session and everything it started."""
        ...
