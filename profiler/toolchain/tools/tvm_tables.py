"""Tables that rows are looked up in stay in int8: a row is widened when it was found, not the whole table before."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm_patterns import named, number_of


def narrow(mod: Any) -> Any:
    """``mod`` with every look-up in a constant table of one scale put before its ``relax.dequantize``."""
    tables = _Tables(mod)
    for variable, function in mod.functions_items():
        if isinstance(function, relax.Function):
            tables.builder_.update_func(variable, tables.visit_expr(function))
    return tables.builder_.get()


@mutator
class _Tables(PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: Any) -> Any:
        """One operator."""
        call = self.visit_expr_post_order(call)
        if named(call) != "relax.take" or not isinstance(call.args[0], relax.Var):
            return call
        table = self.lookup_binding(call.args[0])
        if named(table) != "relax.dequantize" or not isinstance(table.args[0], tvm.ir.GenericConst):
            return call
        if any(number_of(expr) is None for expr in table.args[1:]):
            return call
        axis = int(call.attrs.axis) if call.attrs.axis is not None else None
        rows = self.builder_.emit(relax.op.take(table.args[0], call.args[1], axis=axis, mode=call.attrs.mode))
        return relax.op.dequantize(rows, *table.args[1:], axis=0, out_dtype=table.attrs.out_dtype)
