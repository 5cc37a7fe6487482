"""A Relax graph rewritten to the operators that have schedules here: packed products, attention, rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
import tvm_attention
import tvm_dense
import tvm_product
import tvm_rows
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm_isa import Isa, Tile
from tvm_patterns import Attention, attention_of, axes_of, named, part, shape_of, view_of

OUT_ELEMENTWISE_FUSIBLE, OPAQUE = 4, 8
"""Values of TVM's ``OpPatternKind``: what FuseOps may fuse with what follows, and what it leaves alone."""


@mutator
class Lowering(PyExprMutator):  # type: ignore[misc]
    """Replaces what it knows; the rest is left to TVM's own operators."""

    def __init__(self, mod: Any, isa: Isa, choose: Callable[[int, int, int], Tile]) -> None:
        super().__init__(mod)
        self.mod, self.isa, self.choose = mod, isa, choose
        self.bound: dict[Any, Any] = {}

    def run(self) -> Any:
        """The module with ``main`` rewritten."""
        for variable, function in self.mod.functions_items():
            if isinstance(function, relax.Function):
                relax.analysis.post_order_visit(function, self._remember)
                self.builder_.update_func(variable, self.visit_expr(function))
        return relax.transform.DeadCodeElimination()(self.builder_.get())

    def _remember(self, expr: Any) -> None:
        if isinstance(expr, relax.SeqExpr):
            for block in expr.blocks:
                self.bound.update({binding.var: binding.value for binding in block.bindings})

    def _source(self, expr: Any) -> Any:
        """What an expression of the original graph is, behind its name."""
        return self.bound.get(expr, expr)

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
        call = self.visit_expr_post_order(call)
        if name == "relax.matmul":
            return self._matmul(call)
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

    def _matmul(self, call: Any) -> Any:
        x, weight = call.args
        if not isinstance(weight, tvm.ir.GenericConst) or len(shape_of(weight)) != 2:
            if min(len(shape_of(x)), len(shape_of(weight))) < 2:
                return call
            shape = shape_of(call)
            return self._te(
                lambda x, y: tvm_product.product(x, y, shape, self.isa), x, weight, name="product", pattern=OPAQUE
            )
        *leading, inner = shape_of(x)
        rows, columns = int(np.prod(leading)), shape_of(weight)[1]
        tile = self.choose(rows, columns, inner)
        panels = relax.const(tvm_dense.pack(weight.value.numpy(), tile))
        flat = x if len(leading) == 1 else self.builder_.emit(relax.op.reshape(x, (rows, inner)))
        product = self._te(
            lambda x, panels: tvm_dense.dense(x, panels, columns, tile),
            flat,
            panels,
            name="dense",
            pattern=OUT_ELEMENTWISE_FUSIBLE,
        )
        if len(leading) == 1:
            return product
        return relax.op.reshape(self.builder_.emit(product), (*leading, columns))

    def _te(self, compute: Any, *tensors: Any, name: str, pattern: int) -> Any:
        return self.builder_.call_te(compute, *tensors, primfunc_name_hint=name, primfunc_attrs={"op_pattern": pattern})


def lowered(mod: Any, isa: Isa, choose: Callable[[int, int, int], Tile]) -> Any:
    """``mod`` (of ONNX) as fused functions that have no schedule yet; ``choose(rows, columns, inner)`` gives tiles."""
    mod = relax.transform.FoldConstant()(mod)
    mod = Lowering(mod, isa, choose).run()
    return relax.get_pipeline("zero")(mod)
