"""Graphs for NVIDIA's GPUs: TVM's own schedules, compiled by nvcc. What is made has never been run on one."""

from __future__ import annotations

import os
from typing import Any

import tvm
from tvm import tirx
from tvm.relax.backend.cuda import get_default_pipeline
from tvm.target import codegen


def gpu_target(arch: str = "") -> Any:
    """A GPU of an architecture (``sm_86``), by default the first one here; raises ``ValueError`` if there is none."""
    if not arch:
        device = tvm.cuda(0)
        if not device.exist:
            raise ValueError("TVM finds no GPU here; it needs NVIDIA's driver, libcudart.so.13 and nvcc")
        arch = f"sm_{device.compute_version.replace('.', '')}"
    host = {"kind": "llvm", "mcpu": codegen.llvm_get_system_cpu()}
    return tvm.target.Target({"kind": "cuda", "arch": arch}, host=host)


def compiled(mod: Any, target: Any, precision: str) -> tuple[Any, list[str]]:
    """``mod`` (of ONNX) for ``target``, and its kernels; raises ``ValueError`` for another precision than fp32.

    Kernels become machine code where TVM's library for GPUs loads, which needs the driver; elsewhere they stay source.
    """
    if precision != "fp32":
        raise ValueError(f"precision {precision!r} has no schedules for GPUs; use fp32")
    os.environ["TVM_CUDA_COMPILE_MODE"] = "nvcc"
    import tvm.support.nvcc  # what turns source into code, by the name it is registered under

    with target:
        mod = get_default_pipeline(target)(mod)
        built = tvm.compile(mod, target, relax_pipeline=tvm.transform.Sequential([]))
    functions = mod.functions_items()
    return built, sorted(variable.name_hint for variable, f in functions if isinstance(f, tirx.PrimFunc))
