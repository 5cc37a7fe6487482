"""Products with weights in int8: words of four weights in panels, activations in levels, int32 between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm_rows
from tvm import te, tirx
from tvm_dense import PRODUCT, RESULT
from tvm_dot import Dot
from tvm_isa import Isa, Tile, width_of
from tvm_product import clamped

LEVELS = 127
"""Of either sign: weights and rows of activations are symmetric, so that zero is a level."""
_LEAST = 1e-30
"""Stands for the largest value of a row of zeros."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A matrix (inner, columns) in int8, one scale a column.

    ``panels`` (panels, words, tile.columns, group): a word is of as many neighbours along the inner axis as one
    instruction multiplies and sums, filled up with zeros. ``sums`` of the columns, by which a zero point is undone.
    """

    panels: Any
    scales: Any
    sums: Any


def weights_of(weight: Any, tile: Tile, group: int) -> Weights:
    """Quantise float ``weight`` (inner, columns) and pack it."""
    inner, columns = weight.shape
    if inner * 255 * LEVELS >= 2**31:
        raise ValueError(f"sums of {inner} products of bytes do not fit into 32 bits; use fp32")
    scales = np.maximum(np.abs(weight).max(axis=0), _LEAST) / np.float32(LEVELS)
    levels = np.rint(weight / scales).astype(np.int8)
    words, panels = -(-inner // group), -(-columns // tile.columns)
    padded = np.zeros((words * group, panels * tile.columns), np.int8)
    padded[:inner, :columns] = levels
    packed = padded.reshape(words, group, panels, tile.columns).transpose(2, 0, 3, 1)
    return Weights(np.ascontiguousarray(packed), scales.astype(np.float32), levels.sum(axis=0, dtype=np.int32))


def steps(x: te.Tensor, isa: Isa) -> te.Tensor:
    """What a level of each row of ``x`` (rows, inner) stands for, and the levels in one -> (rows, 2)."""
    rows, inner = (int(size) for size in x.shape)
    width = width_of(inner, isa)
    largest = tvm_rows.folded(lambda i, k: te.abs(x(i, k)), [rows], inner, width, "max", f"{tvm_rows.ROW}largest")

    def step(i: Any, which: Any) -> Any:
        found = te.max(largest(i), _real(_LEAST))
        return tirx.Select(which == 0, found * _real(1 / LEVELS), _real(LEVELS) / found)

    return te.compute((rows, 2), step, name=f"{tvm_rows.ROW}steps")


def levels(x: te.Tensor, rate: Callable[[Any], Any], zero: int, dot: Dot) -> te.Tensor:
    """``x`` (rows, inner) in ``rate(row)`` levels for one from ``zero`` on, rounded and clipped as ONNX does it.

    The inner axis is filled up to whole words by its last value, which meets weights of zero. (ONNX, QuantizeLinear.)
    """
    rows, inner = (int(size) for size in x.shape)
    whole = -(-inner // dot.group) * dot.group

    def level(i: Any, k: Any) -> Any:
        value = x(i, k if whole == inner else te.min(k, inner - 1)) * rate(i)
        clipped = te.max(te.min(tirx.round(value) + _real(zero), _real(dot.lowest + 255)), _real(dot.lowest))
        return clipped.astype("int32").astype(dot.level)

    return te.compute((rows, whole), level, name="levels")


def dense(
    x: te.Tensor, panels: te.Tensor, scales: te.Tensor, shift: te.Tensor, *step: te.Tensor, tile: Tile
) -> te.Tensor:
    """Levels ``x`` (rows, inner) by ``panels`` -> (rows, columns) in fp32: (sum - ``shift``) ``scales`` ``step``.

    ``scales`` and ``shift``: of columns; ``step``, of :func:`steps`, if rows have steps of their own. Rows are
    padded to whole tiles by computing the last one again, as in fp32.
    """
    rows, (_, words, _, group) = int(x.shape[0]), (int(size) for size in panels.shape)
    blocks = -(-rows // tile.rows)
    k, word = te.reduce_axis((0, words), "k"), te.reduce_axis((0, group), "word")
    axes, within = ([k, word], word) if group > 1 else ([k], 0)

    def partial(panel: Any, block: Any, i: Any, v: Any, lane: Any) -> Any:
        row = clamped(block * tile.rows + i, rows, blocks * tile.rows)
        left, right = x[row, k * group + within], panels[panel, k, v * tile.lanes + lane, within]
        return te.sum(left.astype("int32") * right.astype("int32"), axis=axes)

    shape = (int(panels.shape[0]), blocks, tile.rows, tile.vectors, tile.lanes)
    product = te.compute(shape, partial, name=PRODUCT)

    def result(i: Any, j: Any) -> Any:
        place = (j // tile.columns, i // tile.rows, i % tile.rows, j % tile.columns // tile.lanes, j % tile.lanes)
        value = (product(*place) - shift[j]).astype("float32") * scales[j]
        return value * step[0][i, 0] if step else value

    return te.compute((rows, int(scales.shape[0])), result, name=RESULT)


def _real(value: float) -> Any:
    return tirx.const(value, "float32")
