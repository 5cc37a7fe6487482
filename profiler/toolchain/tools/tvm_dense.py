"""Products with weights: packed panels at build time, register tiles, and what follows fused into the tile."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import te
from tvm.s_tir import Schedule
from tvm_isa import Tile

PRODUCT, RESULT = "packed_dense", "packed_dense_result"


def pack(weight: Any, tile: Tile) -> Any:
    """``weight`` (inner, columns) -> panels (panels, inner, tile.columns), zeros beyond the last column."""
    inner, columns = weight.shape
    panels = -(-columns // tile.columns)
    padded = np.zeros((inner, panels * tile.columns), weight.dtype)
    padded[:, :columns] = weight
    return np.ascontiguousarray(padded.reshape(inner, panels, tile.columns).transpose(1, 0, 2))


def dense(x: te.Tensor, panels: te.Tensor, columns: int, tile: Tile) -> te.Tensor:
    """``x`` (rows, inner) by packed ``panels``, of its type or of a narrower one -> (rows, columns).

    Rows are padded to whole tiles by computing the last one again: nothing is read out of bounds, nothing branches.
    """
    rows, inner = (int(size) for size in x.shape)
    blocks, last = -(-rows // tile.rows), rows - 1

    def row(block: Any, i: Any) -> Any:
        index = block * tile.rows + i
        return index if rows % tile.rows == 0 else te.min(index, last)

    k = te.reduce_axis((0, inner), "k")
    product = te.compute(
        (int(panels.shape[0]), blocks, tile.rows, tile.vectors, tile.lanes),
        lambda panel, block, i, v, lane: te.sum(
            x[row(block, i), k] * panels[panel, k, v * tile.lanes + lane].astype(x.dtype), axis=k
        ),
        name=PRODUCT,
    )
    return te.compute(
        (rows, columns),
        lambda i, j: product[
            j // tile.columns, i // tile.rows, i % tile.rows, j % tile.columns // tile.lanes, j % tile.lanes
        ],
        name=RESULT,
    )


def schedule(sch: Schedule, product: Any, output: Any, dot: str = "") -> None:
    """One panel after the other (in parallel), all rows over it, accumulators in registers, then ``output``.

    ``dot``: the tensor intrinsic for a vector of words, if the product is one of words.
    """
    _, _, rows, vectors, lanes = (int(sch.get(loop).extent) for loop in sch.get_loops(product)[:5])
    *outer, i, j = sch.get_loops(output)
    panel, column = sch.split(j, [None, vectors * lanes])
    block, row = sch.split(i, [None, rows])
    sch.reorder(*outer, panel, block, row, column)
    if not outer:
        sch.parallel(panel)
    sch.compute_at(product, block, preserve_unit_loops=True)
    sch.set_scope(product, 0, "local")
    accumulate(sch, product, dot)
    write_tile(sch, row, column, lanes)


def write_tile(sch: Schedule, row: Any, column: Any, lanes: int) -> None:
    """The two innermost loops, over a tile that is written: unrolled and in vectors."""
    _unrolled(sch, (row, *sch.split(column, [None, lanes])))


def accumulate(sch: Schedule, product: Any, dot: str = "") -> None:
    """Put the innermost loops of a reduction (rows, vectors, lanes, k) in order: k outside a tile of registers.

    With ``dot`` there is one more, over the values of a word, which the intrinsic of that name takes with the lanes.
    """
    loops = sch.get_loops(product)
    word = [loops.pop()] if dot else []
    *_, rows, vectors, lanes, k = loops
    sch.reorder(k, rows, vectors, lanes, *word)
    sch.unroll(rows)
    sch.unroll(vectors)
    if not dot:
        sch.vectorize(lanes)
    _unrolled(sch, sch.get_loops(sch.decompose_reduction(product, k))[-3:])
    if dot:
        sch.tensorize(lanes, dot)


def _unrolled(sch: Schedule, loops: Any) -> None:
    rows, vectors, lanes = loops
    sch.unroll(rows)
    sch.unroll(vectors)
    sch.vectorize(lanes)
