"""Reductions along rows (softmax, layer normalisation): vectors of partial results, folded by halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm_isa import Isa, width_of

_REDUCE: dict[str, Any] = {"sum": te.sum, "max": te.max}
_BOTH: dict[str, Callable[[Any, Any], Any]] = {"sum": lambda a, b: a + b, "max": te.max}
INLINED = ("_folded", "_centred", "_inverse", "_shifted")
"""Ends the names of blocks that are cheaper computed again than kept."""

ROW = "row_"
"""Begins the names of what :func:`schedule` lays out."""


def folded(
    value: Callable[..., Any], leading: Sequence[int], length: int, width: int, combine: str, name: str
) -> te.Tensor:
    """Reduce ``value(*indices, j)`` over j < length to shape ``leading``, ``width`` partial results side by side."""
    step = te.reduce_axis((0, length // width), f"{name}_k")
    partial = te.compute(
        (*leading, width),
        lambda *index: _REDUCE[combine](value(*index[:-1], step * width + index[-1]), axis=step),
        name=f"{name}_partial",
    )
    while width > 1:
        width //= 2
        partial = _halved(partial, width, combine, f"{name}_halved_{width}")
    return te.compute(tuple(leading), lambda *index: partial(*index, 0), name=f"{name}_folded")


def _halved(partial: te.Tensor, width: int, combine: str, name: str) -> te.Tensor:
    both = _BOTH[combine]
    return te.compute(
        (*partial.shape[:-1], width),
        lambda *index: both(partial(*index), partial(*index[:-1], index[-1] + width)),
        name=name,
    )


def layer_norm(x: te.Tensor, scale: te.Tensor, shift: te.Tensor, epsilon: float, isa: Isa) -> te.Tensor:
    """Over the last axis: the mean first and then the variance around it, as torch computes it."""
    *leading, length = (int(size) for size in x.shape)
    width, share = width_of(length, isa), tirx.const(1 / length, "float32")
    total = folded(x, leading, length, width, "sum", f"{ROW}total")

    def centred(*index: Any) -> Any:
        return x(*index) - total(*index[:-1]) * share

    squares = folded(lambda *index: centred(*index) * centred(*index), leading, length, width, "sum", f"{ROW}squares")
    inverse = te.compute(
        tuple(leading),
        lambda *index: tirx.const(1.0, "float32") / tirx.sqrt(squares(*index) * share + tirx.const(epsilon, "float32")),
        name=f"{ROW}deviation",
    )
    return te.compute(
        x.shape,
        lambda *index: centred(*index) * inverse(*index[:-1]) * scale(index[-1]) + shift(index[-1]),
        name=f"{ROW}normed",
    )


def softmax(x: te.Tensor, isa: Isa) -> te.Tensor:
    """Over the last axis."""
    power, share = softmax_parts(x, width_of(int(x.shape[-1]), isa))
    return te.compute(x.shape, lambda *index: power(*index) * share(*index[:-1]), name=f"{ROW}softmax")


def softmax_parts(x: te.Tensor, width: int) -> tuple[te.Tensor, te.Tensor]:
    """e^(x - largest), and one over its sum, along the last axis, whose length ``width`` divides."""
    *leading, length = (int(size) for size in x.shape)
    largest = folded(x, leading, length, width, "max", f"{ROW}largest")
    power = te.compute(x.shape, lambda *index: exp(x(*index) - largest(*index[:-1])), name=f"{ROW}power")
    total = folded(power, leading, length, width, "sum", f"{ROW}total")
    share = te.compute(tuple(leading), lambda *index: tirx.const(1.0, "float32") / total(*index), name=f"{ROW}share")
    return power, share


def exp(x: Any) -> Any:
    """e^x for x <= 0, in arithmetic that vectorises: reduced to |r| <= ln(2) / 2, then a polynomial of degree 7.

    Coefficients: S. L. Moshier, Cephes Mathematical Library, expf.c; relative error below 2e-7.
    """

    def real(value: float) -> Any:
        return tirx.const(value, "float32")

    x = te.max(x, real(-87.0))
    power = tirx.floor(x * real(1.44269504088896341) + real(0.5))
    r = x - power * real(0.693359375) - power * real(-2.12194440e-4)
    series = real(1.9875691500e-4)
    for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        series = series * r + real(coefficient)
    series = series * r * r + r + real(1.0)
    bits = (power.astype("int32") + tirx.const(127, "int32")) << tirx.const(23, "int32")
    return series * tirx.reinterpret("float32", bits)


def schedule(sch: Schedule, blocks: Sequence[Any], output: Any, isa: Isa) -> None:
    """Row by row (in parallel): every intermediate result of a row stays in the first cache or in registers."""
    *rows, column = sch.get_loops(output)
    row = sch.fuse(*rows) if len(rows) > 1 else rows[0]
    sch.parallel(row)
    width = width_of(int(sch.get(column).extent), isa)
    sch.vectorize(sch.split(column, [None, width])[1])
    place(sch, blocks, row, isa)


def place(sch: Schedule, blocks: Sequence[Any], loop: Any, isa: Isa) -> None:
    """Compute ``blocks`` (in the order of their use) within ``loop``, in vectors, or in the blocks that use them."""
    for block in reversed(blocks):
        if sch.get(block).name_hint.removesuffix("_1").endswith(INLINED):
            sch.compute_inline(block)
            continue
        sch.compute_at(block, loop, preserve_unit_loops=True)
        sch.set_scope(block, 0, "local")
        reduces = any(int(axis.iter_type) == _REDUCTION for axis in sch.get(block).iter_vars)
        if reduces:
            *_, lane, step = sch.get_loops(block)
            sch.reorder(step, lane)
            sch.vectorize(lane)
            sch.vectorize(sch.get_loops(sch.decompose_reduction(block, step))[-1])
            continue
        last = sch.get_loops(block)[-1]
        width = width_of(int(sch.get(last).extent), isa)
        if width > 1:
            sch.vectorize(sch.split(last, [None, width])[1])


_REDUCTION = 2
"""``tvm.tirx.IterVar.CommReduce``."""
