"""Softmax attention as one function: a head at a time, some queries at a time, scores never leave the caches."""

from __future__ import annotations

from typing import Any

import tvm_dense
import tvm_rows
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm_isa import Isa, Tile, tiles, width_of
from tvm_product import clamped, tiled

KEYS, MASK = "attention_keys", "attention_mask"
SCORES, CONTEXT = "attention_scores", "attention_context"
_DOT_OPERATIONS = 8
"""What folding the lanes of a dot product takes, in moves of a single value of a key that is turned instead."""
MASKED = -1e30
"""The logit of keys that only fill the last vector; its exponential is 0."""


def attention(
    query: te.Tensor, key: te.Tensor, value: te.Tensor, mask: te.Tensor | None, scale: float, isa: Isa, heads_last: bool
) -> te.Tensor:
    """(batch, heads, queries, dim), (batch, heads, keys, dim) twice -> (batch, heads, queries, dim).

    ``mask`` is added to the scaled scores and may be of any shape that broadcasts to (batch, heads, queries,
    keys). ``heads_last`` gives (batch, queries, heads, dim). Nothing has to divide a tile: queries are computed
    again, and keys that there are not get no weight.
    """
    batch, heads, queries, depth = (int(size) for size in query.shape)
    length, wide = int(key.shape[2]), int(value.shape[3])
    dotted = queries * _DOT_OPERATIONS <= depth
    tile = Tile(queries, 1, isa.lanes) if dotted else tiles(queries, length, isa)[0]
    blocks, padded = -(-queries // tile.rows), -(-length // tile.columns) * tile.columns
    if dotted:
        score = _dotted(query, key, padded, isa)
    else:
        score = tiled(
            query,
            lambda b, h, d, j: key(b, h, j, d),
            (batch, heads),
            (queries, length, depth),
            tile,
            (KEYS, SCORES),
        )

    def row(block: Any, i: Any) -> Any:
        return clamped(block * tile.rows + i, queries, blocks * tile.rows)

    bias = None if mask is None else _padded(mask, length, padded)

    def logit(b: Any, h: Any, block: Any, i: Any, j: Any) -> Any:
        scaled = score(b, h, block, i, j) * tirx.const(scale, "float32")
        if bias is not None:
            index = zip((b, h, row(block, i), j), bias.shape, strict=True)
            return scaled + bias(*(0 if int(size) == 1 else place for place, size in index))
        return scaled if padded == length else tirx.Select(j < length, scaled, tirx.const(MASKED, "float32"))

    leading = (batch, heads, blocks, tile.rows)
    logits = te.compute((*leading, padded), logit, name=f"{tvm_rows.ROW}logits")
    power, share = tvm_rows.softmax_parts(logits, isa.lanes)
    inner = _context_tile(wide, tile.rows, isa)
    j = te.reduce_axis((0, length), "j")
    context = te.compute(
        (batch, heads, blocks, wide // inner.columns, tile.rows, inner.vectors, inner.lanes),
        lambda b, h, block, panel, i, v, lane: te.sum(
            power(b, h, block, i, j) * value(b, h, j, panel * inner.columns + v * inner.lanes + lane), axis=j
        ),
        name=CONTEXT,
    )

    def result(b: Any, h: Any, i: Any, e: Any) -> Any:
        block, r = i // tile.rows, i % tile.rows
        part = (e // inner.columns, r, e % inner.columns // inner.lanes, e % inner.lanes)
        return context(b, h, block, *part) * share(b, h, block, r)

    name = f"{tvm_rows.ROW}attention"
    if heads_last:
        return te.compute(
            (batch, queries, heads, wide), lambda b, i, h, e: result(b, h, i, e), name=name + "_heads_last"
        )
    return te.compute((batch, heads, queries, wide), result, name=name)


def _dotted(query: te.Tensor, key: te.Tensor, padded: int, isa: Isa) -> Any:
    """Scores of few queries key by key, in vectors along the depth: turning the keys would take longer."""
    batch, heads, length, depth = (int(size) for size in key.shape)
    score = tvm_rows.folded(
        lambda b, h, i, j, d: query(b, h, i, d) * key(b, h, clamped(j, length, padded), d),
        (batch, heads, int(query.shape[2]), padded),
        depth,
        width_of(depth, isa),
        "sum",
        f"{tvm_rows.ROW}score",
    )
    return lambda b, h, block, i, j: score(b, h, i, j)


def _padded(mask: te.Tensor, length: int, padded: int) -> te.Tensor:
    """``mask`` with four axes, the last one filled up."""
    shape = [1] * (4 - len(mask.shape)) + [int(size) for size in mask.shape]

    def at(*index: Any) -> Any:
        own = index[4 - len(mask.shape) :]
        if shape[3] == 1:
            own = (*own[:-1], 0)
        real = mask(*own)
        return real if padded == length else tirx.if_then_else(index[3] < length, real, tirx.const(MASKED, "float32"))

    return te.compute((*shape[:3], padded), at, name=MASK)


def _context_tile(wide: int, rows: int, isa: Isa) -> Tile:
    lanes = width_of(wide, isa)
    most = max(1, isa.registers * 4 // 5 // rows)
    return Tile(rows, max(n for n in range(1, most + 1) if wide // lanes % n == 0), lanes)


def schedule(sch: Schedule, blocks: dict[str, Any], isa: Isa) -> None:
    """Heads in parallel; keys are turned once a head, everything else is done for a tile of queries."""
    *others, (last, output) = blocks.items()
    rows = int(sch.get(sch.get_loops(blocks[CONTEXT])[4]).extent)
    if last.endswith("heads_last"):
        b, i, h, e = sch.get_loops(output)
    else:
        b, h, i, e = sch.get_loops(output)
    block, row = sch.split(i, [None, rows])
    sch.reorder(b, h, block, row, e)
    head = sch.fuse(b, h)
    sch.parallel(head)
    sch.vectorize(sch.split(e, [None, width_of(int(sch.get(e).extent), isa)])[1])
    for name, own in reversed(others):
        if name == KEYS:
            sch.compute_at(own, head, preserve_unit_loops=True)
        elif name == MASK:
            by_row = int(sch.get(sch.get_loops(own)[2]).extent) > 1
            sch.compute_at(own, block if by_row else head, preserve_unit_loops=True)
        elif name in (SCORES, CONTEXT):
            sch.compute_at(own, block, preserve_unit_loops=True)
            sch.set_scope(own, 0, "local")
            tvm_dense.accumulate(sch, own)
        elif name.startswith(tvm_rows.ROW):
            tvm_rows.place(sch, [own], block, isa)
        else:
            sch.compute_inline(own)
