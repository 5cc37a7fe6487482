"""A latency and where it comes from: raw samples by round, and the one functional told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from profiler.interval import Status, interval_ms, status
from profiler.target import Clock

Source = Literal["measured"]


@dataclass(frozen=True, slots=True)
class RoundSamples:
    """The samples one round took in a row: ``calls`` calls each, in ns for the whole sample.

    ``correction`` and ``quarantined`` (the reason, if the round does not count) follow from the
    reference workloads beside it (:mod:`profiler.drift`) and are never stored. ``position`` is the
    order within the round, ``facts`` what was counted meanwhile (:meth:`TimingSession.counters`),
    ``cold_ms`` the first call in a fresh process where that is known.
    """

    round: int
    calls: int
    wall_ns: tuple[int, ...]
    cpu_ns: tuple[int, ...]
    correction: float = 1.0
    quarantined: str | None = None
    position: int | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    cold_ms: float | None = None

    def raw_ms(self, clock: Clock) -> float:
        """Mean per call of the lower half (the ``ceil(n / 2)`` smallest) of the samples.

        Disturbance on a shared machine only ever adds time, so the upper half is left out.
        """
        ordered = sorted(self.wall_ns if clock == "wall" else self.cpu_ns)
        lower = ordered[: (len(ordered) + 1) // 2]
        return sum(lower) / len(lower) / self.calls / 1e6

    def latency_ms(self, clock: Clock) -> float:
        """:meth:`raw_ms`, corrected for the device's drift."""
        return self.raw_ms(clock) * self.correction


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything measured of one item on one target; all statistics are derived from it.

    Quarantined rounds count for nothing, unless there are no others.
    ``half_width`` (a share of the latency) and ``min_rounds`` say when it is converged;
    ``level_spread`` is what the corrections of all rounds may be off in common (a share, standard deviation).
    """

    rounds: tuple[RoundSamples, ...]
    source: Source = "measured"
    half_width: float = 0.02
    min_rounds: int = 10
    level_spread: float = 0.0

    def __post_init__(self) -> None:
        if not self.rounds or any(not r.wall_ns or len(r.wall_ns) != len(r.cpu_ns) for r in self.rounds):
            raise ValueError("a measurement needs at least one round, and every round a sample on both clocks")

    @property
    def calls(self) -> int:
        """Calls per sample, of the first round (it is the same in all rounds of one run)."""
        return self.rounds[0].calls

    @property
    def used(self) -> tuple[RoundSamples, ...]:
        """The rounds that are not quarantined; all of them if that leaves none."""
        return tuple(r for r in self.rounds if r.quarantined is None) or self.rounds

    @property
    def used_rounds(self) -> tuple[int, ...]:
        """The numbers of the rounds in use."""
        return tuple(r.round for r in self.used)

    def by_round(self, clock: Clock) -> dict[int, float]:
        """Corrected latency in ms of every round in use, by its number."""
        return {r.round: r.latency_ms(clock) for r in self.used}

    def rounds_ms(self, clock: Clock) -> npt.NDArray[np.float64]:
        """:meth:`RoundSamples.latency_ms` of every round in use, shape (rounds,)."""
        return np.array([r.latency_ms(clock) for r in self.used])

    def latency_ms(self, clock: Clock) -> float:
        """THE latency: the median over rounds of the mean of each round's lower half of samples."""
        return float(np.median(self.rounds_ms(clock)))

    def raw_latency_ms(self, clock: Clock) -> float:
        """The same of all rounds as they were measured: no correction, no quarantine."""
        return float(np.median([r.raw_ms(clock) for r in self.rounds]))

    @property
    def cold_ms(self) -> float | None:
        """Median wall time of a first call in a fresh process; None if it was not taken."""
        known = [r.cold_ms for r in self.rounds if r.cold_ms is not None]
        return float(np.median(known)) if known else None

    def halves_ms(self, clock: Clock) -> tuple[float, float]:
        """The latency of even and of odd rounds apart: their difference is the split-half noise floor.

        Both are the latency of all rounds if only one kind of round was measured.
        """
        halves = []
        for parity in (0, 1):
            half = [r.latency_ms(clock) for r in self.used if r.round % 2 == parity]
            halves.append(float(np.median(half)) if half else self.latency_ms(clock))
        return halves[0], halves[1]

    def interval_ms(self, clock: Clock, confidence: float = 0.95) -> tuple[float, float]:
        """Where :meth:`latency_ms` lies (:mod:`profiler.interval`); a block is a round; deterministic."""
        return interval_ms(self.rounds_ms(clock), confidence, self.level_spread)

    def status(self, clock: Clock, half_width: float | None = None) -> Status:
        """``converged`` if the interval is as tight as wanted, ``unstable`` if the rounds disagree, else ``budget``."""
        good = np.array([r.latency_ms(clock) for r in self.rounds if r.quarantined is None])
        wanted = self.half_width if half_width is None else half_width
        return status(good, wanted, self.min_rounds, len(self.rounds) - len(good), self.level_spread)

    def spread(self, clock: Clock) -> float:
        """Interquartile range of the rounds, as a share of the latency (0.01 is one per cent)."""
        low, high = np.quantile(self.rounds_ms(clock), (0.25, 0.75))
        return float((high - low) / self.latency_ms(clock))
