"""Before samples count: how many calls make one sample, and calling until a program is as fast as it gets."""

from __future__ import annotations

import math
from collections.abc import Callable

from profiler.errors import SessionError
from profiler.plan import MAX_SAMPLE_MS
from profiler.session import Sample, TimingSession
from profiler.target import Clock

Timed = Callable[[int, int], tuple[Sample, ...]]
"""Takes so many samples, each of so many calls: (calls, samples)."""

RESOLUTIONS_PER_SAMPLE = 200
"""A sample lasts this many steps of the clock at least, so that a step is at most half a per cent."""

_GROWTH = 10
_STATIONARY = 0.01
_WINDOW, _WINDOW_SHARE = 3, 8
_MAX_WINDOWS = 12
_MAX_CALLS = 10**8


def least_sample_ms(planned_ms: float, resolution_ns: float) -> float:
    """How long a sample lasts at least: as planned, or as the clock's resolution asks."""
    return max(planned_ms, RESOLUTIONS_PER_SAMPLE * resolution_ns / 1e6)


def calibrate(timed: Timed, clock: Clock, min_sample_ms: float, where: str) -> tuple[int, float]:
    """Calls per sample so that one lasts ``min_sample_ms`` to 50 ms, and a warm call's latency in ms.

    A call longer than 50 ms makes a sample of its own, as does the least sample that a coarse
    clock allows. Raises :class:`SessionError` if the clock stands still.
    """
    calls = 1
    call_ms = best_ms(timed(calls, 1), clock)
    while calls * call_ms < min_sample_ms:
        grown = min(calls * _GROWTH, math.ceil(1.1 * min_sample_ms / call_ms)) if call_ms > 0 else calls * _GROWTH
        calls = max(calls + 1, grown)
        if calls > _MAX_CALLS:
            raise SessionError(f"{where}: the clock stands still: {calls} calls took no time")
        call_ms = best_ms(timed(calls, 1), clock)
    call_ms = until_stationary(timed, calls, clock)
    if call_ms > 0:  # the first samples were cold: by now the same calls may take less
        calls = max(1, math.ceil(1.1 * min_sample_ms / call_ms))
        longest_ms = max(MAX_SAMPLE_MS, min_sample_ms)
        if calls * call_ms > longest_ms:
            calls = max(1, int(longest_ms / call_ms))
    return calls, call_ms


def warm_up(session: TimingSession, handle: str, calls: int) -> float:
    """Call a program that was just loaded until it is stationary; the wall time in ms of the first call of all."""

    def timed(calls: int, samples: int) -> tuple[Sample, ...]:
        return session.time(handle, calls, samples)

    first = timed(1, 1)[0]
    until_stationary(timed, calls, session.target.clock)
    return first.wall_ns / 1e6


def until_stationary(timed: Timed, calls: int, clock: Clock) -> float:
    """Latency in ms of the last of windows of short samples: it is not 1 % faster than the one before.

    A window's latency is its fastest sample, for disturbance only adds time; twelve windows at most.
    """
    short = max(1, calls // _WINDOW_SHARE)
    samples = _WINDOW if calls > 1 else 1
    call_ms = best_ms(timed(short, samples), clock)
    for _ in range(_MAX_WINDOWS - 1):
        before, call_ms = call_ms, best_ms(timed(short, samples), clock)
        if call_ms >= (1 - _STATIONARY) * before:
            break
    return call_ms


def best_ms(taken: tuple[Sample, ...], clock: Clock) -> float:
    """A call's latency in the fastest of samples."""
    return min((s.wall_ns if clock == "wall" else s.cpu_ns) / s.calls for s in taken) / 1e6
