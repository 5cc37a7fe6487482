"""DRAM traffic of a matrix product cut into folds, and what a bandwidth makes of its cycles. Our own model.

SCALE-Sim gives traffic only by replaying traces; where both operands fit, its totals are these (checked in our
tests). Its stalls have no closed form and are not reproduced here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from profiler.errors import SimulationError
from profiler.simulators.systolic_array import Array, ArrayRun


@dataclass(frozen=True, slots=True)
class Buffers:
    """Usable words of each on-chip buffer, and whether partial sums are added up in the output's.

    Without ``accumulates`` every partial sum goes to memory; that it comes back for the next addition is not counted
    here, as in SCALE-Sim, but by :func:`profiler.simulators.systolic.product_cost`.
    """

    ifmap_words: int
    filter_words: int
    ofmap_words: int
    accumulates: bool

    def require_tile(self, array: Array) -> None:
        """Raise :class:`SimulationError` if a buffer cannot hold what the array takes or gives at once."""
        tile, rows, cols = array.rows * array.cols, array.rows, array.cols
        needs = {"os": (rows, cols, tile), "ws": (rows, tile, cols), "is": (tile, rows, cols)}[array.dataflow]
        for name, words in zip(("ifmap", "filter", "ofmap"), needs, strict=True):
            usable = getattr(self, f"{name}_words")
            if usable < words:
                raise SimulationError(
                    f"the {name} buffer holds {usable} words, less than a tile of {words} for {array.dataflow} on"
                    f" {array.rows} x {array.cols}: enlarge it, or shrink the array"
                )


@dataclass(frozen=True, slots=True)
class Traffic:
    """Words between chip and DRAM. ``partial_writes`` and ``partial_reads`` are sums that are not final yet."""

    ifmap_reads: int
    filter_reads: int
    ofmap_writes: int
    partial_writes: int
    partial_reads: int


def traffic(array: Array, run: ArrayRun, buffers: Buffers) -> Traffic:
    """The least traffic over the two orders of the folds' loops.

    An operand is read once if what the inner loop comes back to fits its buffer, else once for every time the loop
    comes back; the stationary operand is read exactly once.
    """
    m, k, n = run.m, run.k, run.n
    if array.dataflow == "os":
        row_strip, col_strip = min(array.rows, m) * k, min(array.cols, n) * k
        row_outer, col_outer = (
            (
                _reads(m * k, kept_ifmap, run.col_folds, buffers.ifmap_words),
                _reads(k * n, kept_filter, run.row_folds, buffers.filter_words),
            )
            for kept_ifmap, kept_filter in ((row_strip, k * n), (m * k, col_strip))
        )
        return Traffic(*min(row_outer, col_outer, key=sum), m * n, 0, 0)
    if array.dataflow == "ws":
        stream, partial = _stationary(m, n, k, run, array, buffers.ifmap_words, buffers)
        return Traffic(stream, k * n, m * n, *partial)
    stream, partial = _stationary(n, m, k, run, array, buffers.filter_words, buffers)
    return Traffic(m * k, stream, m * n, *partial)


def _reads(words: int, kept: int, visits: int, buffer_words: int) -> int:
    """Words read of an operand that is visited so often, if ``kept`` words would have to stay in between."""
    return words if kept <= buffer_words else words * visits


def _stationary(
    streamed: int, held: int, k: int, run: ArrayRun, array: Array, stream_words: int, buffers: Buffers
) -> tuple[int, tuple[int, int]]:
    """Reads of the streamed operand (``streamed`` x k), and the partial sums written and read, for ws and is.

    ``held`` is the size of the stationary operand across the columns. k outside: a strip of the streamed operand is
    used for all columns, but all ``streamed`` x ``held`` sums are open. Columns outside: the other way round.
    """
    sums = streamed * held
    spills = sums * (run.row_folds - 1)
    k_outer = _reads(streamed * k, streamed * min(array.rows, k), run.col_folds, stream_words)
    if not buffers.accumulates:
        return k_outer, (spills, 0)
    col_outer = _reads(streamed * k, streamed * k, run.col_folds, stream_words)
    k_spills = spills if sums > buffers.ofmap_words else 0
    col_spills = spills if streamed * min(array.cols, held) > buffers.ofmap_words else 0
    reads, spilled = min((k_outer, k_spills), (col_outer, col_spills), key=_words)
    return reads, (spilled, spilled)


def _words(option: tuple[int, int]) -> int:
    """What an order moves: its reads, and its spilled sums there and back."""
    reads, spills = option
    return reads + 2 * spills


def with_transfers(compute: int, transfer: int, folds: int, *, double_buffered: bool) -> int:
    """Cycles of ``folds`` equal folds that need ``transfer`` cycles of DRAM in all.

    With two halves of each buffer, the transfers of a fold hide behind the fold before: the first transfer and the
    last computation hide behind nothing. With one, they take turns.
    """
    if not double_buffered:
        return compute + transfer
    return math.ceil((compute + transfer + (folds - 1) * max(compute, transfer)) / folds)
