"""How others take a latency, on our sessions: HAT's, LiteRT's benchmark tool's and TVM's protocols.

Each visits one program after another, takes single calls (or a number of calls) in a row, and
averages them; each is given the same measuring time, which is all that is changed. Every one yields
both clocks, so that what the clock does can be told from what the protocol does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from profiler.session import Sample, TimingSession
from profiler.target import Clock

CLOCKS: tuple[Clock, ...] = ("wall", "thread_cpu")
Latencies = dict[Clock, dict[str, float]]
"""Milliseconds per call, by clock and program."""
Protocol = Callable[[TimingSession, Mapping[str, str], float], Latencies]

_CHUNK = 2_000
"""Samples asked of a session at once."""


def hat(session: TimingSession, handles: Mapping[str, str], budget_s: float) -> Latencies:
    """HAT (latency_dataset.py): 5 dry runs, a fixed count of single calls, mean of the sorted 10 to 90 %.

    The count is the same for every program, as large as ``budget_s`` allows.
    """
    began = time.monotonic()
    rough_s = sum(_wall_s(session.time(handle, 1, 20)) / 20 for handle in handles.values())
    count = max(10, int((budget_s - (time.monotonic() - began)) / rough_s))
    taken = {}
    for name, handle in handles.items():
        session.time(handle, 1, 5)
        taken[name] = _take(session, handle, 1, count)
    return _told(taken, _trimmed)


def litert(session: TimingSession, handles: Mapping[str, str], budget_s: float) -> Latencies:
    """LiteRT's benchmark_model: warm for 0.5 s, then at least 50 runs and a least time; the mean.

    The least time (1 s by default) is each program's share of ``budget_s``, less the warm-up.
    """
    share_s = budget_s / len(handles)
    warm_s = min(0.5, share_s / 3)
    taken = {}
    for name, handle in handles.items():
        _until(session, handle, 1, 1, warm_s)
        taken[name] = _until(session, handle, 1, 50, share_s - warm_s)
    return _told(taken, _mean)


def tvm(session: TimingSession, handles: Mapping[str, str], budget_s: float) -> Latencies:
    """TVM's time_evaluator: one call discarded, ``number`` grown until a repeat lasts 100 ms, mean of repeats."""
    share_s = budget_s / len(handles)
    repeat_s = min(0.1, share_s / 3)
    taken = {}
    for name, handle in handles.items():
        began = time.monotonic()
        session.time(handle, 1, 1)
        number = max(1, math.ceil(20 * repeat_s / _wall_s(session.time(handle, 1, 20))))
        taken[name] = _until(session, handle, number, 1, share_s - (time.monotonic() - began))
    return _told(taken, _mean)


OTHERS: Mapping[str, Protocol] = {"HAT": hat, "LiteRT": litert, "TVM": tvm}


def _take(session: TimingSession, handle: str, calls: int, samples: int) -> list[Sample]:
    taken: list[Sample] = []
    while len(taken) < samples:
        taken += session.time(handle, calls, min(_CHUNK, samples - len(taken)))
    return taken


def _until(session: TimingSession, handle: str, calls: int, least: int, seconds: float) -> list[Sample]:
    """At least ``least`` samples of so many calls, for at least ``seconds`` of wall time."""
    began, taken = time.monotonic(), list(session.time(handle, calls, least))
    while (left := seconds - (time.monotonic() - began)) > 0:
        sample_s = _wall_s(taken) / len(taken)
        taken += session.time(handle, calls, max(1, min(_CHUNK, int(left / sample_s))))
    return taken


def _wall_s(samples: Sequence[Sample]) -> float:
    return max(1e-7, sum(sample.wall_ns for sample in samples) / 1e9)


def _trimmed(values: Sequence[float]) -> float:
    cut = int(0.1 * len(values))
    return float(np.mean(np.sort(values)[cut : len(values) - cut]))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _told(taken: Mapping[str, Sequence[Sample]], statistic: Callable[[Sequence[float]], float]) -> Latencies:
    def per_call(clock: Clock, samples: Sequence[Sample]) -> list[float]:
        return [(s.wall_ns if clock == "wall" else s.cpu_ns) / s.calls / 1e6 for s in samples]

    return {clock: {name: statistic(per_call(clock, samples)) for name, samples in taken.items()} for clock in CLOCKS}
