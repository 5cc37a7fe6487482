"""Slow drift of a device, read from the residuals of other rows measured near in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.families.seq2seq.features import ENCODER_PARTS, count_parts
from hwnas.predictors.dataset import LatencySet
from hwnas.predictors.robust import fit_entries

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

WIDTHS = (1, 2, 4, 8, 16, 32)
"""Known rows looked at on each side. Medians keep the edge of a block, whichever width fits its length."""
ENCODER_WIDTHS = (1, 4)
_BACKFITS = 3
_CLIP = 0.5


@dataclass(frozen=True, slots=True)
class Drift:
    """The state of the device along the rows of a set, told from rows where it is known.

    ``places`` are row numbers in ascending order; ``log_ratio`` is measured over fitted there, of
    the whole latency, and ``encoder_log_ratio`` of the encoder's alone, both (known,) and centred.
    The drift at a row is a weighted sum of signs from the rows around it, *never the row itself*:
    medians of the nearest whole log ratios, one for each of ``WIDTHS``, and means of the nearest encoder's, before and
    after apart (the encoder is timed right before the decoder, so the next row's is near).
    """

    places: Rows
    log_ratio: Array
    encoder_log_ratio: Array
    weights: Array

    @classmethod
    def fit(cls, places: Rows, log_ratio: Array, encoder_log_ratio: Array) -> Drift:
        """The weights, none negative, of least absolute error when each row is told from the others.

        Where neighbours tell nothing (noise that is no drift, an order that is none) the weights
        go towards 0, and the drift is the same everywhere.
        """
        from scipy.optimize import nnls  # type: ignore[import-untyped]  # predicting needs none of it

        whole = log_ratio - np.median(log_ratio)
        encoder = np.clip(encoder_log_ratio - np.median(encoder_log_ratio), -_CLIP, _CLIP)
        signs, trust = _signs(places, whole, encoder, places), np.ones(len(places))
        weights = np.zeros(signs.shape[1])
        for _ in range(15):
            root = np.sqrt(trust)
            weights, _ = nnls(signs * root[:, None], whole * root)
            error = np.abs(whole - signs @ weights)
            trust = 1 / np.maximum(error, max(0.5 * float(np.median(error)), 1e-6))
        return cls(places, whole, encoder, weights)

    def at(self, rows: Rows) -> Array:
        """Log ratio of the device's state at ``rows`` to its usual one, (rows,)."""
        drift: Array = _signs(self.places, self.log_ratio, self.encoder_log_ratio, rows) @ self.weights
        return drift


def _signs(places: Rows, whole: Array, encoder: Array, rows: Rows) -> Array:
    """What the known rows around each row say, (rows, widths + 2 x encoder widths); 0 where there are none."""
    widest = WIDTHS[-1]
    before = np.searchsorted(places, rows, side="left")[:, None] - 1 - np.arange(widest)
    after = np.searchsorted(places, rows, side="right")[:, None] + np.arange(widest)
    left, right = _pick(whole, before), _pick(whole, after)
    columns = [_median(np.column_stack([left[:, :width], right[:, :width]])) for width in WIDTHS]
    for side in (before, after):
        near = np.nan_to_num(_pick(encoder, side))
        columns += [near[:, :width].mean(axis=1) for width in ENCODER_WIDTHS]
    return np.column_stack(columns)


def _pick(values: Array, where: Rows) -> Array:
    there = (where >= 0) & (where < len(values))
    return np.where(there, values[np.clip(where, 0, len(values) - 1)], np.nan)


def _median(values: Array) -> Array:
    """Of each row's numbers, NaN left out; 0 if there are none."""
    ordered = np.sort(values, axis=1)  # NaN comes last
    known = np.isfinite(values).sum(axis=1)
    low, high = np.maximum(known - 1, 0) // 2, known // 2
    pair = np.column_stack([np.arange(len(values)), np.minimum(high, values.shape[1] - 1)])
    middle = (ordered[pair[:, 0], low] + ordered[pair[:, 0], pair[:, 1]]) / 2
    return np.where(known > 0, middle, 0.0)


def fit_drift(rows: LatencySet, places: Rows) -> Drift:
    """Drift from the residuals of the additive form, fitted at ``places`` (ascending row numbers) alone.

    Backfitting (Breiman & Friedman 1985): the form is fitted on latencies without drift, the drift on
    what it leaves, three times in turn.
    """
    parts, latency_ms = count_parts(rows.features[places]), rows.latency_ms[places]
    of_encoder = parts[:, : len(ENCODER_PARTS)]
    encoder = _log_ratio(of_encoder, rows.encoder_ms[places], fit_entries(of_encoder, rows.encoder_ms[places]))
    drift = np.zeros(len(places))
    for _ in range(_BACKFITS):
        entries = fit_entries(parts, latency_ms / np.exp(drift))
        found = Drift.fit(places, _log_ratio(parts, latency_ms, entries), encoder)
        drift = found.at(places)
    return found


def _log_ratio(parts: Array, latency_ms: Array, entries: Array) -> Array:
    ratio: Array = np.log(latency_ms / np.maximum(parts @ entries, 1e-300))
    return ratio
