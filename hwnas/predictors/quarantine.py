"""Outliers in data that others measured, told row by row as they come, from the rows so far."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from hwnas.families.seq2seq.features import ENCODER_PARTS, count_parts
from hwnas.predictors.dataset import LatencySet
from hwnas.predictors.robust import FAR, State, fit_lowest_state

Array = npt.NDArray[np.float64]

WARM_UP = 50
"""Rows whose verdicts wait for the last of them: the first have nothing to be compared with."""
_GROWTH = 1.1
_SPREADS = 4.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one row: measured over fitted latency of encoder and decoder, and whether one is too long."""

    row: int
    encoder_ratio: float
    decoder_ratio: float
    flagged: bool

    def as_dict(self) -> dict[str, object]:
        """The fields by name, JSON-able."""
        return asdict(self)


class Quarantine:
    """Takes rows one by one, gives verdicts that are never taken back.

    A row is flagged if its encoder or its decoder takes over 1.25 times (and over 4 robust standard
    deviations more than) what the lowest state of the device seen so far says for its sizes. Only
    too long, never too short: what disturbs a measurement makes it longer. The state is fitted on the rows so far
    (:func:`hwnas.predictors.robust.fit_lowest_state`), again whenever there are a tenth more of them, so most of
    the first rows may be outliers: one in ten that is not is enough.
    """

    def __init__(self, warm_up: int = WARM_UP) -> None:
        """The first ``warm_up`` rows get their verdicts together."""
        self._warm_up = warm_up
        self._encoder, self._decoder = _Side(), _Side()
        self._judged = 0

    def feed(self, features: Array, encoder_ms: float, decoder_ms: float) -> tuple[Verdict, ...]:
        """One more row, features (10,); the verdicts that are ripe now: none, one, or those of the warm-up."""
        parts = count_parts(features[None])[0]
        self._encoder.take(parts[: len(ENCODER_PARTS)], encoder_ms)
        self._decoder.take(parts[len(ENCODER_PARTS) :], decoder_ms)
        return self.finish() if len(self._encoder) >= self._warm_up else ()

    def finish(self) -> tuple[Verdict, ...]:
        """The verdicts that still wait: all of them, where there were fewer rows than the warm-up needs."""
        first, self._judged = self._judged, len(self._encoder)
        if first == self._judged:
            return ()
        encoder, encoder_limit = self._encoder.judge(first)
        decoder, decoder_limit = self._decoder.judge(first)
        flagged = (encoder > encoder_limit) | (decoder > decoder_limit)
        columns = (np.exp(encoder).tolist(), np.exp(decoder).tolist(), flagged.tolist())
        return tuple(Verdict(first + place, *row) for place, row in enumerate(zip(*columns, strict=True)))


class _Side:
    """Encoder or decoder: its rows so far, and the state fitted last."""

    def __init__(self) -> None:
        self._parts: list[Array] = []
        self._latency_ms: list[float] = []
        self._state: State | None = None
        self._next = 0

    def __len__(self) -> int:
        return len(self._parts)

    def take(self, parts: Array, latency_ms: float) -> None:
        """Add a row."""
        self._parts.append(parts)
        self._latency_ms.append(latency_ms)

    def judge(self, first: int) -> tuple[Array, float]:
        """Log ratios of the rows from ``first`` on and what they may be at most, with the state of all so far."""
        rows = len(self)
        if self._state is None or rows >= self._next:
            self._state = fit_lowest_state(np.stack(self._parts), np.array(self._latency_ms), self._state)
            self._next = max(rows + 1, round(_GROWTH * rows))
        state = self._state
        limit = max(FAR, _SPREADS * state.spread)
        scarce = 1 + len(state.entries) / max(state.members, 1)  # a fit on few rows is itself uncertain
        latest = np.array(self._latency_ms[first:])
        return state.log_ratio(np.stack(self._parts[first:]), latest), limit * scarce


def judge_rows(rows: LatencySet) -> tuple[Verdict, ...]:
    """Verdicts on all rows, fed one after another."""
    quarantine = Quarantine()
    verdicts: list[Verdict] = []
    for features, encoder_ms, decoder_ms in zip(rows.features, rows.encoder_ms, rows.decoder_ms, strict=True):
        verdicts += quarantine.feed(features, float(encoder_ms), float(decoder_ms))
    return (*verdicts, *quarantine.finish())
