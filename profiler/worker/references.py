"""Reference workloads: built in and the same everywhere, their time tells how fast a device is right now."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from .facts import cache_bytes, memory


class Streaming:
    """Reference workload bound by memory: copies a piece of a buffer the caches cannot hold.

    Each call goes on where the last one ended, so that by its next turn a piece has been evicted. The buffer is
    twice the largest cache, at most 128 MiB and an eighth of the memory that is free.
    """

    PIECE = 1 << 20

    def __init__(self) -> None:
        free = memory()["memory_available_bytes"] or 1 << 30
        wanted = min(2 * (cache_bytes() or 1 << 24), 1 << 27, free // 8)
        pieces = max(4, wanted // self.PIECE)
        self.source = np.ones((pieces, self.PIECE // 8), np.float64)
        self.target = np.ones(self.PIECE // 8, np.float64)
        self.turns = itertools.cycle(self.source)

    def __call__(self) -> None:
        """One piece."""
        np.copyto(self.target, next(self.turns))


class Multiplying:
    """Reference workload bound by compute: a product of float32 matrices that fit the second cache."""

    SIDE = 128

    def __init__(self) -> None:
        values = np.linspace(-1, 1, self.SIDE * self.SIDE, dtype=np.float32).reshape(self.SIDE, self.SIDE)
        self.one, self.other, self.product = values, values.T.copy(), np.empty_like(values)

    def __call__(self) -> None:
        """One product."""
        np.dot(self.one, self.other, out=self.product)


REFERENCES: dict[str, Callable[[], Callable[[], None]]] = {"compute": Multiplying, "memory": Streaming}
