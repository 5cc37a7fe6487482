"""What a program's latency becomes when a device works without a pause: a curve, and the knee where it slows down."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.session import TimingSession
from profiler.target import Clock
from profiler.warm_up import calibrate

POINTS = 120
"""Of a whole curve, at most."""

LEAST_STEP = 0.03
"""A slow-down by less than this share is no knee: sessions differ by as much."""

_SAMPLE_MS = 50.0
_LEAST_POINT_S = 0.5
_END_SHARE = 3


@dataclass(frozen=True, slots=True)
class Point:
    """The median latency of one stretch of the curve, and what the device said at its end."""

    at_s: float
    latency_ms: float
    frequency_khz: int | None
    temperature_millidegrees: int | None
    throttled_bits: int | None


@dataclass(frozen=True, slots=True)
class Sustained:
    """``points`` in the order of time; ``at_s`` counts from the first call.

    ``latency_ms`` is the median of the last third, ``first_ms`` that of what came before the knee (of all, if
    there is none). ``knee_s`` is where the latency steps up for good, None if it never does.
    """

    points: tuple[Point, ...]
    seconds: float
    latency_ms: float
    first_ms: float
    knee_s: float | None

    @classmethod
    def of(cls, points: Sequence[Point]) -> Sustained:
        """The figures of a curve; raises ValueError for an empty one."""
        latencies = np.array([point.latency_ms for point in points])
        last = float(np.median(latencies[-math.ceil(len(latencies) / _END_SHARE) :]))
        step = knee(latencies)
        first = float(np.median(latencies if step is None else latencies[:step]))
        return cls(tuple(points), points[-1].at_s, last, first, None if step is None else points[step].at_s)

    def as_dict(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)


def knee(latencies: npt.NDArray[np.float64]) -> int | None:
    """Index of the first value after the step up that explains most of the curve, or None if there is no step.

    The step is where two means, one before and one after, leave the least squared error. It counts if the later
    median is higher by :data:`LEAST_STEP` and by more than three times the spread of what it steps from.
    """
    count = len(latencies)
    if count < 4:
        return None
    errors = [_squares(latencies[:cut]) + _squares(latencies[cut:]) for cut in range(2, count - 1)]
    cut = 2 + int(np.argmin(errors))
    before, after = float(np.median(latencies[:cut])), float(np.median(latencies[cut:]))
    spread = float(np.median(np.abs(latencies[:cut] - before)))
    return cut if after - before > max(LEAST_STEP * before, 3 * 1.4826 * spread) else None


def sustain(
    session: TimingSession,
    handle: str,
    seconds: float,
    progress: Callable[[float, float], None] = lambda done, total: None,
    now: Callable[[], float] = time.monotonic,
) -> Sustained:
    """Call a loaded program for so many seconds with no pause but the look at the device between two points.

    ``progress`` gets the seconds done and in all.
    """
    clock = session.target.clock
    calls, _ = calibrate(
        lambda calls, samples: session.time(handle, calls, samples), clock, _SAMPLE_MS, str(session.target)
    )
    length_s = max(_LEAST_POINT_S, seconds / POINTS)
    began, points = now(), list[Point]()
    while not points or points[-1].at_s < seconds:
        taken, since = list[float](), now()
        while now() - since < length_s:
            taken += [_ms(sample, clock) for sample in session.time(handle, calls, 1)]
        points.append(_point(now() - began, float(np.median(taken)), session.facts()))
        progress(min(points[-1].at_s, seconds), seconds)
    return Sustained.of(points)


def _ms(sample: Any, clock: Clock) -> float:
    return float((sample.wall_ns if clock == "wall" else sample.cpu_ns) / sample.calls / 1e6)


def _point(at_s: float, latency_ms: float, facts: Mapping[str, Any]) -> Point:
    temperatures = [value for value in (facts.get("temperature_millidegrees") or {}).values() if value is not None]
    frequency = (facts.get("frequency_khz") or {}).get("cur")
    return Point(round(at_s, 3), latency_ms, frequency, max(temperatures, default=None), facts.get("throttled_bits"))


def _squares(values: npt.NDArray[np.float64]) -> float:
    return float(np.square(values - values.mean()).sum())
