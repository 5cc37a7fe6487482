"""Non-negative entries of least relative error that outliers do not pull, even where most rows are outliers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FAR = float(np.log(1.25))
"""Log ratio beyond which a row is of another state than the fit: no correction is trusted that far."""
_TUKEY = 4.685
"""Tukey's biweight with 95 % of least squares' efficiency on Gaussian noise (Holland & Welsch 1977)."""
_START = 5
_PASSES = 40
_SETTLED = 1e-6


def fit_entries(parts: Array, latency_ms: Array) -> Array:
    """Entries (parts,), none negative, whose sum ``parts @ entries`` is near most latencies.

    ``parts`` is (rows, parts), not negative; errors are relative. Iteratively reweighted least squares: a few passes
    towards least absolute error to find the bulk of the rows, then Tukey's biweight, which gives no
    weight at all to rows some five robust standard deviations away. Stands nearly half of the rows
    being outliers; see :func:`fit_lowest_state` for more.
    """
    relative = parts / latency_ms[:, None]
    weights = np.ones(len(relative))
    entries = np.zeros(parts.shape[1])
    for number in range(_PASSES):
        before, entries = entries, _solve(relative, weights)
        error = np.abs(relative @ entries - 1)
        scale = max(1.4826 * float(np.median(error)), 1e-6)
        if number < _START:
            weights = scale / np.maximum(2 * error, scale)
            continue
        weights = np.clip(1 - (error / (_TUKEY * scale)) ** 2, 0, None) ** 2
        if np.abs(entries - before).max() <= _SETTLED * entries.max():
            break
    return entries


def _solve(relative: Array, weights: Array) -> Array:
    """Non-negative least squares of ``relative @ entries`` towards 1, on the normal equations.

    Columns are scaled to unit length, and a ridge of 1e-9 keeps the factorisation possible.
    """
    from scipy.optimize import nnls  # type: ignore[import-untyped]  # predicting needs none of it

    weighted = relative * weights[:, None]
    gram, target = weighted.T @ relative, weighted.sum(axis=0)
    size = np.sqrt(np.diag(gram))
    size[size == 0] = 1.0
    root = np.linalg.cholesky(gram / np.outer(size, size) + 1e-9 * np.eye(len(size)))
    solution, _ = nnls(root.T, np.linalg.solve(root, target / size))
    entries: Array = solution / size
    return entries


@dataclass(frozen=True, slots=True)
class State:
    """A fit of the rows that were measured in one state of the device.

    ``entries`` (parts,); ``spread`` is the robust standard deviation of the log ratio of its rows,
    ``members`` their number.
    """

    entries: Array
    spread: float
    members: int

    def log_ratio(self, parts: Array, latency_ms: Array) -> Array:
        """Logarithm of measured over fitted, (rows,)."""
        return _log_ratio(self.entries, parts, latency_ms)


def fit_lowest_state(parts: Array, latency_ms: Array, known: State | None = None) -> State:
    """The fit of the lowest state that is there at all, though most rows may be far above it.

    What disturbs a measurement makes it longer, hardly ever shorter. So the state to compare with is
    the lowest one in which enough rows (8 %, at least 5) agree, and under which hardly any (2 %)
    lie. As with least trimmed squares (Rousseeuw & Van Driessen 1999) several starts are improved by
    concentration steps (fit the rows that lie near, take the rows that lie near the fit, ...): the bulk of all
    rows, the lowest dense cluster in proportion to each single part, and ``known``; where enough rows lie
    under what they come to, these are a start too. Of those that settle on a credible state the one
    with most members counts.
    """
    rows = len(latency_ms)
    needed = max(5, round(0.08 * rows))
    starts = [fit_entries(parts, latency_ms), *_proportional(parts, latency_ms, needed)]
    if known is not None:
        starts.append(known.entries)
    best: tuple[bool, int] | None = None
    fits: dict[bytes, Array] = {}
    for start in starts:
        entries, reach, left = start, 2 * FAR, rows  # a start has not the right proportions yet
        while True:
            state, log_ratio = _concentrate(parts, latency_ms, entries, reach, needed, fits)
            below = log_ratio < -FAR
            under = int(below.sum())
            rank = (state.members >= needed and under <= max(1, 0.02 * rows), state.members)
            if best is None or rank > best:
                best, found = rank, state
            if not needed <= under < left:
                break
            entries, reach, left = fit_entries(parts[below], latency_ms[below]), FAR, under
    return found


def _proportional(parts: Array, latency_ms: Array, needed: int) -> list[Array]:
    """For each part that all rows have: entries that put all latency there, in the lowest dense cluster."""
    starts = []
    for part in range(parts.shape[1]):
        if needed > len(parts) or parts[:, part].min() <= 0:
            continue
        level = np.sort(np.log(latency_ms / parts[:, part]))
        width = level[needed - 1 :] - level[: len(level) - needed + 1]
        dense = width <= 2 * FAR
        first = int(np.argmax(dense)) if dense.any() else int(np.argmin(width))
        entries = np.zeros(parts.shape[1])
        entries[part] = np.exp(np.median(level[first : first + needed]))
        starts.append(entries)
    return starts


def _concentrate(
    parts: Array, latency_ms: Array, entries: Array, reach: float, needed: int, fits: dict[bytes, Array]
) -> tuple[State, Array]:
    """Concentration steps until the members stay the same; the state, and the log ratio of every row to it.

    ``fits`` are those made before, by members: most starts end on the same.
    """
    members = np.zeros(len(parts), dtype=np.bool_)
    for _ in range(_PASSES):
        near = np.abs(_log_ratio(entries, parts, latency_ms)) < reach
        if near.sum() < needed or (near == members).all():
            break
        members, reach = near, FAR
        key = members.tobytes()
        if key not in fits:
            fits[key] = fit_entries(parts[members], latency_ms[members])
        entries = fits[key]
    log_ratio = _log_ratio(entries, parts, latency_ms)
    own = log_ratio[np.abs(log_ratio) < FAR]
    spread = 1.4826 * float(np.median(np.abs(own - np.median(own)))) if len(own) else FAR
    return State(entries, spread, len(own)), log_ratio


def _log_ratio(entries: Array, parts: Array, latency_ms: Array) -> Array:
    ratio: Array = np.log(latency_ms / np.maximum(parts @ entries, 1e-300))
    return ratio
