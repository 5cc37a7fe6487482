"""A latency and where it comes from: raw samples by round, and the one functional told of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from profiler.target import Clock

Source = Literal["measured"]

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class RoundSamples:
    """The samples one round took in a row: ``calls`` calls each, in ns for the whole sample."""

    round: int
    calls: int
    wall_ns: tuple[int, ...]
    cpu_ns: tuple[int, ...]

    def latency_ms(self, clock: Clock) -> float:
        """Mean per call of the lower half (the ``ceil(n / 2)`` smallest) of the samples.

        Disturbance on a shared machine only ever adds time, so the upper half is left out.
        """
        raw = np.sort(np.asarray(self.wall_ns if clock == "wall" else self.cpu_ns, dtype=np.float64))
        return float(raw[: (len(raw) + 1) // 2].mean()) / self.calls / 1e6


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything measured of one item on one target; all statistics are derived from it."""

    rounds: tuple[RoundSamples, ...]
    source: Source = "measured"

    def __post_init__(self) -> None:
        if not self.rounds or any(not r.wall_ns or len(r.wall_ns) != len(r.cpu_ns) for r in self.rounds):
            raise ValueError("a measurement needs at least one round, and every round a sample on both clocks")

    @property
    def calls(self) -> int:
        """Calls per sample, of the first round (it is the same in all rounds of one run)."""
        return self.rounds[0].calls

    def rounds_ms(self, clock: Clock) -> npt.NDArray[np.float64]:
        """:meth:`RoundSamples.latency_ms` of every round, shape (rounds,)."""
        return np.array([r.latency_ms(clock) for r in self.rounds])

    def latency_ms(self, clock: Clock) -> float:
        """THE latency: the median over rounds of the mean of each round's lower half of samples."""
        return float(np.median(self.rounds_ms(clock)))

    def halves_ms(self, clock: Clock) -> tuple[float, float]:
        """The latency of even and of odd rounds apart: their difference is the split-half noise floor.

        Both are the latency of all rounds if only one kind of round was measured.
        """
        halves = []
        for parity in (0, 1):
            half = [r.latency_ms(clock) for r in self.rounds if r.round % 2 == parity]
            halves.append(float(np.median(half)) if half else self.latency_ms(clock))
        return halves[0], halves[1]

    def interval_ms(self, clock: Clock, confidence: float = 0.95) -> tuple[float, float]:
        """Percentile bootstrap of :meth:`latency_ms` over rounds (a block is a round); deterministic."""
        rounds = self.rounds_ms(clock)
        draws = np.random.default_rng(0).integers(0, len(rounds), size=(_RESAMPLES, len(rounds)))
        tail = (1 - confidence) / 2
        low, high = np.quantile(np.median(rounds[draws], axis=1), (tail, 1 - tail))
        return float(low), float(high)

    def spread(self, clock: Clock) -> float:
        """Interquartile range of the rounds, as a share of the latency (0.01 is one per cent)."""
        low, high = np.quantile(self.rounds_ms(clock), (0.25, 0.75))
        return float((high - low) / self.latency_ms(clock))
