"""Instructions that sum products of bytes, as tensor intrinsics: a word of levels by a vector of words of weights."""

from __future__ import annotations

from typing import Any

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T
from tvm_isa import Isa


def group_of(isa: Isa) -> int:
    """How many products an instruction sums."""
    return 4 if isa.dot else 1


def signed(isa: Isa) -> bool:
    """Whether levels of activations have a sign: ``vpdpbusd`` alone multiplies unsigned by signed ones."""
    return isa.dot != "vpdpbusd"


def dot_of(isa: Isa) -> str:
    """The name of the tensor intrinsic that multiplies a word of activations with a vector of words of weights."""
    name = f"hwnas_{isa.dot}_{isa.lanes}"
    if TensorIntrin.get(name, allow_missing=True) is None:
        TensorIntrin.register(name, *_intrinsic(isa.lanes, _INSTRUCTIONS[isa.dot].format(bits=32 * isa.lanes), isa))
    return name


_INSTRUCTIONS = {
    "vpdpbusd": "llvm.x86.avx512.vpdpbusd.{bits}",
    "sdot": "llvm.aarch64.neon.sdot.v4i32.v16i8",
}
"""LLVM's names. Intel, Software Developer's Manual 2, VPDPBUSD; Arm, Architecture Reference Manual, SDOT (vector)."""


def _intrinsic(lanes: int, instruction: str, isa: Isa) -> tuple[Any, Any]:
    """What is computed, in TVM's words, and by the instruction."""
    level, wide, narrow = "int8" if signed(isa) else "uint8", f"int32x{lanes}", f"int8x{4 * lanes}"
    word = f"{level}x4"

    @T.prim_func(s_tir=True)
    def description(
        levels: T.Buffer((4,), level, offset_factor=1),
        weights: T.Buffer((lanes, 4), "int8", offset_factor=1),
        sums: T.Buffer((lanes,), "int32", scope="local", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], levels[0:4], weights[0:lanes, 0:4])
            T.writes(sums[0:lanes])
            for i in T.serial(0, lanes):
                for k in T.serial(0, 4):
                    with T.sblock("update"):
                        vi, vk = T.axis.remap("SR", [i, k])
                        sums[vi] = sums[vi] + T.cast(levels[vk], "int32") * T.cast(weights[vi, vk], "int32")

    @T.prim_func(s_tir=True)
    def implementation(
        levels: T.Buffer((4,), level, offset_factor=1),
        weights: T.Buffer((lanes, 4), "int8", offset_factor=1),
        sums: T.Buffer((lanes,), "int32", scope="local", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], levels[0:4], weights[0:lanes, 0:4])
            T.writes(sums[0:lanes])
            sums[T.ramp(T.int32(0), 1, lanes)] = T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id(instruction),
                sums.vload([0], dtype=wide),
                T.reinterpret(T.broadcast(T.reinterpret(levels.vload([0], word), dtype="int32"), lanes), dtype=narrow),
                weights.vload([0, 0], dtype=narrow),
                dtype=wide,
            )

    return description, implementation
