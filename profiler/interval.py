"""The interval of THE latency (a median over rounds), when to stop taking rounds, and what to call the result.

A round is the block: it has a process of its own, so rounds are exchangeable where samples within
one are not. The bootstrap of a median over blocks needs no resampling: the distribution of the
median of resampled blocks is a binomial sum over the order statistics (Efron 1982, "The Jackknife, the
Bootstrap and Other Resampling Plans", section 10.3). Its percentile interval covers too little at ten
rounds, because it can only end at one of ten values; interpolated between neighbouring order
statistics as Hettmansperger and Sheather do (1986, "Confidence intervals based on interpolated order
statistics", Statistics & Probability Letters 4, eq. 2) it keeps its coverage from six rounds on
whatever the distribution of a round. Below six rounds no order statistics reach 95 %; there a Student interval
takes over that holds a prior guess of the spread.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

Status = Literal["converged", "budget", "unstable"]
Floats = npt.NDArray[np.float64]

MIN_ROUNDS = 10
HALF_WIDTH = 0.02
TIGHT_MS = 5e-5
"""An interval within +-0.05 us is tight whatever the latency: that is what the empty graph needs."""

_LOOK_GROWTH = 1.4
_MISS_FIRST, _MISS_LATER = 0.9, 0.7
"""Shares of the nominal miss rate that are spent: stopping at the first look that happens to look tight
costs coverage, one to two points at ``_LOOK_GROWTH`` (by simulation of normal, exponential, Student-3
and uniform rounds of 1 to 6 % spread, tests/truth); the rest pays for that."""

_PRIOR_SPREAD, _PRIOR_ROUNDS = 0.05, 1
_NONPARAMETRIC_FROM = 6
_UNSTABLE_QUARANTINE = 0.5
_TREND_Z = 3.3


def intervals_ms(rounds_ms: Floats, confidence: float = 0.95, level_spread: float = 0.0) -> Floats:
    """Intervals of the median of each row; ``rounds_ms`` is (items, rounds), the result (items, 2).

    ``level_spread`` is the standard deviation, as a share, of an error that all rounds have in
    common (:meth:`profiler.drift.DriftReport.level_spread`); it is added in quadrature. After
    stopping at the :func:`looks` 95 % holds too, but for uniform rounds of 3 % spread: 93 % (tests/truth).
    Deterministic. Raises ValueError without rounds.
    """
    rounds = rounds_ms.shape[1]
    if rounds == 0 or not 0 < confidence < 1:
        raise ValueError(f"{rounds} rounds at confidence {confidence}: needs a round, and a confidence in (0, 1)")
    spent = (_MISS_FIRST if rounds <= MIN_ROUNDS else _MISS_LATER) * (1 - confidence)
    ordered = np.sort(rounds_ms, axis=1)
    if rounds < _NONPARAMETRIC_FROM:
        ends = _student(ordered, 1 - spent)
    else:
        depth, weight = _order_statistics(rounds, 1 - spent)
        low = (1 - weight) * ordered[:, depth - 1] + weight * ordered[:, depth]
        high = (1 - weight) * ordered[:, rounds - depth] + weight * ordered[:, rounds - depth - 1]
        ends = np.stack([low, high], axis=1)
    if level_spread == 0:
        return ends
    middle = np.median(ordered, axis=1, keepdims=True)
    common = _normal_quantile(confidence) * level_spread * middle
    widened: Floats = middle + np.array([-1.0, 1.0]) * np.hypot(ends - middle, common)
    return widened


def interval_ms(rounds_ms: Floats, confidence: float = 0.95, level_spread: float = 0.0) -> tuple[float, float]:
    """:func:`intervals_ms` of one item; ``rounds_ms`` is (rounds,)."""
    low, high = intervals_ms(np.asarray(rounds_ms, dtype=np.float64)[None, :], confidence, level_spread)[0]
    return float(low), float(high)


def half_width_ms(rounds_ms: Floats, confidence: float = 0.95, level_spread: float = 0.0) -> float:
    """Half of the interval's length."""
    low, high = interval_ms(rounds_ms, confidence, level_spread)
    return (high - low) / 2


def looks(min_rounds: int = MIN_ROUNDS, max_rounds: int = 1000) -> tuple[int, ...]:
    """The numbers of used rounds at which an item may be found converged: few, each 1.4 times the last.

    Looking after every round would stop at lucky moments more often than the interval allows for.
    """
    found = [max(1, min_rounds)]
    while (following := math.ceil(found[-1] * _LOOK_GROWTH)) <= max_rounds:
        found.append(following)
    return tuple(found)


def enough(
    rounds_ms: Floats, half_width: float = HALF_WIDTH, min_rounds: int = MIN_ROUNDS, level_spread: float = 0.0
) -> bool:
    """Whether to stop: this many used rounds is one of the :func:`looks`, and the interval is tight."""
    return len(rounds_ms) in looks(min_rounds) and is_tight(rounds_ms, half_width, level_spread)


def is_tight(rounds_ms: Floats, half_width: float = HALF_WIDTH, level_spread: float = 0.0) -> bool:
    """Whether the 95 % interval is within ``half_width`` of the latency, or within 0.05 us."""
    wanted_ms = max(TIGHT_MS, half_width * float(np.median(rounds_ms)))
    return half_width_ms(rounds_ms, level_spread=level_spread) <= wanted_ms


def status(
    rounds_ms: Floats,
    half_width: float = HALF_WIDTH,
    min_rounds: int = MIN_ROUNDS,
    quarantined: int = 0,
    level_spread: float = 0.0,
) -> Status:
    """What may be said of an item with these used (corrected) rounds, in the order they were taken.

    ``unstable``: more than half of all its rounds are quarantined, or the rounds have a trend that
    is both beyond chance (Mann-Kendall, z > 3.3) and larger over the run than the interval asked
    for (``2 * half_width``). ``converged``: ``min_rounds`` and :func:`is_tight`. ``budget``: else.
    """
    used = len(rounds_ms)
    if used == 0 or quarantined > _UNSTABLE_QUARANTINE * (used + quarantined) or _trends(rounds_ms, half_width):
        return "unstable"
    return "converged" if used >= min_rounds and is_tight(rounds_ms, half_width, level_spread) else "budget"


@lru_cache(maxsize=1024)
def _order_statistics(rounds: int, confidence: float) -> tuple[int, float]:
    """Depth d (1-based) and weight of order statistic d + 1 (Hettmansperger and Sheather 1986, eq. 2)."""
    below = np.cumsum([math.comb(rounds, k) / 2**rounds for k in range(rounds // 2 + 1)])
    coverage = [1 - 2 * float(below[d - 1]) for d in range(1, rounds // 2 + 1)]
    depth = max((d for d in range(1, len(coverage) + 1) if coverage[d - 1] >= confidence), default=0)
    if depth == 0:
        return 1, 0.0
    covered = coverage[depth - 1]
    following = coverage[depth] if depth < len(coverage) else 0.0
    excess = (covered - confidence) / (covered - following)
    return depth, (rounds - depth) * excess / (depth + (rounds - 2 * depth) * excess)


def _student(ordered: Floats, confidence: float) -> Floats:
    """Median +- t * spread of a median; the spread holds a prior of 5 % that counts as one round."""
    rounds = ordered.shape[1]
    middle = np.median(ordered, axis=1, keepdims=True)
    squares = ((ordered - ordered.mean(axis=1, keepdims=True)) ** 2).sum(axis=1, keepdims=True)
    spread = np.sqrt((squares + _PRIOR_ROUNDS * (_PRIOR_SPREAD * middle) ** 2) / rounds)
    reach = _student_quantile(rounds, confidence) * spread * math.sqrt(math.pi / 2 / rounds)
    reach = np.minimum(reach, middle * (1 - 1e-9)) if rounds == 1 else reach
    return np.concatenate([np.minimum(middle - reach, ordered[:, :1]), np.maximum(middle + reach, ordered[:, -1:])], 1)


@lru_cache(maxsize=64)
def _normal_quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


@lru_cache(maxsize=64)
def _student_quantile(freedom: int, confidence: float) -> float:
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # only fewer than six rounds need it

    return float(stdtrit(freedom, (1 + confidence) / 2))


def _trends(rounds_ms: Floats, half_width: float) -> bool:
    rounds = len(rounds_ms)
    if rounds < _NONPARAMETRIC_FROM:
        return False
    first, second = np.triu_indices(rounds, 1)
    rises = rounds_ms[second] - rounds_ms[first]
    z = abs(float(np.sign(rises).sum())) / math.sqrt(rounds * (rounds - 1) * (2 * rounds + 5) / 18)
    if z <= _TREND_Z:
        return False
    slope = float(np.median(rises / (second - first)))
    return abs(slope) * (rounds - 1) > 2 * half_width * float(np.median(rounds_ms))
