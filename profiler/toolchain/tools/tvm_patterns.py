"""What a Relax graph is made of where it can be computed better as a whole: attention, and views of its operands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax, topi

Source = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Attention:
    """softmax(query key^T scale + mask) value; all but ``scale`` are expressions of the graph."""

    query: Any
    key: Any
    value: Any
    mask: Any
    scale: float


def shape_of(expr: Any) -> tuple[int, ...]:
    """The fixed shape of an expression."""
    return tuple(int(size) for size in expr.ty.shape)


def named(expr: Any) -> str:
    """The name of the operator that an expression calls, if it calls one."""
    return getattr(expr.op, "name", "") if isinstance(expr, relax.Call) else ""


def attention_of(expr: Any, source: Source) -> Attention | None:
    """The attention whose last product ``expr`` is; ``source`` gives what a variable is bound to."""
    softmax: Any = source(expr.args[0]) if named(expr) == "relax.matmul" else None
    if named(softmax) != "relax.nn.softmax" or len(shape_of(softmax)) != 4 or int(softmax.attrs.axis) not in (-1, 3):
        return None
    found = _scores(source(softmax.args[0]), source)
    turned: Any = source(found[0].args[1]) if found is not None else None
    if found is None or named(turned) != "relax.permute_dims" or axes_of(turned) != [0, 1, 3, 2]:
        return None
    product, scale, mask = found
    query, key, value = product.args[0], turned.args[0], expr.args[1]
    heads = {shape_of(side)[:2] for side in (query, key, value)}
    return Attention(query, key, value, mask, scale) if len(heads) == 1 else None


def _scores(expr: Any, source: Source) -> tuple[Any, float, Any] | None:
    """The product of queries and keys within ``expr``, what it is multiplied by, and what is then added."""
    name = named(expr)
    if name == "relax.matmul":
        return expr, 1.0, None
    if name in ("relax.multiply", "relax.divide"):
        factor, found = number_of(expr.args[1]), _scores(source(expr.args[0]), source)
        if factor is None or found is None or found[2] is not None:
            return None
        return found[0], found[1] * factor if name == "relax.multiply" else found[1] / factor, None
    if name == "relax.add":
        for inner, mask in (expr.args, reversed(expr.args)):
            found = _scores(source(inner), source)
            if found is not None and found[2] is None and shape_of(inner) == shape_of(expr):
                return found[0], found[1], mask
    return None


def axes_of(permutation: Any) -> list[int]:
    """The axes of a ``relax.permute_dims``; all of them turned round where it names none."""
    return [int(axis) for axis in permutation.attrs.axes or reversed(range(len(shape_of(permutation))))]


def number_of(expr: Any) -> float | None:
    """The value of a constant scalar."""
    if not isinstance(expr, tvm.ir.GenericConst) or expr.value.numpy().size != 1:
        return None
    return float(expr.value.numpy().reshape(()))


def part(split: Any, index: int) -> tuple[int, int, int]:
    """Where a part of a ``relax.split`` begins and ends, and along which axis."""
    axis, size = int(split.attrs.axis), shape_of(split.args[0])[int(split.attrs.axis)]
    given = split.attrs.indices_or_sections
    if hasattr(given, "__len__"):
        cuts = [0, *(int(cut) for cut in given), size]
    else:
        each = size // int(given)
        cuts = list(range(0, size + 1, each))
    return cuts[index], cuts[index + 1], axis


def view_of(expr: Any, source: Source) -> tuple[Any, Callable[[Any], Any]]:
    """What an expression rearranges, and how: everything between the two need not be computed."""
    value = source(expr)
    name = named(value)
    if name == "relax.permute_dims":
        axes = axes_of(value)
        return _behind(value.args[0], source, lambda x: topi.transpose(x, axes))
    if name == "relax.reshape":
        shape = shape_of(value)
        return _behind(value.args[0], source, lambda x: topi.reshape(x, shape))
    if isinstance(value, relax.TupleGetItem) and named(source(value.tuple_value)) == "relax.split":
        split = source(value.tuple_value)
        begin, end, axis = part(split, value.index)
        return _behind(split.args[0], source, lambda x: topi.strided_slice(x, [begin], [end], [1], axes=[axis]))
    return expr, lambda x: x


def _behind(expr: Any, source: Source, last: Callable[[Any], Any]) -> tuple[Any, Callable[[Any], Any]]:
    root, first = view_of(expr, source)
    return root, lambda x: last(first(x))
