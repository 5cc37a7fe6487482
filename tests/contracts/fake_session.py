"""A timing session with a programmable truth, and a contract-abiding stand-in for a device."""

from collections.abc import Callable, Mapping

import numpy as np

from profiler import Program, Sample, SessionError, Target
from profiler.parity import reference_tensors

Disturbance = Callable[[int], float]


class FakeSession:
    """Every call of a program takes ``truth_ms[sha256]`` (else ``default_ms``) on both clocks.

    ``disturbance(n)`` is added in ms to the wall time of the n-th sample. ``log`` keeps what was
    asked, in order. Outputs are the references' plus ``error``.
    """

    def __init__(
        self,
        target: Target | None = None,
        truth_ms: Mapping[str, float] | None = None,
        *,
        default_ms: float = 0.5,
        disturbance: Disturbance = lambda _: 0.0,
        error: float = 0.0,
    ) -> None:
        self._target = target or Target("fake", "fake-1", 1, "wall")
        self._truth_ms = dict(truth_ms or {})
        self._default_ms = default_ms
        self._disturbance = disturbance
        self._error = error
        self._programs: dict[str, Program] = {}
        self._loads = 0
        self._samples = 0
        self.log: list[tuple[str, str, int]] = []
        self.most_loaded = 0

    @property
    def target(self) -> Target:
        return self._target

    def load(self, program: Program) -> str:
        self._loads += 1
        handle = f"h{self._loads}"
        self._programs[handle] = program
        self.most_loaded = max(self.most_loaded, len(self._programs))
        self.log.append(("load", program.sha256, 0))
        return handle

    def unload(self, handle: str) -> None:
        self.log.append(("unload", self._program(handle).sha256, 0))
        del self._programs[handle]

    def time(self, handle: str, calls: int, samples: int = 1) -> tuple[Sample, ...]:
        program = self._program(handle)
        self.log.append(("time", program.sha256, calls))
        call_ns = 1e6 * self._truth_ms.get(program.sha256, self._default_ms)
        taken = []
        for _ in range(samples):
            extra_ns = 1e6 * self._disturbance(self._samples)
            self._samples += 1
            taken.append(Sample(calls, round(calls * call_ns + extra_ns), round(calls * call_ns)))
        return tuple(taken)

    def run(self, handle: str, inputs: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        program = self._program(handle)
        given, outputs = reference_tensors(program.stages[-1].artifact)
        if inputs is not None and not set(inputs) <= set(given):
            raise SessionError(f"no such input; known: {sorted(given)}")
        return {name: value + np.float32(self._error) for name, value in outputs.items()}

    def reference(self, workload: str, calls: int, samples: int = 1) -> tuple[Sample, ...]:
        self.log.append(("reference", workload, calls))
        return (Sample(calls, calls * 50_000, calls * 50_000),) * samples

    def counters(self) -> dict[str, int]:
        return {"nivcsw": 0}

    def facts(self) -> dict[str, object]:
        return {"cpu_model": "fake", "samples": self._samples}

    def close(self) -> None:
        self._programs.clear()

    def _program(self, handle: str) -> Program:
        if handle not in self._programs:
            raise SessionError(f"no handle {handle!r}")
        return self._programs[handle]
