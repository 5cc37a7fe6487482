"""How a device's speed went over a run, from one reference workload: smoothed, with its jumps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PROCESS_SPREAD = 0.01
"""A reference's own latency differs by about this share from process to process (where its buffers
happen to lie), however still the device is. Rounds that differ by no more are taken for equal."""

BOUND = math.log(1.25)
"""The largest log ratio that is corrected."""

JUMP = math.log(1.08)
"""Neighbouring references further apart than this (and than their noise allows) are a jump."""

_FASTEST = 0.15
_OF_MEDIAN = math.sqrt(math.pi / 2)
_DRIFTS_PER_ROUND = (0.0, 0.01, 0.03, 0.1)
_EVIDENCE = 5.0
_REWEIGHTED, _OUTLYING = 3, 2.0
_NOISE_FLOOR, _NOISE_GUESS = 1e-4, 0.01
_NOISE_MULTIPLE = 5.0
_QUARTER = 0.3186
_CORRECTED = 1e-6
_DIFFUSE = 1.0
_END = 2
_PINNED = 1e-6


@dataclass(frozen=True, slots=True)
class ReferenceTrack:
    """The log of a reference's latency over its undisturbed level, shape (references,), ascending in ``time``.

    ``jumps[i]`` says that the device's speed jumped between reference i and i + 1. ``level_ms`` is
    the undisturbed level: disturbance only ever adds time, so it is that of the fastest 15 % of
    what can be corrected; ``level_spread`` is its standard deviation as a share, 0 where nothing is
    corrected by it. ``usual`` marks the references in the state that most of what can be corrected is in,
    ``drift_per_round`` is the standard deviation of the fitted random walk (0: the device stood still).
    """

    time: Floats
    rounds: npt.NDArray[np.int64]
    log_ratio: Floats
    jumps: npt.NDArray[np.bool_]
    usual: npt.NDArray[np.bool_]
    level_ms: float
    level_spread: float
    drift_per_round: float

    def at(self, time: Floats) -> tuple[Floats, Floats, Floats]:
        """Log ratios at these times by the references before, after, and by the ``usual`` ones alone.

        The first two are equal but at a jump; before the first and after the last reference the nearest counts.
        """
        between = np.interp(time, self.time, self.log_ratio)
        if len(self.time) < 2:
            return between, between, between
        right = np.clip(np.searchsorted(self.time, time, side="left"), 1, len(self.time) - 1)
        jumped = self.jumps[right - 1] & (time > self.time[right - 1]) & (time < self.time[right])
        return (
            np.where(jumped, self.log_ratio[right - 1], between),
            np.where(jumped, self.log_ratio[right], between),
            np.interp(time, self.time[self.usual], self.log_ratio[self.usual]),
        )


def reference_track(
    time: Floats, rounds: npt.NDArray[np.int64], latency_ms: Floats, rounds_length: float
) -> ReferenceTrack:
    """The track of one reference workload; all arrays (references,), ascending in ``time``.

    ``rounds_length`` is a round's usual length in units of ``time``. The model is a random walk
    (the device; a level of its own for each state it jumps to) plus an offset of each round's process plus
    noise: a local level model (Durbin and Koopman 2012, "Time Series Analysis by State Space Methods",
    chapter 2), solved as the Gaussian process it is. How fast the walk is comes from its likelihood; it is
    taken for still unless that is ``e**5`` times less likely, so that the references' own noise is not handed on.
    """
    observed = np.log(latency_ms)
    same_round = rounds[1:] == rounds[:-1]
    steps = np.diff(observed)
    noise = _noise(observed, same_round)
    allowed = np.sqrt(2) * _NOISE_MULTIPLE * np.where(same_round, noise, math.hypot(noise, PROCESS_SPREAD))
    jumps: npt.NDArray[np.bool_] = np.abs(steps) > np.maximum(JUMP, allowed)
    state = _states(observed, jumps)
    walk, drift = _smoothed(observed, rounds, state, time / max(rounds_length, 1e-9), noise)
    near = walk <= np.quantile(walk, _FASTEST) + BOUND
    fastest = walk <= np.quantile(walk[near], _FASTEST)
    level, spread = float(walk[fastest].max()), 0.0
    off = np.abs(walk - level)
    if ((off > _CORRECTED) & (off <= BOUND)).any():  # it drifts, or it steps by as little as is corrected
        observed_level, spread = _level(observed[fastest], rounds[fastest], noise)
        level = observed_level if drift > 0 else level
    usual = state == np.argmax(np.bincount(state[np.abs(walk - level) <= BOUND]))
    return ReferenceTrack(time, rounds, walk - level, jumps, usual, math.exp(level), spread, drift)


def _level(observed: Floats, rounds: npt.NDArray[np.int64], noise: float) -> tuple[float, float]:
    """The undisturbed level and its standard deviation, from the references at the fastest.

    It is the median of what was observed, for the walk itself is drawn towards the middle there.
    """
    spread = _OF_MEDIAN * math.hypot(PROCESS_SPREAD, noise) / math.sqrt(len(np.unique(rounds)))
    return float(np.median(observed)), spread


def _states(observed: Floats, jumps: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The state the device is in at every reference: after a jump a new one, or one it was in before."""
    ends: list[float] = []
    states = np.empty(len(observed), dtype=np.int64)
    borders = [0, *(np.flatnonzero(jumps) + 1), len(observed)]
    for start, stop in itertools.pairwise(borders):
        first, last = np.median(observed[start:stop][:_END]), np.median(observed[start:stop][-_END:])
        nearest = min(range(len(ends)), key=lambda i: abs(ends[i] - first), default=None)
        if nearest is None or abs(ends[nearest] - first) > JUMP / 2:
            nearest = len(ends)
            ends.append(0.0)
        ends[nearest] = float(last)
        states[start:stop] = nearest
    return states


def _noise(observed: Floats, same_round: npt.NDArray[np.bool_]) -> float:
    """Standard deviation of a single reference: from the bends within rounds, in which a steady drift is not."""
    bends = np.diff(observed, 2)[same_round[1:] & same_round[:-1]] / math.sqrt(6)
    steps = np.diff(observed)[same_round] / math.sqrt(2)
    known = bends if len(bends) >= 3 else steps
    if len(known) < 3:
        return _NOISE_GUESS
    return max(_NOISE_FLOOR, float(np.quantile(np.abs(known), 0.25)) / _QUARTER)  # up to half of them may be jumps


def _smoothed(
    observed: Floats,
    rounds: npt.NDArray[np.int64],
    state: npt.NDArray[np.int64],
    rounds_passed: Floats,
    noise: float,
) -> tuple[Floats, float]:
    """The device behind ``observed``, and its drift per round: the likeliest, or none.

    All effects are normal with sparse precisions, so that their means and the likelihood take
    linear time (Rue and Held 2005, "Gaussian Markov Random Fields", section 2.3).
    """
    centred = observed - np.median(observed)
    states, processes = np.equal.outer(state, np.unique(state)), np.equal.outer(rounds, np.unique(rounds))
    groups = np.hstack([states, processes]).astype(np.float64)
    variances = np.repeat([_DIFFUSE, PROCESS_SPREAD**2], [states.shape[1], processes.shape[1]])
    gaps = np.maximum(np.diff(rounds_passed), 1e-9)
    fits: list[tuple[float, Floats, float]] = []
    for drift in _DRIFTS_PER_ROUND:
        steps = np.concatenate([[_PINNED], drift**2 * gaps]) if drift > 0 else None
        deviation = np.full(len(observed), noise)
        for _ in range(_REWEIGHTED):
            walk, effects, log_determinant = _solved(centred, groups, variances, steps, deviation**-2)
            rest = centred - walk - groups @ effects
            misfit = float(centred @ (rest / deviation**2)) + 2 * float(np.log(deviation).sum())
            deviation = np.maximum(noise, np.abs(rest) / _OUTLYING)
        device = walk + states @ effects[: states.shape[1]]
        fits.append((-0.5 * (misfit + log_determinant), observed - centred + device, drift))
    best = max(fits, key=lambda fit: fit[0])
    return best[1:] if best[0] > fits[0][0] + _EVIDENCE else fits[0][1:]


def _solved(
    values: Floats, groups: Floats, variances: Floats, steps: Floats | None, weights: Floats
) -> tuple[Floats, Floats, float]:
    """Posterior means of a random walk (zero without ``steps``, its variances) and of group effects under it.

    The third is the log determinant of their posterior precision over their prior's. The walk's precision is
    tridiagonal, the effects are solved for by the Schur complement.
    """
    from scipy.linalg import cho_solve_banded, cholesky_banded  # type: ignore[import-untyped]  # slow to import

    weighted = weights[:, None] * groups
    effects_precision = np.diag(1 / variances) + np.einsum("ni,nj->ij", groups, weighted)
    response = weighted.T @ values
    log_determinant = float(np.log(variances).sum())
    if steps is None:
        effects = np.linalg.solve(effects_precision, response)
        return np.zeros(len(values)), effects, log_determinant + float(np.linalg.slogdet(effects_precision)[1])
    precision = 1 / steps
    bands = np.stack([weights + precision, np.zeros(len(values))])
    bands[0, :-1] += precision[1:]
    bands[1, :-1] = -precision[1:]
    factor = cholesky_banded(bands, lower=True, check_finite=False), True
    solved = cho_solve_banded(factor, np.column_stack([weights * values, weighted]), check_finite=False)
    schur = effects_precision - np.einsum("ni,nj->ij", weighted, solved[:, 1:])
    effects = np.linalg.solve(schur, response - weighted.T @ solved[:, 0])
    log_determinant += float(np.log(steps).sum() + 2 * np.log(factor[0][0]).sum() + np.linalg.slogdet(schur)[1])
    return solved[:, 0] - solved[:, 1:] @ effects, effects, log_determinant


def time_of(rounds: Sequence[int], positions: Sequence[int]) -> tuple[Floats, float]:
    """One ascending time for (round, position), and a round's usual length in it."""
    numbers, places = np.asarray(rounds, dtype=np.int64), np.asarray(positions, dtype=np.float64)
    known, index = np.unique(numbers, return_inverse=True)
    ends = np.zeros(len(known))
    np.maximum.at(ends, index, places + 1)
    starts = np.concatenate([[0.0], np.cumsum(ends)[:-1]])
    return starts[index] + places, float(np.median(ends)) if len(ends) else 1.0
