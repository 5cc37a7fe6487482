"""A target: a device, what runs there, and the clock that counts. One table per target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Clock = Literal["wall", "thread_cpu", "virtual", "estimated"]


@dataclass(frozen=True, slots=True)
class Target:
    """Device + runtime + threads, with the clock its latencies are told on.

    ``runtime`` carries its version (``onnxruntime-1.32.0``), for a table of one version says
    nothing of another. ``thread_cpu`` is the CPU time of the one thread that runs the model: on
    a machine shared with others it leaves out the time the thread was not running; with more
    than one thread only ``wall`` makes sense. ``virtual`` is that CPU time by an emulator's clock, which counts
    instructions: it repeats, and is no time that anything takes. ``estimated`` is no clock: an engine's figures (a
    simulated device; ``runtime`` then names engine, version and configuration).
    """

    device: str
    runtime: str
    threads: int
    clock: Clock

    @property
    def runtime_name(self) -> str:
        """The runtime without its version: ``onnxruntime``."""
        return self.runtime.rpartition("-")[0]

    @property
    def on_gpu(self) -> bool:
        """Whether its programs run on a GPU: the runtime's version then ends with ``+cuda``."""
        return self.runtime.endswith("+cuda")

    @property
    def place(self) -> tuple[str, int, Clock, bool]:
        """Where reference workloads run and how they are timed, which is the same for every runtime there."""
        return self.device, self.threads, self.clock, self.on_gpu

    def __str__(self) -> str:
        return f"{self.device}/{self.runtime}/threads={self.threads}/{self.clock}"
