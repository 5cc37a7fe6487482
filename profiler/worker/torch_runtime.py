"""The runtime torch: programs of ``torch.export``; on a GPU every graph is one CUDA graph, captured once."""

from __future__ import annotations

import functools
import gc
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .cuda_driver import CudaDriver
from .protocol import Request, WorkerError
from .stages import Arrays, Chain, lookup, outputs_of

WARM_UP_CALLS = 3
"""Before a capture, on a stream of its own: libraries choose kernels and take memory at their first calls."""


class TorchRuntime:
    """Programs on torch, with no gradients. A graph has fixed shapes and keeps its state.

    A file does not tell the names of its inputs and outputs; they are those of the reference, in its order.
    On a GPU products are in full fp32 (no TF32), as the reference is.
    """

    def __init__(self, threads: int, driver: CudaDriver | None) -> None:
        try:
            import torch
            from torch.export import passes
        except ImportError as exc:
            raise WorkerError(f"the runtime torch needs torch ({exc}); pip install 'hwnas[train]'") from exc
        if driver is not None and not torch.cuda.is_available():
            raise WorkerError(f"torch {torch.__version__} sees no GPU; install a build for CUDA, or use provider: cpu")
        torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self.torch, self.passes, self.driver = torch, passes, driver
        self.device = "cpu" if driver is None else "cuda"
        self.version = f"torch-{torch.__version__.partition('+')[0]}" + ("" if driver is None else "+cuda")

    def open(self, path: str) -> Callable[..., tuple[Any, ...]]:
        """The function in a file, its weights on the device: of tensors, and it gives them.

        A program looks through what it is given at every call, which takes longer than a small graph; this does not.
        """
        program = self.torch.export.load(path)
        if self.device != "cpu":
            program = self.passes.move_to_device_pass(program, self.device)
        guarded = "check_guards" in inspect.signature(program.module).parameters  # from torch 2.9 on
        module = program.module(**({"check_guards": False} if guarded else {}))
        module.graph.set_codegen(self.torch.fx.graph.CodeGen())
        module.recompile()
        function: Callable[..., tuple[Any, ...]] = module.forward
        return function

    def tensor(self, array: Any) -> Any:
        """A copy on the device."""
        return self.torch.tensor(array, device=self.device)

    def load(self, stages: list[Request]) -> Chain:
        """A graph for every stage, and what moves values between them."""
        return Chain(stages, functools.partial(TorchGraph, self))

    def unload(self, program: Any) -> None:
        """Free the program's graphs, and give what memory of the GPU is left over back to it."""
        program.clear()
        if self.driver is not None:
            gc.collect()  # a graph and its own functions hold one another
            self.torch.cuda.empty_cache()


class TorchGraph:
    """One graph with its inputs and its last outputs, by name, as tensors on the device.

    On a CPU inputs are handed on as they are. A CUDA graph reads and writes where it was captured: there
    they are copied, on the device.
    """

    def __init__(self, runtime: TorchRuntime, stage: Request, reference: Arrays) -> None:
        self.where, self.runtime = f"stage {stage['name']}", runtime
        self.names = outputs_of(stage)
        self.function = runtime.open(stage["path"])
        self.shapes = {name: (tuple(value.shape), value.dtype) for name, value in reference.items()}
        self.inputs = {name: runtime.tensor(value) for name, value in reference.items()}
        self.outputs: tuple[Any, ...] = ()
        self.run: Callable[[], object]
        if runtime.driver is None:
            self.run, self.give = self._call, self.inputs.__setitem__
        else:
            self.run, self.give = self._captured(runtime.driver), self._copy

    def giving(self, name: str, value: Any) -> Callable[[], object]:
        """What gives an input a value that is on the device from now on."""
        return functools.partial(self.give, name, self.tensor(name, value))

    def taking(self, name: str, origin: TorchGraph, output: str, where: str) -> Callable[[], object]:
        """What lets an input be what ``origin`` put out last."""
        place = lookup({own: place for place, own in enumerate(origin.names)}, output, where)
        return lambda: self.give(name, origin.outputs[place])

    def results(self) -> Arrays:
        """Its last outputs, by name."""
        return {name: value.cpu().numpy() for name, value in zip(self.names, self.outputs, strict=True)}

    def tensor(self, name: str, value: Any) -> Any:
        """An input's value on the device, in the type it is wanted in."""
        shape, dtype = self.shapes[name]
        if tuple(value.shape) != shape:
            raise WorkerError(f"{self.where}: input {name} has the fixed shape {shape}, not {tuple(value.shape)}")
        return self.runtime.tensor(np.asarray(value, dtype))

    def _call(self) -> None:
        with self.runtime.torch.inference_mode():
            self.outputs = self.function(*self.inputs.values())

    def _copy(self, name: str, value: Any) -> None:
        self.inputs[name].copy_(value)

    def _captured(self, driver: CudaDriver) -> Callable[[], object]:
        """What replays the graph and waits for its end. Nothing runs beside it: one stream is captured."""
        cuda = self.runtime.torch.cuda
        beside = cuda.Stream()
        beside.wait_stream(cuda.current_stream())
        with cuda.stream(beside):
            for _ in range(WARM_UP_CALLS):
                self._call()
        cuda.current_stream().wait_stream(beside)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            self._call()

        def run() -> None:
            graph.replay()
            driver.synchronize()

        return run
