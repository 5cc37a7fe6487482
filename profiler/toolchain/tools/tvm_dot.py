"""Instructions that sum products of small integers, as tensor intrinsics: a word of levels by a vector of weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T
from tvm_isa import Isa


@dataclass(frozen=True, slots=True)
class Dot:
    """``group`` products of levels (of type ``level``) and weights in int8 are summed in every lane.

    ``instructions``: LLVM's names, by lanes. Those that take four bytes add to what there is; those that take two
    values of int16 do not.
    """

    group: int
    level: str
    instructions: dict[int, str]

    @property
    def lowest(self) -> int:
        """The lowest of 256 levels."""
        return 0 if self.level == "uint8" else -128

    def added(self, lanes: int, sums: Any, levels: Any, weights: Any) -> Any:
        """``sums`` (``lanes`` of int32) and what is summed of ``levels`` and ``weights`` (int8, a group a lane)."""
        values = f"int{32 // self.group}x{lanes * self.group}"
        sides = tirx.reinterpret(values, levels), weights.astype(values)
        call = partial(tirx.call_llvm_pure_intrin, f"int32x{lanes}", self.instructions[lanes])
        return call(sums, *sides) if self.group == 4 else sums + call(*sides)


DOTS = {
    "": Dot(1, "int16", {}),
    "vpdpbusd": Dot(4, "uint8", {8: "llvm.x86.avx512.vpdpbusd.256", 16: "llvm.x86.avx512.vpdpbusd.512"}),
    "pmaddwd": Dot(
        2, "int16", {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}
    ),
    "sdot": Dot(4, "int8", {4: "llvm.aarch64.neon.sdot.v4i32.v16i8"}),
}
"""By the instruction of an :class:`Isa`. Without one a plain product is left to the compiler; of int16, from which
vectors widen as they multiply. (Intel, Software Developer's Manual 2, VPDPBUSD and PMADDWD; Arm, Architecture
Reference Manual, SDOT.)"""


def dot_of(isa: Isa) -> Dot:
    """What a processor multiplies by."""
    return DOTS[isa.dot]


def intrinsic_of(isa: Isa) -> str:
    """The name of the tensor intrinsic that adds a word of levels times each of a vector of words of weights."""
    name = f"hwnas_{isa.dot}_{isa.lanes}"
    if TensorIntrin.get(name, allow_missing=True) is None:
        TensorIntrin.register(name, *_intrinsic(dot_of(isa), isa.lanes))
    return name


def _intrinsic(dot: Dot, lanes: int) -> tuple[Any, Any]:
    """What is computed, in TVM's words, and by the instruction."""
    group, level = dot.group, dot.level
    word, vector, words = f"{level}x{group}", f"int32x{lanes}", f"int8x{group * lanes}"

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        levels = T.match_buffer(a, (group,), level, offset_factor=1)
        weights = T.match_buffer(b, (lanes, group), "int8", offset_factor=1)
        sums = T.match_buffer(c, (lanes,), "int32", scope="local", offset_factor=1)
        with T.sblock("root"):
            T.reads(sums[0:lanes], levels[0:group], weights[0:lanes, 0:group])
            T.writes(sums[0:lanes])
            for i in T.serial(0, lanes):
                for k in T.serial(0, group):
                    with T.sblock("update"):
                        vi, vk = T.axis.remap("SR", [i, k])
                        sums[vi] = sums[vi] + T.cast(levels[vk], "int32") * T.cast(weights[vi, vk], "int32")

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        levels = T.match_buffer(a, (group,), level, offset_factor=1)
        weights = T.match_buffer(b, (lanes, group), "int8", offset_factor=1)
        sums = T.match_buffer(c, (lanes,), "int32", scope="local", offset_factor=1)
        with T.sblock("root"):
            T.reads(sums[0:lanes], levels[0:group], weights[0:lanes, 0:group])
            T.writes(sums[0:lanes])
            sums[T.ramp(T.int32(0), 1, lanes)] = dot.added(
                lanes,
                sums.vload([0], dtype=vector),
                T.broadcast(T.reinterpret(levels.vload([0], word), dtype="int32"), lanes),
                weights.vload([0, 0], dtype=words),
            )

    return description, implementation
