"""A device of known truth: every latency on it is scripted, and so is what disturbs it. Virtual time, no sleeping.

A :class:`TruthDevice` is the machine, which goes on while sessions on it come and go; ``device.open`` is an
opener for :func:`profiler.measure`. It keeps the ``visits`` it was asked for with and without disturbance,
so that a test knows which of them were disturbed and by how much.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from profiler import Program, Sample, SessionError, Target
from profiler.parity import reference_tensors

TARGET = Target("truth", "truth-1", 1, "wall")
REFERENCE_MS = {"compute": 0.11, "memory": 0.23}
REFERENCE_MIX = {"compute": 1.0, "memory": 0.0}
SAMPLE_OVERHEAD_MS = 0.02
OPENING_MS = 40.0

Slowdown = Callable[[float, np.random.Generator], tuple[float, float]]
"""How much slower compute and memory are at a time in ms; 1 is undisturbed."""


@dataclass(frozen=True)
class Truth:
    """A program's undisturbed latency, its share of compute and how much it differs between processes."""

    latency_ms: float
    mix: float = 0.5
    process_spread: float = 0.02


@dataclass(frozen=True)
class Noise:
    """One-sided and heavy-tailed: every sample is a little slower, some are much slower."""

    jitter: float = 0.003
    tail_share: float = 0.2
    tail: float = 0.08

    def factors(self, rng: np.random.Generator, samples: int) -> np.ndarray:
        tail = (rng.random(samples) < self.tail_share) * self.tail * (rng.pareto(1.8, samples))
        return 1 + self.jitter * rng.exponential(size=samples) + tail


@dataclass(frozen=True)
class Script:
    """What disturbs the device; the times are virtual ms since it was switched on."""

    slowdowns: Sequence[Slowdown] = ()
    granularity_ns: int = 1
    clock_jumps: Sequence[tuple[float, float]] = ()
    """(time in ms, by how many ms the wall clock is set forward)"""
    steal: Slowdown | None = None
    """Wall time only: the host takes the CPU away."""
    dies_at: frozenset[int] = frozenset()
    """Numbers of requests (over all sessions) at which the worker dies."""
    hangs_at: frozenset[int] = frozenset()


@dataclass(frozen=True)
class TimedVisit:
    """What one request to time was answered with, and what it would have been on the undisturbed device."""

    program: str
    wall_ns: tuple[int, ...]
    undisturbed_ns: tuple[float, ...]
    clock_jumped: bool
    """Whether the wall clock was set while it lasted."""

    @property
    def disturbance(self) -> float:
        """Ratio of THE functional of its samples to that of the same samples undisturbed."""
        return lower_half(self.wall_ns) / lower_half(self.undisturbed_ns)


def lower_half(values: Sequence[float]) -> float:
    ordered = np.sort(np.asarray(values, dtype=float))
    return float(ordered[: (len(ordered) + 1) // 2].mean())


@dataclass
class TruthDevice:
    """``truths`` by :attr:`Program.sha256`; any other program takes half a millisecond.

    With ``journal`` the device is replayable: what it does follows from how much that journal holds,
    so that a run that is killed and goes on meets the very same device.
    """

    truths: Mapping[str, Truth]
    script: Script = field(default_factory=Script)
    noise: Noise = field(default_factory=Noise)
    seed: int = 0
    target: Target = TARGET
    reference_spread: float = 0.01
    journal: Path | None = None

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._now_ms = 0.0
        self.requests = 0
        self.opened = 0
        self.visits: dict[tuple[str, tuple[int, ...]], TimedVisit] = {}
        self.stolen_ms = 0.0
        self._read_bytes = 0
        self._known = 0, 0

    def open(self) -> TruthSession:
        self.opened += 1
        self._now_ms += OPENING_MS
        return TruthSession(self)

    @property
    def now_ms(self) -> float:
        return self._now_ms if self.journal is None else 20.0 * self._taken()

    def rng(self, name: str) -> np.random.Generator:
        if self.journal is None:
            return self._rng
        return np.random.default_rng([self.seed, self._taken(), *name.encode()])

    def process_effect(self, name: str, spread: float, known: dict[str, float]) -> float:
        """A factor per process and program, the same in every session for the same seed and opening."""
        if self.journal is not None:
            round_ = self._round()
            return math.exp(spread * np.random.default_rng([self.seed, round_, *name.encode()]).standard_normal())
        if name not in known:
            known[name] = math.exp(spread * self._rng.standard_normal())
        return known[name]

    def take(self, name: str, truth: Truth, effect: float, calls: int, samples: int) -> tuple[Sample, ...]:
        """Let time pass: so many samples of so many calls."""
        rng = self.rng(name)
        factors = self.noise.factors(rng, samples)
        start_ms = now_ms = self.now_ms
        taken, clean = [], []
        for factor in factors:
            undisturbed_ms = calls * truth.latency_ms * effect * factor
            compute, memory = self._slowdown(now_ms, rng)
            slowdown = compute**truth.mix * memory ** (1 - truth.mix)
            cpu_ms = undisturbed_ms * slowdown
            stolen_ms = 0.0
            if self.script.steal is not None:
                stolen_ms = cpu_ms * (self.script.steal(now_ms, rng)[0] - 1)
                self.stolen_ms += stolen_ms
            end_ms = now_ms + cpu_ms + stolen_ms
            wall_ns = self._wall_ns(end_ms) - self._wall_ns(now_ms)
            taken.append(Sample(calls, wall_ns, self._tick(1e6 * (start_ms + cpu_ms)) - self._tick(1e6 * start_ms)))
            clean.append(1e6 * undisturbed_ms)
            now_ms = end_ms + SAMPLE_OVERHEAD_MS
        self._now_ms += now_ms - start_ms
        jumped = any(start_ms <= at < now_ms for at, _ in self.script.clock_jumps)
        visit = TimedVisit(name, tuple(s.wall_ns for s in taken), tuple(clean), jumped)
        self.visits[name, visit.wall_ns] = visit
        return tuple(taken)

    def wall_ns(self) -> int:
        return self._wall_ns(self.now_ms)

    def raw_ns(self) -> int:
        return self._tick(1e6 * self.now_ms)

    def request(self, what: str) -> None:
        """Count a request; raises what the real session raises when its worker dies or hangs."""
        self.requests += 1
        if self.requests in self.script.dies_at:
            raise SessionError(f"truth: the worker died during {what}: ended by signal -9 (out of memory?)")
        if self.requests in self.script.hangs_at:
            self._now_ms += 900e3
            raise SessionError(f"truth: {what}: no reply within 900 s")

    def _slowdown(self, now_ms: float, rng: np.random.Generator) -> tuple[float, float]:
        compute = memory = 1.0
        for slowdown in self.script.slowdowns:
            c, m = slowdown(now_ms, rng)
            compute, memory = compute * c, memory * m
        return compute, memory

    def _wall_ns(self, now_ms: float) -> int:
        jumped_ms = sum(by for at, by in self.script.clock_jumps if now_ms >= at)
        return self._tick(1e6 * (now_ms + jumped_ms))

    def _tick(self, now_ns: float) -> int:
        return math.floor(now_ns / self.script.granularity_ns) * self.script.granularity_ns

    def _taken(self) -> int:
        return self._read()[0]

    def _round(self) -> int:
        return self._read()[1]

    def _read(self) -> tuple[int, int]:
        """How many samples and references the journal holds, and the number after their last round's."""
        assert self.journal is not None
        if not self.journal.exists():
            return 0, 0
        with self.journal.open("rb") as stream:
            stream.seek(self._read_bytes)
            whole, newline, _ = stream.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(newline)
        for line in whole.split(b"\n"):
            if b'"kind":"sample"' in line or b'"kind":"reference"' in line:
                self._known = self._known[0] + 1, max(self._known[1], json.loads(line)["round"] + 1)
        return self._known


class TruthSession:
    """One process on the device; implements :class:`profiler.TimingSession`."""

    def __init__(self, device: TruthDevice) -> None:
        self._device = device
        self._programs: dict[str, Program] = {}
        self._effects: dict[str, float] = {}
        self._loads = 0
        self._ended = False

    @property
    def target(self) -> Target:
        return self._device.target

    def load(self, program: Program) -> str:
        self._ask("load")
        self._loads += 1
        handle = f"h{self._loads}"
        self._programs[handle] = program
        return handle

    def unload(self, handle: str) -> None:
        self._ask("unload")
        self._program(handle)
        del self._programs[handle]

    def time(self, handle: str, calls: int, samples: int = 1) -> tuple[Sample, ...]:
        self._ask("time")
        program = self._program(handle).sha256
        truth = self._device.truths.get(program, Truth(0.5))
        effect = self._device.process_effect(program, truth.process_spread, self._effects)
        return self._device.take(program, truth, effect, calls, samples)

    def reference(self, workload: str, calls: int, samples: int = 1) -> tuple[Sample, ...]:
        self._ask("reference")
        effect = self._device.process_effect(workload, self._device.reference_spread, self._effects)
        truth = Truth(REFERENCE_MS[workload], REFERENCE_MIX[workload])
        return self._device.take(workload, truth, effect, calls, samples)

    def run(self, handle: str, inputs: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        self._ask("run")
        given, outputs = reference_tensors(self._program(handle).stages[-1].artifact)
        if inputs is not None and not set(inputs) <= set(given):
            raise SessionError(f"truth: no such input; known: {sorted(given)}")
        return dict(outputs)

    def counters(self) -> dict[str, int]:
        self._ask("counters")
        device = self._device
        return {
            "nivcsw": 0,
            "steal_jiffies": int(device.stolen_ms // 10),
            "wall_ns": device.wall_ns(),
            "raw_ns": device.raw_ns(),
        }

    def facts(self) -> dict[str, object]:
        self._ask("facts")
        tick = float(self._device.script.granularity_ns)
        return {"cpu_model": "truth", "clock_resolution_ns": {"wall": tick, "cpu": tick}}

    def close(self) -> None:
        self._ended = True
        self._programs.clear()

    def _ask(self, what: str) -> None:
        if self._ended:
            raise SessionError(f"truth: the worker is gone ({what})")
        try:
            self._device.request(what)
        except SessionError:
            self._ended = True
            raise

    def _program(self, handle: str) -> Program:
        if handle not in self._programs:
            raise SessionError(f"truth: no handle {handle!r}; loaded: {', '.join(self._programs) or 'nothing'}")
        return self._programs[handle]
