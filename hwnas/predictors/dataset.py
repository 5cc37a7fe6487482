"""HAT's latency data sets: whole models, described by ten averages, with their measured latencies."""

from __future__ import annotations

import csv
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwnas.errors import DataError
from hwnas.families.seq2seq.features import FEATURES

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

LATENCIES = ("latency_mean_encoder", "latency_mean_decoder", "latency_std_encoder", "latency_std_decoder")
"""Mean and standard deviation of encoder and decoder over the runs of one row, in ms."""
LEAST_ROWS = 20


@dataclass(frozen=True, slots=True)
class LatencySet:
    """Rows in the order they were measured: ``features`` (rows, 10) as in ``FEATURES``, times (rows,) in ms."""

    name: str
    sha256: str
    features: Array
    encoder_ms: Array
    decoder_ms: Array
    encoder_std_ms: Array
    decoder_std_ms: Array

    @property
    def latency_ms(self) -> Array:
        """Encoder and decoder together, (rows,): what HAT predicts."""
        return self.encoder_ms + self.decoder_ms

    def __len__(self) -> int:
        return len(self.encoder_ms)

    def take(self, which: Rows) -> LatencySet:
        """The rows of these numbers, in their order."""
        columns = (self.features, self.encoder_ms, self.decoder_ms, self.encoder_std_ms, self.decoder_std_ms)
        return LatencySet(self.name, self.sha256, *(column[which] for column in columns))


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers, shuffled. HAT only prints its loss on ``valid``; nothing here uses it."""

    train: Rows
    valid: Rows
    test: Rows

    @classmethod
    def of(cls, rows: int, seed: int, number: int) -> Split:
        """Split ``number`` of a seed, as HAT splits (latency_predictor.py): shuffled, 80, 10 and 10 %."""
        order = np.random.default_rng((seed, number)).permutation(rows)
        train, valid = math.floor(0.8 * rows), math.floor(0.1 * rows)
        return cls(order[:train], order[train : train + valid], order[train + valid :])


def read_latency_set(path: Path) -> LatencySet:
    """A CSV with HAT's 14 columns (latency_dataset.py), in any order; others are ignored.

    Raises :class:`DataError`, naming file, line and column, for anything that is no such file:
    columns that are missing or given twice, a field that is no finite number, a size or latency that is not
    above 0, or fewer than 20 rows.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise DataError(f"{path} is not a text file ({exc.reason}); a latency set is a CSV as HAT writes it") from exc
    try:
        lines = [(number, row) for number, row in enumerate(csv.reader(text.splitlines()), 1) if any(row)]
    except csv.Error as exc:
        raise DataError(f"{path} is not a CSV: {exc}") from exc
    if not lines:
        raise DataError(f"{path} is empty; a latency set is a CSV as HAT writes it")
    header = [name.strip() for name in lines[0][1]]
    wanted = FEATURES + LATENCIES
    for name in wanted:
        if header.count(name) != 1:
            what = "lacks the column" if name not in header else "has more than one column"
            raise DataError(f"{path} {what} {name!r}; a latency set has HAT's 14 columns: {', '.join(wanted)}")
    if len(lines) - 1 < LEAST_ROWS:
        raise DataError(f"{path} has {len(lines) - 1} rows; at least {LEAST_ROWS} are needed")
    places = [header.index(name) for name in wanted]
    values = np.array([_numbers(path, number, row, places, len(header)) for number, row in lines[1:]])
    return LatencySet(path.stem, hashlib.sha256(content).hexdigest(), values[:, :10], *values[:, 10:].T)


def _numbers(path: Path, number: int, row: list[str], places: list[int], columns: int) -> list[float]:
    if len(row) != columns:
        raise DataError(f"{path}:{number} has {len(row)} fields, the header {columns}")
    values = []
    for name, place in zip(FEATURES + LATENCIES, places, strict=True):
        try:
            value = float(row[place])
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0 or (value == 0 and not name.startswith("latency_std")):
            what = "not negative" if name.startswith("latency_std") else "above 0"
            raise DataError(f"{path}:{number}: {name} is {row[place][:40]!r}; it must be a number {what}")
        values.append(value)
    return values
