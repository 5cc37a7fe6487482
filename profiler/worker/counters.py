"""Numbers that only grow, read around samples: their difference tells of what came between."""

from __future__ import annotations

import time

from .facts import jiffies, number, read
from .protocol import Request


def both_clocks_ns() -> tuple[int, int | None]:
    """The clock that counts and the undisciplined one, read without a pause in between."""
    if not hasattr(time, "CLOCK_MONOTONIC_RAW"):
        return time.perf_counter_ns(), None
    readings = []
    for _ in range(5):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        wall = time.perf_counter_ns()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        readings.append((after - before, wall, (before + after) // 2))
    _, wall, raw = min(readings)
    return wall, raw


def counters() -> Request:
    """Numbers that only grow; those this system tells."""
    import resource

    wall_ns, raw_ns = both_clocks_ns()
    known = {
        "nivcsw": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
        "steal_jiffies": jiffies()["steal_jiffies"],
        "pressure_us": number((read("/proc/pressure/cpu") or "").partition("total=")[2].partition("\n")[0]),
        "wall_ns": wall_ns,
        "raw_ns": raw_ns,
    }
    return {name: value for name, value in known.items() if value is not None}
