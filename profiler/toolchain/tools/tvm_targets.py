"""Targets: the processor here or another one, by TVM's names, and its vectors."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import tvm
from tvm.target import codegen
from tvm_cuda import gpu_target
from tvm_isa import Isa

_VECTORS = {"avx512f": Isa(16, 32), "neon": Isa(4, 32), "avx": Isa(8, 16)}
_DOTS = {
    "avx512f": {"avx512vnni": "vpdpbusd", "avx512bw": "pmaddwd"},
    "neon": {"dotprod": "sdot"},
    "avx": {"avxvnni": "vpdpbusd", "avx2": "pmaddwd"},
    "": {"sse2": "pmaddwd"},
}
"""What else a processor of such vectors may have, and the instruction for products of small integers it then has."""


def target_of(spec: str) -> Any:
    """``native``, ``cuda`` (the GPU here), ``cuda/sm_86``, a tag of TVM's or a target in JSON; else ``ValueError``."""
    if spec == "native":
        return tvm.target.Target({"kind": "llvm", "mcpu": codegen.llvm_get_system_cpu()})
    if spec == "cuda":
        return gpu_target()
    try:
        if spec.startswith("cuda/"):
            return gpu_target(spec.removeprefix("cuda/"))
        target = tvm.target.Target(json.loads(spec) if spec.startswith("{") else spec)
    except (ValueError, TypeError, RuntimeError) as exc:
        first = (str(exc).strip() or "unknown").splitlines()[0]
        raise ValueError(
            f"{spec!r} is no target: {first}; name native, a tag like raspberry-pi/4b-aarch64, or JSON"
        ) from exc
    if str(target.kind) != "llvm":
        raise ValueError(f"{spec!r} is a target of kind {target.kind}; only processors (llvm) have schedules here")
    return target


def name_of(target: Any) -> str:
    """Processor, triple and attributes; or a GPU's architecture."""
    attributes = target.attrs
    if str(target.kind) == "cuda":
        return f"cuda-{attributes['arch']}"
    parts = [str(attributes.get("mcpu", "generic")), str(attributes.get("mtriple", "") or "")]
    return "-".join(["llvm", *(part for part in parts if part), *(str(a) for a in attributes.get("mattr", ()) or ())])


def is_foreign(target: Any) -> bool:
    """Whether its code is for another architecture than this machine's."""
    triple = str(target.attrs.get("mtriple", "") or "")
    return bool(triple) and triple.split("-", maxsplit=1)[0] != codegen.llvm_get_system_triple().split("-")[0]


def isa_of(target: Any) -> Isa:
    """The widest vectors it has, by LLVM's features, and its best instruction for products of small integers."""
    known = ((feature, isa) for feature, isa in _VECTORS.items() if codegen.target_has_features(feature, target))
    vectors, isa = next(known, ("", Isa(4, 16)))
    dots = (dot for feature, dot in _DOTS[vectors].items() if codegen.target_has_features(feature, target))
    return replace(isa, dot=next(dots, ""))


def require_halves(target: Any) -> None:
    """Raises ``ValueError`` if a processor has no instruction that widens fp16: code would call a function it lacks."""
    if not any(codegen.target_has_features(feature, target) for feature in ("f16c", "neon")):
        raise ValueError(f"{name_of(target)} cannot widen fp16 (f16c); choose another precision")
