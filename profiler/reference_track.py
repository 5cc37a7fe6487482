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
_DRIFTS_PER_ROUND = np.array([0.0, 0.002, 0.004, 0.008, 0.016, 0.03, 0.06, 0.12])
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
    (the device) plus an offset of each round's process plus noise, fitted by a Kalman filter and
    smoother (Durbin and Koopman 2012, "Time Series Analysis by State Space Methods", sections 4.3-4.4); how fast the
    walk is comes from its likelihood, and it is taken for still unless that is ``e**2`` times less likely.
    So the references' own noise is not handed on to what is corrected by them.
    """
    observed = np.log(latency_ms)
    same_round = rounds[1:] == rounds[:-1]
    steps = np.diff(observed)
    noise = _noise(steps[same_round])
    allowed = np.sqrt(2) * _NOISE_MULTIPLE * np.where(same_round, noise, math.hypot(noise, PROCESS_SPREAD))
    jumps: npt.NDArray[np.bool_] = np.abs(steps) > np.maximum(JUMP, allowed)
    gaps = np.diff(time) / max(rounds_length, 1e-9)
    likelihood, smoothed = _smooth(observed, same_round, gaps, jumps, noise)
    still = np.flatnonzero(likelihood >= likelihood.max() - _EVIDENCE)[0]
    walk = smoothed[:, still]
    level = float(np.quantile(walk, _LEVEL_QUANTILE))
    return ReferenceTrack(time, walk - level, jumps, math.exp(level), float(_DRIFTS_PER_ROUND[still]))


def _noise(steps: Floats) -> float:
    """Standard deviation of a single reference, from the steps within rounds."""
    if len(steps) < 3:
        return _NOISE_GUESS
    return max(_NOISE_FLOOR, float(np.median(np.abs(steps))) / 0.6745 / math.sqrt(2))


def _smooth(
    observed: Floats,
    same_round: npt.NDArray[np.bool_],
    gaps: Floats,
    jumps: npt.NDArray[np.bool_],
    noise: float,
) -> tuple[Floats, Floats]:
    """Log-likelihood (drifts,) and smoothed walk (references, drifts) at every speed of the walk at once."""
    drifts = len(_DRIFTS_PER_ROUND)
    count = len(observed)
    filtered, predicted = np.empty((count, drifts, 2)), np.empty((count, drifts, 2))
    filtered_cov, predicted_cov = np.empty((count, drifts, 2, 2)), np.empty((count, drifts, 2, 2))
    likelihood = np.zeros(drifts)
    for i in range(count):
        if i == 0:
            mean = np.zeros((drifts, 2))
            mean[:, 0] = observed[0]
            cov = np.zeros((drifts, 2, 2))
            cov[:, 0, 0], cov[:, 1, 1] = _DIFFUSE, PROCESS_SPREAD**2
        else:
            mean, cov = filtered[i - 1].copy(), filtered_cov[i - 1].copy()
            cov[:, 0, 0] += _DIFFUSE if jumps[i - 1] else _DRIFTS_PER_ROUND**2 * gaps[i - 1]
            if not same_round[i - 1]:
                mean[:, 1] = 0.0
                cov[:, 0, 1] = cov[:, 1, 0] = 0.0
                cov[:, 1, 1] = PROCESS_SPREAD**2
        predicted[i], predicted_cov[i] = mean, cov
        innovation = observed[i] - mean.sum(axis=1)
        loading = cov.sum(axis=2)
        variance = loading.sum(axis=1) + noise**2
        likelihood -= 0.5 * (np.log(variance) + innovation**2 / variance)
        gain = loading / variance[:, None]
        filtered[i] = mean + gain * innovation[:, None]
        filtered_cov[i] = cov - gain[:, :, None] * loading[:, None, :]
    smoothed = filtered.copy()
    for i in range(count - 2, -1, -1):
        carried = filtered_cov[i].copy()
        if not same_round[i]:
            carried[:, :, 1] = 0.0
        backward = carried @ np.linalg.inv(predicted_cov[i + 1])
        smoothed[i] += (backward @ (smoothed[i + 1] - predicted[i + 1])[:, :, None])[:, :, 0]
    return likelihood, smoothed[:, :, 0]


def time_of(rounds: Sequence[int], positions: Sequence[int]) -> tuple[Floats, float]:
    """One ascending time for (round, position), and a round's usual length in it."""
    numbers, places = np.asarray(rounds, dtype=np.int64), np.asarray(positions, dtype=np.float64)
    known, index = np.unique(numbers, return_inverse=True)
    ends = np.zeros(len(known))
    np.maximum.at(ends, index, places + 1)
    starts = np.concatenate([[0.0], np.cumsum(ends)[:-1]])
    return starts[index] + places, float(np.median(ends)) if len(ends) else 1.0
