"""One matrix product on a systolic array in closed form: cycles, SRAM accesses, utilisation.

The array has ``rows`` x ``cols`` processing elements, a multiply-accumulate each a cycle. Its folds (tiles) run one
after another, and each pays for the whole array, used or not, as in SCALE-Sim (Samajdar et al., ISPASS 2020, section
III): operands enter skewed by a cycle per row and column, so that a fold that streams T values takes
T + rows + cols - 2 cycles, and a stationary operand is shifted in before, in ``rows`` cycles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from profiler.errors import SimulationError

Dataflow = Literal["os", "ws", "is"]
"""Output, weight or input stationary: which operand stays in the processing elements."""


@dataclass(frozen=True, slots=True)
class Array:
    """``rows`` x ``cols`` processing elements. Raises :class:`SimulationError` for an array that cannot be.

    ``overlapped_folds``: the processing elements hold two stationary values (for ``os`` two accumulators), so that the
    next fold is loaded (the last one drained, in ``rows`` cycles) while this one runs, and its stream follows without
    a gap. Without it folds are strictly serial, as in SCALE-Sim 3.0.0.
    """

    dataflow: Dataflow
    rows: int
    cols: int
    overlapped_folds: bool = False

    def __post_init__(self) -> None:
        if self.dataflow not in ("os", "ws", "is"):
            raise SimulationError(f"dataflow {self.dataflow!r} is unknown; known: os, ws, is")
        for name in ("rows", "cols"):
            if getattr(self, name) < 1:
                raise SimulationError(f"an array of {self.rows} x {self.cols}: {name} must be at least 1")


@dataclass(frozen=True, slots=True)
class ArrayRun:
    """What (m, k) by (k, n) takes; accesses in words. ``ifmap`` is the first operand, ``filter`` the second.

    ``ofmap_sram_writes`` counts every partial sum that leaves the array. The fold's grid is ``row_folds`` x
    ``col_folds``: tiles of (m, n) for ``os``, of (k, n) for ``ws``, of (k, m) for ``is``.
    """

    m: int
    k: int
    n: int
    row_folds: int
    col_folds: int
    fold_cycles: int
    cycles: int
    ifmap_sram_reads: int
    filter_sram_reads: int
    ofmap_sram_writes: int
    utilisation: float

    @property
    def folds(self) -> int:
        """Tiles the product was cut into."""
        return self.row_folds * self.col_folds

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.m * self.k * self.n


def run(array: Array, m: int, k: int, n: int, *, scalesim_surplus: bool = False) -> ArrayRun:
    """Cycles and accesses of (m, k) by (k, n) on ``array``.

    ``scalesim_surplus`` adds what SCALE-Sim 3.0.0 counts too many: rows + cols output writes a fold of ``os``.
    Raises :class:`SimulationError` for an empty product.
    """
    if min(m, k, n) < 1:
        raise SimulationError(f"a product of M={m}, K={k}, N={n}: each must be at least 1")
    rows, cols = array.rows, array.cols
    match array.dataflow:
        case "os":
            row_folds, col_folds, stream, load = ceil_div(m, rows), ceil_div(n, cols), k, 0
            ifmap, weights, ofmap = m * k * col_folds, k * n * row_folds, m * n
            if scalesim_surplus:
                ofmap += row_folds * col_folds * (rows + cols)
        case "ws":
            row_folds, col_folds, stream, load = ceil_div(k, rows), ceil_div(n, cols), m, rows
            ifmap, weights, ofmap = m * k * col_folds, k * n, m * n * row_folds
        case "is":
            row_folds, col_folds, stream, load = ceil_div(k, rows), ceil_div(m, cols), n, rows
            ifmap, weights, ofmap = m * k, k * n * col_folds, m * n * row_folds
    folds = row_folds * col_folds
    fold_cycles = load + stream + rows + cols - 2
    cycles = folds * fold_cycles
    if array.overlapped_folds:
        cycles = fold_cycles + (folds - 1) * max(stream, rows)
    utilisation = m * k * n / (cycles * rows * cols)
    return ArrayRun(m, k, n, row_folds, col_folds, fold_cycles, cycles, ifmap, weights, ofmap, utilisation)


def ceil_div(total: int, part: int) -> int:
    """Parts of size ``part`` that cover ``total``."""
    return -(-total // part)
