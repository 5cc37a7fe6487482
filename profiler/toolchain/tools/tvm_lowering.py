"""A Relax graph rewritten to the operators that have schedules here: packed products, attention, rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
import tvm_attention
import tvm_dense
import tvm_int8
import tvm_product
import tvm_rows
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm_dot import dot_of
from tvm_isa import Isa, Tile, tiles
from tvm_patterns import Attention, attention_of, axes_of, named, number_of, part, shape_of, view_of
from tvm_tables import narrow

OUT_ELEMENTWISE_FUSIBLE, OPAQUE = 4, 8
"""Values of TVM's ``OpPatternKind``: what FuseOps may fuse with what follows, and what it leaves alone."""


@mutator
class Lowering(PyExprMutator):  # type: ignore[misc]
    """Replaces what it knows; the rest is left to TVM's own operators."""

    def __init__(self, mod: Any, isa: Isa, choose: Callable[[int, int, int], Tile], precision: str) -> None:
        super().__init__(mod)
        self.mod, self.isa, self.choose, self.precision = mod, isa, choose, precision
        self.bound: dict[Any, Any] = {}
        self.levels: dict[Any, tuple[Any, ...]] = {}
        self.narrowed_bytes = 0

    def run(self) -> Any:
        """The module with ``main`` rewritten."""
        for variable, function in self.mod.functions_items():
            if isinstance(function, relax.Function):
                relax.analysis.post_order_visit(function, self._remember)
                self.builder_.update_func(variable, self.visit_expr(function))
        return relax.transform.DeadCodeElimination()(relax.transform.CanonicalizeBindings()(self.builder_.get()))

    def _remember(self, expr: Any) -> None:
        if isinstance(expr, relax.SeqExpr):
            for block in expr.blocks:
                self.bound.update({binding.var: binding.value for binding in block.bindings})

    def _source(self, expr: Any) -> Any:
        """What an expression of the original graph is, behind its name; rounding to levels is none of its own."""
        value = self.bound.get(expr, expr)
        rounding = self._rounding(value)
        return value if rounding is None else self._source(rounding.args[0])

    def _rounding(self, expr: Any) -> Any:
        """The ``relax.quantize`` that an expression undoes at once, if it does."""
        value = self.bound.get(expr, expr)
        inner = self.bound.get(value.args[0], value.args[0]) if named(value) == "relax.dequantize" else None
        return inner if named(inner) == "relax.quantize" else None

    def visit_tuple_getitem_(self, item: Any) -> Any:
        """A part of a split is a slice, which fuses with what uses it."""
        split = self._source(item.tuple_value)
        if named(split) != "relax.split":
            return self.visit_expr_post_order(item)
        begin, end, axis = part(split, item.index)
        return relax.op.strided_slice(self.visit_expr(split.args[0]), [axis], [begin], [end])

    def visit_call_(self, call: Any) -> Any:
        """One operator."""
        name = named(call)
        turned = name == "relax.permute_dims" and axes_of(call) == [0, 2, 1, 3]
        attention = attention_of(self._source(call.args[0]) if turned else call, self._source)
        if attention is not None:
            return self._attention(attention, turned)
        rounding = self._rounding(call)
        if rounding is not None:
            return self.visit_expr(rounding.args[0])
        rounding = self._rounding(call.args[0]) if name == "relax.matmul" else None
        call = self.visit_expr_post_order(call)
        if name == "relax.matmul":
            return self._matmul(call, rounding)
        if name == "relax.nn.softmax" and int(call.attrs.axis) in (-1, len(shape_of(call)) - 1):
            return self._te(lambda x: tvm_rows.softmax(x, self.isa), call.args[0], name="softmax", pattern=OPAQUE)
        if name == "relax.nn.layer_norm" and [int(a) for a in call.attrs.axes] in ([-1], [len(shape_of(call)) - 1]):
            epsilon = float(call.attrs.epsilon)
            return self._te(
                lambda *tensors: tvm_rows.layer_norm(*tensors, epsilon, self.isa),
                *call.args,
                name="layer_norm",
                pattern=OPAQUE,
            )
        return call

    def _attention(self, found: Attention, heads_last: bool) -> Any:
        sides = [view_of(side, self._source) for side in (found.query, found.key, found.value)]
        roots = [self.visit_expr(root) for root, _ in sides]

        def compute(*tensors: Any) -> Any:
            views = [view(tensor) for (_, view), tensor in zip(sides, tensors, strict=False)]
            mask = tensors[3] if found.mask is not None else None
            return tvm_attention.attention(*views, mask, found.scale, self.isa, heads_last)

        masks = [] if found.mask is None else [self.visit_expr(found.mask)]
        return self._te(compute, *roots, *masks, name="attention", pattern=OPAQUE)

    def _matmul(self, call: Any, rounding: Any) -> Any:
        x, weight = call.args
        if not isinstance(weight, tvm.ir.GenericConst) or len(shape_of(weight)) != 2:
            if min(len(shape_of(x)), len(shape_of(weight))) < 2:
                return call
            shape = shape_of(call)
            return self._te(
                lambda x, y: tvm_product.product(x, y, shape, self.isa), x, weight, name="product", pattern=OPAQUE
            )
        *leading, _ = shape_of(x)
        if self.precision == "int8-dynamic" or rounding is not None:
            product = self._in_levels(x, weight.value.numpy(), rounding)
        else:
            product = self._in_floats(x, weight.value.numpy())
        if len(leading) == 1:
            return product
        return relax.op.reshape(self.builder_.emit(product), (*leading, shape_of(weight)[1]))

    def _in_floats(self, x: Any, weight: Any) -> Any:
        flat = self._flat(x)
        (rows, inner), columns = shape_of(flat), weight.shape[1]
        tuned = self.precision == "fp32"  # what tiles were measured in
        tile = self.choose(rows, columns, inner) if tuned else tiles(rows, columns, self.isa)[0]
        narrow = weight.astype("float16") if self.precision == "fp16" else weight
        self.narrowed_bytes += weight.nbytes - narrow.nbytes
        return self._te(
            lambda x, panels: tvm_dense.dense(x, panels, columns, tile),
            flat,
            relax.const(tvm_dense.pack(narrow, tile)),
            name="dense",
            pattern=OUT_ELEMENTWISE_FUSIBLE,
        )

    def _in_levels(self, x: Any, weight: Any, rounding: Any) -> Any:
        """By levels that ``rounding`` fixes, or that are found row by row."""
        levels, zero, step, *steps = self._levels_of(x, rounding)
        tile = tiles(shape_of(levels)[0], weight.shape[1], self.isa)[0]
        packed = tvm_int8.weights_of(weight, tile, dot_of(self.isa).group)
        if rounding is None:  # or the graph's are narrow already
            self.narrowed_bytes += weight.nbytes - weight.size
        return self._te(
            lambda *tensors: tvm_int8.dense(*tensors, tile=tile),
            levels,
            *(relax.const(values) for values in (packed.panels, packed.scales * step, packed.sums * zero)),
            *steps,
            name="dense_int8",
            pattern=OUT_ELEMENTWISE_FUSIBLE,
        )

    def _levels_of(self, x: Any, rounding: Any) -> tuple[Any, ...]:
        """Levels of ``x``, computed once for all readers; which of them is zero; a step of all, and one of each row."""
        key = x if rounding is None else rounding
        if key in self.levels:
            return self.levels[key]
        flat, isa, dot = self._flat(x), self.isa, dot_of(self.isa)
        found: tuple[Any, ...]
        if rounding is None:
            zero = dot.lowest + 128
            steps = self.builder_.emit(self._te(lambda x: tvm_int8.steps(x, isa), flat, name="steps", pattern=OPAQUE))
            levels = self._te(lambda x, s: tvm_int8.levels(x, lambda i: s[i, 1], zero, dot), flat, steps, name="levels")
            found = self.builder_.emit(levels), zero, np.float32(1), steps
        else:
            step, first = (number_of(expr) for expr in rounding.args[1:])
            zero, rate = int(first) + dot.lowest, tirx.const(1 / step, "float32")
            levels = self._te(lambda x: tvm_int8.levels(x, lambda _: rate, zero, dot), flat, name="levels")
            found = self.builder_.emit(levels), zero, np.float32(step)
        self.levels[key] = found
        return found

    def _flat(self, x: Any) -> Any:
        """``x`` as a matrix of rows."""
        *leading, inner = shape_of(x)
        return x if len(leading) == 1 else self.builder_.emit(relax.op.reshape(x, (int(np.prod(leading)), inner)))

    def _te(self, compute: Any, *tensors: Any, name: str, pattern: int | None = None) -> Any:
        attrs = {} if pattern is None else {"op_pattern": pattern}
        return self.builder_.call_te(compute, *tensors, primfunc_name_hint=name, primfunc_attrs=attrs)


def lowered(mod: Any, isa: Isa, choose: Callable[[int, int, int], Tile], precision: str = "fp32") -> tuple[Any, int]:
    """``mod`` (of ONNX) as fused functions that have no schedule yet; ``choose(rows, columns, inner)`` gives tiles.

    ``precision``: of products with weights. ``int8`` is that of a graph which says where it rounds
    (``relax.quantize`` and back), and to which levels. Also gives by how many bytes weights became narrower.
    """
    lowering = Lowering(relax.transform.FoldConstant()(narrow(mod)), isa, choose, precision)
    return relax.get_pipeline("zero")(lowering.run()), lowering.narrowed_bytes
