"""Devices that run the worker: this machine, and a board that is reached by SSH."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from profiler.target import Clock


class HardwareDevice(BaseModel):
    """What every such device has: a runtime, its threads, and the clock that counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = ""
    runtime: Literal["onnxruntime", "litert", "tflite", "tvm", "torch"] = "onnxruntime"
    threads: int = Field(default=1, ge=1, strict=True)
    clock: Literal["wall", "thread_cpu"] | None = None
    cores: tuple[int, ...] | None = None
    provider: Literal["cpu", "cuda"] = "cpu"

    @model_validator(mode="after")
    def _clock_fits(self) -> HardwareDevice:
        if self.clock == "thread_cpu" and (self.threads > 1 or self.provider != "cpu"):
            raise ValueError("clock: thread_cpu is the time of one CPU thread; leave it out, or use wall")
        if self.cores is not None and (not self.cores or min(self.cores) < 0):
            raise ValueError("cores: a list of core numbers like [0, 1] is expected")
        if self.runtime in ("litert", "tflite") and self.provider != "cpu":
            raise ValueError(f"provider: {self.runtime} runs on the CPU only; leave provider out, or use onnxruntime")
        return self

    @property
    def effective_clock(self) -> Clock:
        """The clock that counts: thread CPU time for one CPU thread, wall time otherwise, unless given."""
        if self.clock is not None:
            return self.clock
        return "thread_cpu" if self.threads == 1 and self.provider == "cpu" else "wall"

    @property
    def note(self) -> str:
        """What a user should know before trusting it; empty if nothing."""
        return "" if self.provider == "cpu" else "unproven: nothing was ever run on a GPU with this"


class LocalDevice(HardwareDevice):
    """This machine, or its first GPU. ``provider: cuda`` has not been run on a GPU yet."""

    kind: Literal["local"]


class SshDevice(HardwareDevice):
    """A board reached by SSH. What is left out is taken from ``~/.ssh/config``, as ``ssh`` takes it.

    ``host`` may be a name of that file. ``key`` is the file of a private key; without one the agent's
    keys and the usual files are tried. ``jump`` names hosts to go through (``user@host:port``, several
    with commas). ``python`` is the interpreter there: by default the one ``hwnas devices setup`` made,
    else ``python3``. ``folder`` is where things are kept there. ``emulated`` says that its processor is an
    emulator's: outputs are compared there, and nothing is timed. ``tvm_target`` is the board's processor as TVM
    calls it (``raspberry-pi/4b-aarch64``); graphs are compiled for it here. A session starts once the board is below
    ``start_below_celsius``; with ``set_governor`` its frequency governor is ``performance`` meanwhile.
    ``source: virtual-clock`` says that its clock counts an emulator's instructions, one a nanosecond: tables are built
    there, of that source, and nothing else is timed.
    """

    kind: Literal["ssh"]
    host: str = Field(min_length=1)
    user: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535, strict=True)
    key: str | None = None
    jump: str | None = None
    python: str | None = None
    folder: str = "~/.hwnas"
    emulated: bool = False
    source: Literal["measured", "virtual-clock"] = "measured"
    tvm_target: str | None = None
    start_below_celsius: float = Field(default=70.0, gt=0)
    set_governor: bool = False

    @model_validator(mode="after")
    def _target_is_known(self) -> SshDevice:
        if self.runtime == "tvm" and self.tvm_target is None:
            raise ValueError("tvm_target: name the processor as TVM does, e.g. raspberry-pi/4b-aarch64")
        if self.runtime == "tvm" and self.provider != "cpu":
            raise ValueError("provider: tvm is compiled for a board's processor alone; use onnxruntime or torch")
        return self

    @model_validator(mode="after")
    def _source_fits(self) -> SshDevice:
        if self.source == "virtual-clock" and (self.emulated or self.threads > 1 or self.clock is not None):
            wrong = "emulated" if self.emulated else "clock" if self.clock is not None else "threads"
            raise ValueError(f"source: virtual-clock counts one thread's instructions; leave {wrong} out")
        return self

    @property
    def effective_clock(self) -> Clock:
        """As for every device, or the virtual one."""
        return "virtual" if self.source == "virtual-clock" else super().effective_clock

    @property
    def measures(self) -> bool:
        """Whether what is timed there is a latency."""
        return not self.emulated and self.source == "measured"

    @property
    def note(self) -> str:
        """As for every device, or that this one tells no latency."""
        if self.source == "virtual-clock":
            return "virtual clock: instructions are counted for tables, no latency is told"
        return "emulated: outputs are compared there, no latency is told" if self.emulated else super().note
