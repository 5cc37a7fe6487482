"""Gives every function of a module its schedule; a reduction that no rule covers is refused."""

from __future__ import annotations

from typing import Any

import tvm
import tvm_attention
import tvm_dense
import tvm_product
import tvm_rows
from tvm import relax, tirx
from tvm.s_tir import Schedule
from tvm_dot import intrinsic_of
from tvm_isa import Isa, width_of
from tvm_patterns import named


def scheduled(mod: Any, isa: Isa) -> Any:
    """The module with all its functions scheduled; raises ``ValueError`` naming one that no rule covers."""
    functions = {}
    for variable, function in mod.functions_items():
        if isinstance(function, tirx.PrimFunc):
            functions[variable] = _scheduled(variable.name_hint, function, isa)
        else:
            relax.analysis.post_order_visit(function, _require_own)
    for variable, function in functions.items():
        mod.update_func(variable, function.with_attr("tirx.is_scheduled", True))
    return mod


def _require_own(expr: Any) -> None:
    """Refuse an operator that is left to TVM's own back ends (sorting, sampling, external libraries)."""
    name = named(expr)
    if name and name != "relax.call_tir":
        raise ValueError(f"there is no schedule for {name}; its latency would say nothing")


def _scheduled(name: str, function: Any, isa: Isa) -> Any:
    sch = Schedule(tvm.IRModule({"main": function}))
    root = sch.get_sblock("root", func_name="main")
    blocks = sch.get_child_blocks(root)
    names = [sch.get(block).name_hint for block in blocks]
    if tvm_dense.PRODUCT in names:
        product = blocks[names.index(tvm_dense.PRODUCT)]
        after = [block for block, own in zip(blocks, names, strict=True) if own != tvm_dense.PRODUCT]
        for block in after[:-1]:
            sch.compute_inline(block)
        in_words = len(sch.get_loops(product)) > _LOOPS_OF_A_PRODUCT
        tvm_dense.schedule(sch, product, after[-1], intrinsic_of(isa) if in_words else "")
    elif tvm_attention.CONTEXT in names:
        tvm_attention.schedule(sch, dict(zip(names, blocks, strict=True)), isa)
    elif tvm_product.PRODUCT in names:
        tvm_product.schedule(sch, dict(zip(names, blocks, strict=True)))
    elif any(own.startswith(tvm_rows.ROW) for own in names):
        tvm_rows.schedule(sch, blocks[:-1], blocks[-1], isa)
    else:
        if any(_reduces(sch, block) for block in blocks):
            raise ValueError(f"there is no schedule for {name} ({', '.join(names)}); its latency would say nothing")
        _elementwise(sch, blocks, isa)
    return sch.mod["main"]


def _reduces(sch: Schedule, block: Any) -> bool:
    return any(int(axis.iter_type) == 2 for axis in sch.get(block).iter_vars)


_LOOPS_OF_A_PRODUCT = 6
"""Panel, block, row, vector, lane and what is summed; one of words has another."""

PARALLEL_FROM = 1 << 14
"""Values from which more than one thread gains more than it costs to start."""


def _elementwise(sch: Schedule, blocks: Any, isa: Isa) -> None:
    """Walks over values: all but the last inlined, the innermost axis in vectors."""
    for block in blocks[:-1]:
        sch.compute_inline(block)
    loops = sch.get_loops(blocks[-1])
    if not loops:
        return
    size = 1
    for loop in loops:
        size *= int(sch.get(loop).extent)
    *outer, last = loops
    width = width_of(int(sch.get(last).extent), isa)
    if width > 1:
        step, lane = sch.split(last, [None, width])
        sch.vectorize(lane)
        outer.append(step)
    if outer and size >= PARALLEL_FROM:
        sch.parallel(sch.fuse(*outer) if len(outer) > 1 else outer[0])
