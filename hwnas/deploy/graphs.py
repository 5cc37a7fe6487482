"""Open a bundle's graphs on what is installed here: ONNX Runtime, LiteRT (or tflite_runtime), or TVM's runtime.

Copied into every bundle as hwnas_graphs.py; needs numpy, and the one runtime of the bundle's format.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, Any]
Graph = Callable[[Mapping[str, Any]], Arrays]
"""Inputs by name -> outputs by name; what it gives stays the caller's."""


class BundleError(Exception):
    """The bundle cannot be used, or the input cannot be answered; the message says why."""


def open_graph(path: Path, form: str, threads: int, inputs: Sequence[str], outputs: Sequence[str]) -> Graph:
    """The graph in ``path``, whose format is ``form``; its inputs and outputs in the order of the file."""
    if form not in _OPENERS:
        raise BundleError(f"{path.name} is of the format {form!r}; this runner knows {', '.join(_OPENERS)}")
    return _OPENERS[form](path, threads, inputs, outputs)


def _onnx(path: Path, threads: int, inputs: Sequence[str], outputs: Sequence[str]) -> Graph:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when it is imported; what it sees is sent otherwise
    try:
        import onnxruntime as ort
    except ImportError as exc:
        raise BundleError(f"this bundle needs onnxruntime ({exc}); pip install onnxruntime") from None
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    names = list(outputs)
    return lambda given: dict(zip(names, session.run(names, dict(given)), strict=True))


def _tflite(path: Path, threads: int, inputs: Sequence[str], outputs: Sequence[str]) -> Graph:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ImportError as exc:
            raise BundleError(f"this bundle needs ai-edge-litert ({exc}); pip install ai-edge-litert") from None
    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    takes = {detail["name"]: detail for detail in interpreter.get_input_details()}
    gives = {detail["name"]: detail for detail in interpreter.get_output_details()}

    def run(given: Mapping[str, Any]) -> Arrays:
        for name in inputs:
            interpreter.set_tensor(takes[name]["index"], _quantised(given[name], takes[name]))
        interpreter.invoke()
        return {name: _real(interpreter.get_tensor(gives[name]["index"]), gives[name]) for name in outputs}

    return run


def _quantised(value: Any, detail: Mapping[str, Any]) -> Any:
    """Real numbers as an input holds them."""
    (scale, zero), dtype = detail["quantization"], detail["dtype"]
    if scale == 0:
        return value.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(value / scale) + zero, limits.min, limits.max).astype(dtype)


def _real(raw: Any, detail: Mapping[str, Any]) -> Any:
    """An output's real numbers."""
    scale, zero = detail["quantization"]
    return raw if scale == 0 else ((raw.astype(np.float32) - zero) * scale).astype(np.float32)


def _tvm(path: Path, threads: int, inputs: Sequence[str], outputs: Sequence[str]) -> Graph:
    os.environ["TVM_NUM_THREADS"] = str(threads)
    os.environ.setdefault("TVM_BIND_THREADS", "0")  # as it was measured
    try:
        import tvm_ffi

        runtime = Path(str(metadata.distribution("apache-tvm").locate_file("tvm"))) / "lib" / "libtvm_runtime.so"
        ctypes.CDLL(str(runtime), ctypes.RTLD_GLOBAL)
    except (ImportError, OSError) as exc:
        raise BundleError(f"this bundle needs TVM's runtime ({exc}); run: hwnas toolchain install tvm") from None
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        library = Path(folder) / "graph.so"  # the loader goes by the suffix
        library.symlink_to(path.resolve())
        try:
            machine = tvm_ffi.load_module(str(library), keep_module_alive=False)["vm_load_executable"]()
        except Exception as exc:
            words = " ".join(str(exc).split()) or type(exc).__name__
            raise BundleError(
                f"{path.name} does not load here: was it compiled for another machine? ({words})"
            ) from None
    machine["vm_initialization"](*_CPU_WITH_POOL, *_CPU_WITH_POOL)  # of values, and of shapes
    main = machine["main"]

    def run(given: Mapping[str, Any]) -> Arrays:
        found = main(*(tvm_ffi.from_dlpack(_aligned(given[name])) for name in inputs))
        found = [found] if len(outputs) == 1 else found
        return {name: np.from_dlpack(value) for name, value in zip(outputs, found, strict=True)}

    return run


_CPU_WITH_POOL = (1, 0, 2)
"""The first CPU, and memory that is kept, as TVM's virtual machine is told of them."""


def _aligned(array: Any) -> Any:
    """A copy that starts at a multiple of 64 bytes, as TVM's kernels expect it."""
    raw = np.zeros(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    value = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    value[...] = array
    return value


_OPENERS: Mapping[str, Callable[[Path, int, Sequence[str], Sequence[str]], Graph]] = {
    "onnx": _onnx,
    "tflite": _tflite,
    "tvm": _tvm,
}
