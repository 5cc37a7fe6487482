"""Node times of a TFLite graph, by the profiler in LiteRT's C library, which its Python interface does not reach."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint8, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from .protocol import Request, WorkerError

_OPERATOR, _DELEGATED = 2, 8
"""Types of events: an operator of TFLite's own, and one of XNNPACK."""
_CPU = 1
_TYPE_BYTES = 72
"""Of a ranked tensor type: its element type and its layout."""
_TO_WRITE = 1
_Free = ctypes.CFUNCTYPE(None, c_void_p)
_OUT = POINTER(c_void_p)
_ARGUMENTS: Mapping[str, tuple[Any, ...]] = {
    "CreateEnvironment": (c_int, c_void_p, _OUT),
    "CreateModelFromFile": (c_void_p, c_char_p, _OUT),
    "CreateOptions": (_OUT,),
    "SetOptionsHardwareAccelerators": (c_void_p, c_int),
    "CreateOpaqueOptions": (c_char_p, c_void_p, _Free, _OUT),
    "AddOpaqueOptions": (c_void_p, c_void_p),
    "CreateCompiledModel": (c_void_p, c_void_p, c_void_p, _OUT),
    "CompiledModelGetProfiler": (c_void_p, _OUT),
    "GetModelSignature": (c_void_p, c_size_t, _OUT),
    "GetNumSignatureInputs": (c_void_p, POINTER(c_size_t)),
    "GetNumSignatureOutputs": (c_void_p, POINTER(c_size_t)),
    "GetSignatureInputTensorByIndex": (c_void_p, c_size_t, _OUT),
    "GetSignatureOutputTensorByIndex": (c_void_p, c_size_t, _OUT),
    "GetTensorName": (c_void_p, POINTER(c_char_p)),
    "GetRankedTensorType": (c_void_p, c_void_p),
    "GetCompiledModelInputBufferRequirements": (c_void_p, c_size_t, c_size_t, _OUT),
    "GetCompiledModelOutputBufferRequirements": (c_void_p, c_size_t, c_size_t, _OUT),
    "CreateManagedTensorBufferFromRequirements": (c_void_p, c_void_p, c_void_p, _OUT),
    "LockTensorBuffer": (c_void_p, _OUT, c_int),
    "UnlockTensorBuffer": (c_void_p,),
    "RunCompiledModel": (c_void_p, c_size_t, c_size_t, c_void_p, c_size_t, c_void_p),
    "ResetProfiler": (c_void_p,),
    "StartProfiler": (c_void_p,),
    "StopProfiler": (c_void_p,),
    "GetNumProfilerEvents": (c_void_p, POINTER(c_int)),
    "GetProfilerEvents": (c_void_p, c_int, c_void_p),
}


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", c_char_p),
        ("type", c_uint8),
        ("start_us", c_uint64),
        ("elapsed_us", c_uint64),
        ("memory", c_size_t * 6),
        ("index", c_uint64),
        ("subgraph", c_uint64),
        ("source", c_int),
    )


class Profiled:
    """A graph that LiteRT's C library runs and profiles, on the inputs it is given, by their names in the file.

    It has no promised binary interface: what is here is that of ai-edge-litert 2.3. Nothing is freed before the process
    ends, which is what a profile is taken in.
    """

    def __init__(self, library: Path, path: str, inputs: Mapping[str, Any], threads: int) -> None:
        try:
            self._library = ctypes.CDLL(str(library))
            for name, arguments in _ARGUMENTS.items():
                getattr(self._library, f"LiteRt{name}").argtypes = arguments
        except (OSError, AttributeError) as exc:
            raise WorkerError(f"this LiteRT cannot be profiled ({exc}); install ai-edge-litert 2.3") from exc
        environment = self._made("CreateEnvironment", 0, None)
        model = self._made("CreateModelFromFile", environment, path.encode())
        options = self._made("CreateOptions")
        self._call("SetOptionsHardwareAccelerators", options, _CPU)
        self._kept = [self._option(options, "runtime_options_string", "enable_profiling = true\n")]
        self._kept.append(self._option(options, "xnnpack", f"num_threads = {threads}\n"))
        self._model = self._made("CreateCompiledModel", environment, model, options)
        self._profiler = self._made("CompiledModelGetProfiler", self._model)
        signature = self._made("GetModelSignature", model, 0)
        self._buffers = [self._places(environment, signature, kind, inputs) for kind in ("Input", "Output")]

    def run(self) -> None:
        """Once, on the same inputs."""
        taken, given = self._buffers
        self._call("RunCompiledModel", self._model, 0, len(taken), taken, len(given), given)

    def watched(self) -> list[tuple[str, int]]:
        """What a run is made of, in order: every operator's name, and how many whole microseconds it took."""
        self._call("ResetProfiler", self._profiler)
        self._call("StartProfiler", self._profiler)
        self.run()
        self._call("StopProfiler", self._profiler)
        count = c_int()
        self._call("GetNumProfilerEvents", self._profiler, byref(count))
        events = (_Event * max(1, count.value))()
        self._call("GetProfilerEvents", self._profiler, count.value, events)
        seen = list(events)[: count.value]
        return [(event.tag.decode(), event.elapsed_us) for event in seen if event.type in (_OPERATOR, _DELEGATED)]

    def _places(self, environment: c_void_p, signature: c_void_p, kind: str, inputs: Mapping[str, Any]) -> Any:
        """Memory for every input or output of a graph; an input's is filled."""
        count, found = c_size_t(), []
        self._call(f"GetNumSignature{kind}s", signature, byref(count))
        for place in range(count.value):
            tensor = self._made(f"GetSignature{kind}TensorByIndex", signature, place)
            its_type, name = (c_uint8 * _TYPE_BYTES)(), c_char_p()
            self._call("GetRankedTensorType", tensor, byref(its_type))
            wanted = self._made(f"GetCompiledModel{kind}BufferRequirements", self._model, 0, place)
            buffer = self._made("CreateManagedTensorBufferFromRequirements", environment, byref(its_type), wanted)
            found.append(buffer.value)
            if kind == "Input":
                self._call("GetTensorName", tensor, byref(name))
                value = np.ascontiguousarray(inputs[(name.value or b"").decode()])
                memory = c_void_p()
                self._call("LockTensorBuffer", buffer, byref(memory), _TO_WRITE)
                ctypes.memmove(memory, value.ctypes.data, value.nbytes)
                self._call("UnlockTensorBuffer", buffer)
        return (c_void_p * len(found))(*found)

    def _option(self, options: c_void_p, name: str, toml: str) -> tuple[Any, Any]:
        """Add an option; what the library goes on to use is given back, to be kept."""
        text, nothing = ctypes.create_string_buffer(toml.encode()), _Free(lambda _: None)
        option = self._made("CreateOpaqueOptions", name.encode(), ctypes.cast(text, c_void_p), nothing)
        self._call("AddOpaqueOptions", options, option)
        return text, nothing

    def _made(self, function: str, *arguments: Any) -> c_void_p:
        made = c_void_p()
        self._call(function, *arguments, byref(made))
        return made

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, f"LiteRt{function}")(*arguments)
        if status:
            raise WorkerError(f"LiteRT's profiler: LiteRt{function} failed with {status}")


def node_times(runs: list[list[tuple[str, int]]], repeat: int) -> list[Request]:
    """Microseconds of every node in ``repeat`` runs, from several runs.

    The library takes the time around each kernel alone, so watching costs none of it; it tells whole
    microseconds, of which the mean over the faster half of the runs, whole ones, is right below one too.
    """
    tags = [tag for tag, _ in runs[0]]
    if any([tag for tag, _ in run] != tags for run in runs):
        raise WorkerError("this graph does not run the same nodes each time; it cannot be profiled")
    times = np.array([[us for _, us in run] for run in runs], np.float64)
    faster = times.sum(axis=1).argsort(kind="stable")[: (len(times) + 1) // 2]
    times = times[faster].mean(axis=0)
    return [
        {"name": f"{tag} {place}", "op": kind_of(tag), "us": round(repeat * us, 4), "cost_us": 0.0}
        for place, (tag, us) in enumerate(zip(tags, times.tolist(), strict=True))
    ]


def kind_of(tag: str) -> str:
    """``Fully Connected (NC, F32) GEMM`` is ``Fully Connected``; TFLite's own are in capitals, ``EMBEDDING_LOOKUP``."""
    return tag.partition(" (")[0]
