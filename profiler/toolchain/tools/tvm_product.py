"""Products of two activations: the right-hand side is turned into panels on the way, then as with weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tvm_dense
from tvm import te
from tvm.s_tir import Schedule
from tvm_isa import Isa, Tile, tiles

PANELS, PRODUCT, RESULT = "product_panels", "product_tile", "product_result"
Value = Callable[..., Any]


def clamped(index: Any, extent: int, whole: int) -> Any:
    """``index``, and the last one of ``extent`` again beyond it, if ``whole`` of them are asked for."""
    return index if whole == extent else te.min(index, extent - 1)


def tiled(
    left: Value, right: Value, leading: Sequence[int], sizes: tuple[int, int, int], tile: Tile, names: tuple[str, str]
) -> Value:
    """``left(*leading, i, k)`` by ``right(*leading, k, j)``, of ``sizes`` (rows, columns, inner), tile by tile.

    Gives the value at ``(*leading, block, i, j)``: row ``i`` of a block of ``tile.rows``, and column ``j`` of all,
    filled up to whole panels by computing the last one again. ``names``: of the panels, and of the product.
    """
    rows, columns, inner = sizes
    blocks, panels = -(-rows // tile.rows), -(-columns // tile.columns)
    turned = te.compute(
        (*leading, panels, inner, tile.columns),
        lambda *at: right(*at[:-3], at[-2], clamped(at[-3] * tile.columns + at[-1], columns, panels * tile.columns)),
        name=names[0],
    )
    k = te.reduce_axis((0, inner), "k")

    def partial(*at: Any) -> Any:
        *lead, block, panel, i, v, lane = at
        row = clamped(block * tile.rows + i, rows, blocks * tile.rows)
        return te.sum(left(*lead, row, k) * turned(*lead, panel, k, v * tile.lanes + lane), axis=k)

    product = te.compute((*leading, blocks, panels, tile.rows, tile.vectors, tile.lanes), partial, name=names[1])

    def value(*at: Any) -> Any:
        *lead, block, i, j = at
        return product(*lead, block, j // tile.columns, i, j % tile.columns // tile.lanes, j % tile.lanes)

    return value


def product(x: te.Tensor, y: te.Tensor, shape: Sequence[int], isa: Isa) -> te.Tensor:
    """``x`` (..., rows, inner) by ``y`` (..., inner, columns) -> ``shape``, broadcast as numpy does it."""
    *leading, rows, columns = shape
    tile = tiles(rows, columns, isa)[0]

    def reader(tensor: te.Tensor) -> Value:
        axes = len(tensor.shape) - 2
        fixed = [int(size) == 1 for size in tensor.shape[:-2]]
        return lambda *at: tensor(
            *(0 if one else place for one, place in zip(fixed, at[len(at) - 2 - axes : -2], strict=True)), *at[-2:]
        )

    sizes = (rows, columns, int(x.shape[-1]))
    value = tiled(reader(x), reader(y), leading, sizes, tile, (PANELS, PRODUCT))
    return te.compute(
        tuple(shape), lambda *at: value(*at[:-2], at[-2] // tile.rows, at[-2] % tile.rows, at[-1]), name=RESULT
    )


def schedule(sch: Schedule, blocks: dict[str, Any]) -> None:
    """Panel by panel of every product (in parallel), all rows over it."""
    *_, rows, vectors, lanes, _ = (int(sch.get(loop).extent) for loop in sch.get_loops(blocks[PRODUCT]))
    *leading, i, j = sch.get_loops(blocks[RESULT])
    panel, column = sch.split(j, [None, vectors * lanes])
    block, row = sch.split(i, [None, rows])
    sch.reorder(*leading, panel, block, row, column)
    outer = sch.fuse(*leading, panel) if leading else panel
    sch.parallel(outer)
    sch.compute_at(blocks[PRODUCT], block, preserve_unit_loops=True)
    sch.set_scope(blocks[PRODUCT], 0, "local")
    tvm_dense.accumulate(sch, blocks[PRODUCT])
    sch.compute_at(blocks[PANELS], outer, preserve_unit_loops=True)
    tvm_dense.write_tile(sch, row, column, lanes)
