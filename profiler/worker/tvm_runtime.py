"""The runtime tvm: libraries that TVM compiled, run by its virtual machine."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .cuda_driver import CudaDriver
from .kernels import Instrument, kernel_times
from .protocol import Request, WorkerError
from .stages import Arrays, Chain, aligned, lookup, outputs_of

WARM_UP_CALLS = 5
"""Calls of a profile that are not looked at."""
_CPU_WITH_POOL = (1, 0, 2)
"""A device and its allocator, as the virtual machine is told of them: the first CPU, and memory that is kept."""
_GPU_WITH_POOL = (2, 0, 2)
"""The first GPU of CUDA's, likewise."""


class TvmRuntime:
    """Programs on TVM's runtime library alone: of the package ``tvm`` nothing else is used, nor has to be there.

    A graph has fixed shapes and keeps its state. A library does not tell the names of its inputs and outputs;
    they are those of the reference, in its order. With a ``driver`` they run on the first GPU, each call to its
    end; that path has not been run on one yet.
    """

    def __init__(self, threads: int, driver: CudaDriver | None) -> None:
        os.environ["TVM_NUM_THREADS"] = str(threads)
        os.environ["TVM_BIND_THREADS"] = "0"  # or it would leave the cores this process was given
        try:
            import tvm_ffi  # type: ignore[import-not-found, unused-ignore]

            folder = Path(str(metadata.distribution("apache-tvm").locate_file("tvm"))) / "lib"
            ctypes.CDLL(str(folder / "libtvm_runtime.so"), ctypes.RTLD_GLOBAL)
        except (ImportError, OSError) as exc:
            raise WorkerError(f"the runtime tvm is not here ({exc}); run: hwnas toolchain install tvm") from exc
        self.version = f"tvm-{metadata.version('apache-tvm')}" + ("" if driver is None else "+cuda")
        self.ffi, self.driver = tvm_ffi, driver
        self.device: Any = None  # the CPU
        self.devices = (*_CPU_WITH_POOL, *_CPU_WITH_POOL)  # of values, and of shapes
        if driver is not None:
            try:
                ctypes.CDLL(str(folder / "libtvm_runtime_cuda.so"), ctypes.RTLD_GLOBAL)
            except OSError as exc:
                raise WorkerError(f"TVM's library for GPUs does not load ({exc}); install CUDA 13's runtime") from exc
            self.device, self.devices = tvm_ffi.device("cuda", 0), (*_GPU_WITH_POOL, *_CPU_WITH_POOL)

    def open(self, path: str) -> Any:
        """The virtual machine of a library."""
        with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
            library = Path(folder) / "graph.so"  # the loader goes by the suffix
            library.symlink_to(Path(path).resolve())
            machine = self.ffi.load_module(str(library), keep_module_alive=False)["vm_load_executable"]()
        machine["vm_initialization"](*self.devices)
        return machine

    def tensor(self, array: Any) -> Any:
        """A copy on the device, aligned as TVM's kernels expect it."""
        value = aligned(array.nbytes).view(array.dtype).reshape(array.shape)
        value[...] = array
        return self._moved(self.ffi.from_dlpack(value), self.device)

    def array(self, tensor: Any) -> Any:
        """A tensor's values in numpy."""
        return np.from_dlpack(self._moved(tensor, None if self.device is None else self.ffi.device("cpu", 0)))

    def _moved(self, tensor: Any, device: Any) -> Any:
        """A copy on another device; with None itself."""
        if device is None:
            return tensor
        moved = self.ffi.get_global_func("runtime.TVMTensorAllocWithScope")(tensor.shape, tensor.dtype, device, None)
        self.ffi.get_global_func("runtime.TVMTensorCopyFromTo")(tensor, moved)
        if self.driver is not None:
            self.driver.synchronize()
        return moved

    def load(self, stages: list[Request]) -> Chain:
        """A virtual machine for every stage, and what moves values between them."""
        return Chain(stages, functools.partial(TvmGraph, self))

    def profile(self, stages: list[Request], calls: int) -> list[Request]:
        """Kernel times of a program, by machines of its own: to be watched slows them down."""
        program = self.load(stages)
        watched = {stage["name"]: Instrument() for stage in stages}
        for name, instrument in watched.items():
            program.graphs[name].machine["set_instrument"](self.ffi.convert(instrument))
        names: dict[str, list[str]] = {}
        times: dict[str, list[Any]] = {name: [] for name in watched}
        for call in range(WARM_UP_CALLS + calls):
            for run in program.calls:
                run()
            for name, instrument in watched.items():
                kernels, taken = instrument.taken()
                if names.setdefault(name, kernels) != kernels:
                    raise WorkerError("this graph does not run the same kernels each time; it cannot be profiled")
                if call >= WARM_UP_CALLS:
                    times[name].append(taken)
        self.unload(program)
        return [
            {
                "name": stage["name"],
                "runs": stage["repeat"],
                "nodes": kernel_times(names[stage["name"]], np.array(times[stage["name"]]), stage["repeat"]),
            }
            for stage in stages
        ]

    def unload(self, program: Any) -> None:
        """Free the program's machines and values."""
        program.clear()
        if self.driver is not None:
            gc.collect()  # a graph and its own functions hold one another
            self.ffi.get_global_func("vm.builtin.memory_manager.clear")()  # what is kept for programs to come


class TvmGraph:
    """One virtual machine with its arguments and its last outputs, as TVM's tensors.

    What it is given of another graph, or of itself, is handed on as it is: a call writes new outputs, and copies
    nothing.
    """

    def __init__(self, runtime: TvmRuntime, stage: Request, reference: Arrays) -> None:
        self.where, self.runtime = f"stage {stage['name']}", runtime
        self.shapes = {name: (tuple(value.shape), value.dtype) for name, value in reference.items()}
        self.inputs = {name: place for place, name in enumerate(reference)}
        self.names = outputs_of(stage)
        self.machine = runtime.open(stage["path"])
        self.main = self.machine["main"]
        self.arguments = [runtime.tensor(value) for value in reference.values()]
        self.outputs: list[Any] = []
        run = self._run_one if len(self.names) == 1 else self._run_several
        self.run = run if runtime.driver is None else functools.partial(_then, run, runtime.driver.synchronize)

    def _run_one(self) -> None:
        self.outputs = [self.main(*self.arguments)]

    def _run_several(self) -> None:
        self.outputs = self.main(*self.arguments)

    def giving(self, name: str, value: Any) -> Callable[[], object]:
        """What gives an input a value that is where it is wanted from now on."""
        return functools.partial(self.arguments.__setitem__, self.inputs[name], self.tensor(name, value))

    def taking(self, name: str, origin: TvmGraph, output: str, where: str) -> Callable[[], object]:
        """What lets an input be what ``origin`` put out last."""
        place = lookup({own: place for place, own in enumerate(origin.names)}, output, where)
        return functools.partial(self._take, self.inputs[name], origin, place)

    def _take(self, place: int, origin: TvmGraph, output: int) -> None:
        self.arguments[place] = origin.outputs[output]

    def results(self) -> Arrays:
        """Its last outputs, by name."""
        return {name: self.runtime.array(value) for name, value in zip(self.names, self.outputs, strict=True)}

    def tensor(self, name: str, value: Any) -> Any:
        """An input's value in the memory and the type it is wanted in."""
        shape, dtype = self.shapes[name]
        if tuple(value.shape) != shape:
            raise WorkerError(f"{self.where}: input {name} has the fixed shape {shape}, not {tuple(value.shape)}")
        return self.runtime.tensor(value.astype(dtype))


def _then(first: Callable[[], None], second: Callable[[], None]) -> None:
    first()
    second()
