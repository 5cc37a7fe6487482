"""Systolic arrays at the level of single processing elements: they multiply real matrices, cycle by cycle.

Nothing here knows a formula of the engine. A processing element sees what its neighbours held in the cycle before;
cycles are counted until the last valid value has left (ws, is) or was added (os). A fold that starts ``gap`` cycles
after the one before overlaps with it, through the second register each element has; without ``gap`` folds are serial:
the next starts when nothing of this one moves any more.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def multiply(dataflow: str, a: Matrix, b: Matrix, rows: int, cols: int, gap: int | None = None) -> tuple[Matrix, int]:
    """``a @ b`` as the array computes it, and the cycles it took."""
    if dataflow == "os":
        return _in_folds(_output_stationary, a, b, rows, cols, gap)
    if dataflow == "ws":
        return _in_folds(_weight_stationary, a, b, rows, cols, gap)
    product, cycles = _in_folds(_weight_stationary, b.T, a.T, rows, cols, gap)
    return product.T, cycles


def _in_folds(simulate, a, b, rows, cols, gap):
    if gap is not None:
        return simulate(a, b, list(_tiles(simulate, a, b, rows, cols)), rows, cols, gap)
    product, cycles = np.zeros((len(a), b.shape[1])), 0
    for tile in _tiles(simulate, a, b, rows, cols):
        part, taken = simulate(a, b, [tile], rows, cols, 0)
        product, cycles = product + part, cycles + taken
    return product, cycles


def _tiles(simulate, a: Matrix, b: Matrix, rows: int, cols: int) -> Iterator[tuple[int, int]]:
    """Where the array's rows and columns stand: (m, n) for os, (k, n) for ws."""
    height = len(a) if simulate is _output_stationary else a.shape[1]
    return ((top, left) for top in range(0, height, rows) for left in range(0, b.shape[1], cols))


def _at(matrix: Matrix, row: int, col: int) -> float:
    """0 beyond the edge: processing elements there get zeros."""
    return matrix[row, col] if 0 <= row < matrix.shape[0] and 0 <= col < matrix.shape[1] else 0.0


def _weight_stationary(a: Matrix, b: Matrix, tiles, rows: int, cols: int, gap: int) -> tuple[Matrix, int]:
    stream = len(a)
    starts = [rows + gap * number for number in range(len(tiles))]  # weights are shifted in before
    product = np.zeros((stream, b.shape[1]))
    value, first, valid = np.zeros((rows, cols)), np.zeros((rows, cols), bool), np.zeros((rows, cols), bool)
    total, active, shadow = np.zeros((rows, cols)), np.zeros((rows, cols)), np.zeros((rows, cols))
    last = 0
    for cycle in range(starts[-1] + stream + rows + cols + 1):
        value, first, valid = _moved_right(value), _moved_right(first), _moved_right(valid)
        for start, (top, _) in zip(starts, tiles, strict=True):
            for row in range(rows):
                step = cycle - start - row
                if 0 <= step < stream:
                    value[row, 0], first[row, 0], valid[row, 0] = _at(a, step, top + row), step == 0, True
        active = np.where(first, shadow, active)
        total = _moved_down(total) + value * active
        above = _moved_down(shadow)
        for start, (top, left) in zip(starts, tiles, strict=True):
            for row in range(rows):
                for col in range(cols):
                    step = cycle - (start - rows) - col
                    if row <= step < rows:
                        entering = _at(b, top + rows - 1 - step, left + col)
                        shadow[row, col] = entering if row == 0 else above[row, col]
        for start, (_, left) in zip(starts, tiles, strict=True):
            for col in range(cols):
                step = cycle - start - (rows - 1) - col
                if 0 <= step < stream:
                    assert valid[rows - 1, col]
                    last = cycle
                    if left + col < b.shape[1]:
                        product[step, left + col] += total[rows - 1, col]
    return product, last + 1


def _output_stationary(a: Matrix, b: Matrix, tiles, rows: int, cols: int, gap: int) -> tuple[Matrix, int]:
    stream = a.shape[1]
    starts = [gap * number for number in range(len(tiles))]
    product = np.zeros((len(a), b.shape[1]))
    right, down = np.zeros((rows, cols)), np.zeros((rows, cols))
    final, valid = np.zeros((rows, cols), bool), np.zeros((rows, cols), bool)
    total, shadow = np.zeros((rows, cols)), np.zeros((rows, cols))
    last = 0
    for cycle in range(starts[-1] + stream + 2 * rows + cols + 1):
        right, down = _moved_right(right), _moved_down(down)
        final, valid = _moved_right(final), _moved_right(valid)
        for start, (top, left) in zip(starts, tiles, strict=True):
            for row in range(rows):
                step = cycle - start - row
                if 0 <= step < stream:
                    right[row, 0] = _at(a, top + row, step)
                    final[row, 0], valid[row, 0] = step == stream - 1, True
            for col in range(cols):
                step = cycle - start - col
                if 0 <= step < stream:
                    down[0, col] = _at(b, step, left + col)
        above, leaving = _moved_down(shadow), shadow[rows - 1].copy()
        for start, (top, left) in zip(starts, tiles, strict=True):  # drain the finished sums downwards
            for col in range(cols):
                step = cycle - (start + stream + rows - 1 + col)
                if 0 <= step < rows:
                    shadow[step:, col] = above[step:, col]
                    if top + rows - 1 - step < len(a) and left + col < b.shape[1]:
                        product[top + rows - 1 - step, left + col] += leaving[col]
        total = total + right * down
        if valid.any():
            last = cycle
        shadow, total = np.where(final, total, shadow), np.where(final, 0.0, total)
    return product, last + 1


def _moved_right(state):
    moved = np.zeros_like(state)
    moved[:, 1:] = state[:, :-1]
    return moved


def _moved_down(state):
    moved = np.zeros_like(state)
    moved[1:] = state[:-1]
    return moved
