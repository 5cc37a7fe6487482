"""How a device's speed went over a run, from one reference workload: smoothed, with its jumps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PROCESS_SPREAD = 0.01
"""A reference's own latency differs by about this share from process to process (where its buffers
happen to lie), however still the device is. Rounds that differ by no more are taken for equal."""

JUMP = math.log(1.08)
"""Neighbouring references further apart than this (and than their noise allows) are a jump."""

_LEVEL_QUANTILE = 0.1
_DRIFTS_PER_ROUND = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
_EVIDENCE = 2.0
_NOISE_FLOOR, _NOISE_GUESS = 1e-4, 0.01
_NOISE_MULTIPLE = 5.0
_DIFFUSE = 1.0


@dataclass(frozen=True, slots=True)
class ReferenceTrack:
    """The log of a reference's latency over its undisturbed level, shape (references,), ascending in ``time``.

    ``jumps[i]`` says that the device's speed jumped between reference i and i + 1. ``level_ms`` is
    the undisturbed level: disturbance only ever adds time, so it is the fastest state that was kept
    for a tenth of the run. ``drift_per_round`` is the standard deviation of the fitted random walk
    (0: the device stood still).
    """

    time: Floats
    log_ratio: Floats
    jumps: npt.NDArray[np.bool_]
    level_ms: float
    drift_per_round: float

    def at(self, time: Floats) -> tuple[Floats, Floats, Floats]:
        """Log ratios at these times: before, after and between the references around; equal but at a jump.

        Before the first and after the last reference the nearest counts.
        """
        between = np.interp(time, self.time, self.log_ratio)
        right = np.clip(np.searchsorted(self.time, time, side="left"), 1, max(1, len(self.time) - 1))
        if len(self.time) < 2:
            return between, between, between
        inside = (time > self.time[right - 1]) & (time < self.time[right])
        jumped = self.jumps[right - 1] & inside
        before = np.where(jumped, self.log_ratio[right - 1], between)
        after = np.where(jumped, self.log_ratio[right], between)
        return before, after, between


def reference_track(
    time: Floats, rounds: npt.NDArray[np.int64], latency_ms: Floats, rounds_length: float
) -> ReferenceTrack:
    """The track of one reference workload; all arrays (references,), ascending in ``time``.

    ``rounds_length`` is a round's usual length in units of ``time``. The model is a random walk
    (the device) plus an offset of each round's process plus noise (a local level model: Durbin and
    Koopman 2012, "Time Series Analysis by State Space Methods", chapter 2), solved as the Gaussian process
    it is. How fast the walk is comes from its likelihood; a faster one must be ``e**2`` times likelier than
    a slower, from standing still on, so that the references' own noise is not handed on.
    """
    observed = np.log(latency_ms)
    same_round = rounds[1:] == rounds[:-1]
    steps = np.diff(observed)
    noise = _noise(steps[same_round])
    allowed = np.sqrt(2) * _NOISE_MULTIPLE * np.where(same_round, noise, math.hypot(noise, PROCESS_SPREAD))
    jumps: npt.NDArray[np.bool_] = np.abs(steps) > np.maximum(JUMP, allowed)
    same_process = (rounds[:, None] == rounds[None, :]).astype(np.float64)
    walk, drift = _smoothed(observed, same_process, np.diff(time) / max(rounds_length, 1e-9), jumps, noise)
    level = float(np.quantile(walk, _LEVEL_QUANTILE))
    return ReferenceTrack(time, walk - level, jumps, math.exp(level), drift)


def _noise(steps: Floats) -> float:
    """Standard deviation of a single reference, from the steps within rounds."""
    if len(steps) < 3:
        return _NOISE_GUESS
    return max(_NOISE_FLOOR, float(np.median(np.abs(steps))) / 0.6745 / math.sqrt(2))


def _smoothed(
    observed: Floats, same_process: Floats, gaps: Floats, jumps: npt.NDArray[np.bool_], noise: float
) -> tuple[Floats, float]:
    """The walk behind ``observed`` and its drift per round: the slowest whose likelihood is near the best."""
    middle = float(np.median(observed))
    residual = observed - middle
    still: tuple[float, Floats, float] | None = None
    for drift in _DRIFTS_PER_ROUND:
        grown = np.concatenate([[_DIFFUSE], np.where(jumps, _DIFFUSE, drift**2 * gaps)]).cumsum()
        walk = np.minimum.outer(grown, grown)
        factor = np.linalg.cholesky(walk + PROCESS_SPREAD**2 * same_process + noise**2 * np.eye(len(observed)))
        white = np.linalg.solve(factor, residual)
        likelihood = -0.5 * float(white @ white) - float(np.log(np.diag(factor)).sum())
        if still is None or likelihood > still[0] + _EVIDENCE:
            still = likelihood, middle + walk @ np.linalg.solve(factor.T, white), drift
    assert still is not None
    return still[1], still[2]


def time_of(rounds: Sequence[int], positions: Sequence[int]) -> tuple[Floats, float]:
    """One ascending time for (round, position), and a round's usual length in it."""
    numbers, places = np.asarray(rounds, dtype=np.int64), np.asarray(positions, dtype=np.float64)
    known, index = np.unique(numbers, return_inverse=True)
    ends = np.zeros(len(known))
    np.maximum.at(ends, index, places + 1)
    starts = np.concatenate([[0.0], np.cumsum(ends)[:-1]])
    return starts[index] + places, float(np.median(ends)) if len(ends) else 1.0
