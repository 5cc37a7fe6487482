"""Pairs of token ids -> padded batches: the batch of any update without replaying those before it.

Training may stop and go on at any update, so a batch is a function of (pairs, batch size, seed, update)
alone. An epoch visits every pair once: its pairs are shuffled by a generator seeded with (seed, epoch),
cut into windows of `WINDOW_BATCHES` batches, sorted by length inside each window (little padding),
cut into batches, and the batches are shuffled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hwnas.data.task import BOS, PAD, Batch, Pair
from hwnas.errors import DataError

if TYPE_CHECKING:
    import torch

WINDOW_BATCHES = 50
"""Batches sorted by length together; the larger, the less padding and the less mixing of lengths."""

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of different lengths in one flat array."""

    ids: Ids
    starts: Ids
    lengths: Ids

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> _Rows:
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        ids = np.fromiter((i for row in rows for i in row), dtype=np.int64, count=int(lengths.sum()))
        return cls(ids, np.cumsum(lengths) - lengths, lengths)

    def padded(self, chosen: Ids) -> Ids:
        """The chosen rows, (rows, longest of them), PAD on the right."""
        lengths = self.lengths[chosen]
        column = np.arange(int(lengths.max(initial=0)), dtype=np.int64)
        inside = column < lengths[:, None]
        padded = np.full(inside.shape, PAD, dtype=np.int64)
        padded[inside] = self.ids[(self.starts[chosen][:, None] + column)[inside]]
        return padded


@dataclass(frozen=True, slots=True, eq=False)
class _PackedPairs:
    source: _Rows
    target: _Rows

    def batch(self, chosen: Ids) -> Batch:
        import torch

        return Batch(torch.from_numpy(self.source.padded(chosen)), torch.from_numpy(self.target.padded(chosen)))

    def by_length(self, order: Ids, window: Ids) -> Ids:
        """``order`` sorted by window, source length, target length; ties keep their order."""
        keys = (self.target.lengths[order], self.source.lengths[order], window)
        return order[np.lexsort(keys)]


class _Identity:
    """Makes a value usable as a cache key by what it is, not by what it equals (pairs are many)."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs

    def __hash__(self) -> int:
        return id(self.pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.pairs is self.pairs


def batch_of_update(pairs: Sequence[Pair], batch_size: int, seed: int, update: int) -> Batch:
    """The batch that update number ``update`` (from 0) trains on.

    The packed form of the last few ``pairs`` and the order of the last few epochs are kept, by
    identity: hand in the same, unchanged sequence each time.

    Raises:
        DataError: no pairs, or a batch size below 1, or a negative update.
    """
    if update < 0:
        raise DataError(f"update is {update}; updates count from 0")
    per_epoch = updates_per_epoch(pairs, batch_size)
    epoch, within = divmod(update, per_epoch)
    order, batches = _epoch(_Identity(pairs), batch_size, seed, epoch)
    first = int(batches[within]) * batch_size
    return _packed(_Identity(pairs)).batch(order[first : first + batch_size])


def fixed_batches(pairs: Sequence[Pair], batch_size: int) -> Iterator[Batch]:
    """All pairs in batches, shortest first, always in the same order (for validation).

    Raises:
        DataError: no pairs, or a batch size below 1.
    """
    updates_per_epoch(pairs, batch_size)
    order = length_order(pairs)
    for first in range(0, len(order), batch_size):
        yield _packed(_Identity(pairs)).batch(order[first : first + batch_size])


def length_order(pairs: Sequence[Pair]) -> Ids:
    """Numbers of the pairs, shortest source first, then shortest target: the order of :func:`fixed_batches`."""
    everything = np.arange(len(pairs), dtype=np.int64)
    return _packed(_Identity(pairs)).by_length(everything, np.zeros_like(everything))


def updates_per_epoch(pairs: Sequence[Pair], batch_size: int) -> int:
    """Number of batches that visit every pair once (the last one of an epoch may be smaller).

    Raises:
        DataError: no pairs, or a batch size below 1.
    """
    if batch_size < 1:
        raise DataError(f"batch size is {batch_size}; give at least 1")
    if not pairs:
        raise DataError("no pairs to make batches of; the split is empty")
    return -(-len(pairs) // batch_size)


def padded_sources(sources: Sequence[Sequence[int]]) -> torch.Tensor:
    """Source ids as one int64 tensor, (sources, longest), PAD on the right; for decoding."""
    import torch

    return torch.from_numpy(_Rows.of(sources).padded(np.arange(len(sources), dtype=np.int64)))


@lru_cache(maxsize=4)
def _packed(key: _Identity) -> _PackedPairs:
    return _PackedPairs(
        _Rows.of([pair.source for pair in key.pairs]), _Rows.of([(BOS, *pair.target) for pair in key.pairs])
    )


@lru_cache(maxsize=4)
def _epoch(key: _Identity, batch_size: int, seed: int, epoch: int) -> tuple[Ids, Ids]:
    """Order of the pairs in one epoch and the order its batches are visited in."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(key.pairs)).astype(np.int64)
    window = np.arange(len(order), dtype=np.int64) // (WINDOW_BATCHES * batch_size)
    order = _packed(key).by_length(order, window)
    return order, rng.permutation(updates_per_epoch(key.pairs, batch_size)).astype(np.int64)
