"""The runtimes litert and tflite (its name up to 2.14): interpreters of programs of TFLite graphs."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .cuda_driver import CudaDriver
from .litert_profile import Profiled, node_times
from .protocol import Request, WorkerError
from .stages import Arrays, Chain, lookup

WARM_UP_CALLS = 5
"""Calls of a profile that are not looked at."""
PACKAGES = {
    "litert": ("ai-edge-litert", "ai_edge_litert.interpreter", "pip install 'hwnas[litert]'"),
    "tflite": ("tflite-runtime", "tflite_runtime.interpreter", "run: hwnas toolchain install tflite-runtime"),
}
"""Runtime -> its package, the module with the interpreter, and what installs it."""


class LiteRt:
    """Programs on LiteRT (TFLite), with its XNNPACK kernels. A graph has fixed shapes and keeps its state.

    The names of inputs and outputs are those of the file's tensors. An int8 tensor is given and
    returned as the real numbers it stands for: quantising is the caller's part, and not timed.
    """

    def __init__(self, threads: int, driver: CudaDriver | None, name: str = "litert") -> None:
        if driver is not None:
            raise WorkerError(f"the runtime {name} runs on the CPU only; use provider: cpu")
        package, module, remedy = PACKAGES[name]
        try:
            self.interpreter = importlib.import_module(module).Interpreter
        except ImportError as exc:
            raise WorkerError(f"the runtime {name} needs {package} ({exc}); {remedy}") from exc
        self.threads = threads
        self.version = f"{name}-{metadata.version(package)}"

    def open(self, path: str) -> Any:
        """An interpreter of a graph, its memory laid out."""
        opened = self.interpreter(model_path=path, num_threads=self.threads)
        opened.allocate_tensors()
        return opened

    def load(self, stages: list[Request]) -> Chain:
        """An interpreter for every stage, and what copies values between them."""
        return Chain(stages, lambda stage, reference: LiteRtGraph(self.open(stage["path"]), stage["name"], reference))

    def profile(self, stages: list[Request], calls: int) -> list[Request]:
        """Node times of a program, by LiteRT's C library on the reference inputs, each graph alone.

        All shapes are fixed, so every iteration of a stage runs the same nodes on as much.
        """
        name = self.version.partition("-")[0]
        if name != "litert":
            raise WorkerError(f"{self.version} has no profiler that can be reached; use litert")
        library = Path(str(importlib.import_module(PACKAGES[name][1]).__file__)).with_name("libLiteRt.so")
        program, found = self.load(stages), []
        for stage, reference in zip(stages, program.references, strict=True):
            graph = program.graphs[stage["name"]]
            inputs = {name: graph.encode(name, lookup(reference, name, graph.where)) for name in graph.inputs}
            profiled = Profiled(library, stage["path"], inputs, self.threads)
            runs = [profiled.watched() for _ in range(WARM_UP_CALLS + calls)][WARM_UP_CALLS:]
            nodes = node_times(runs, stage["repeat"])
            found.append({"name": stage["name"], "runs": stage["repeat"], "nodes": nodes})
        self.unload(program)
        return found

    def unload(self, program: Any) -> None:
        """Free the program's interpreters."""
        program.clear()


class LiteRtGraph:
    """One interpreter, its tensors by name.

    The memory of inputs and outputs stays where it is while no shape changes, so views of it are
    kept: a copy then costs a quarter of what it does through the interpreter's own functions,
    which refuse to run while a view is held and are passed by.
    """

    def __init__(self, interpreter: Any, stage: str, reference: Arrays) -> None:
        self.where = f"stage {stage}"
        self.inputs = {detail["name"]: detail for detail in interpreter.get_input_details()}
        self.outputs = {detail["name"]: detail for detail in interpreter.get_output_details()}
        self.views = {
            detail["index"]: interpreter.tensor(detail["index"])()
            for detail in [*self.inputs.values(), *self.outputs.values()]
        }
        invoke = getattr(getattr(interpreter, "_interpreter", None), "Invoke", None)
        if invoke is None:
            raise WorkerError(f"{self.where}: this interpreter is not known; install ai-edge-litert 2.3")
        self.run: Callable[[], object] = invoke
        for name in self.inputs:
            self.giving(name, lookup(reference, name, f"{self.where}: input {name}"))()

    def giving(self, name: str, value: Any) -> Callable[[], object]:
        """What gives an input real numbers, encoded now."""
        return functools.partial(np.copyto, self.views[self.inputs[name]["index"]], self.encode(name, value))

    def results(self) -> Arrays:
        """Its last outputs, by name."""
        return {name: self.get(name) for name in self.outputs}

    def get(self, name: str) -> Any:
        """An output as real numbers, or as the integers it holds if it is not quantised."""
        detail = self.outputs[name]
        raw, (scale, zero) = self.views[detail["index"]], detail["quantization"]
        return raw.copy() if scale == 0 else ((raw.astype(np.float32) - zero) * scale).astype(np.float32)

    def encode(self, name: str, value: Any) -> Any:
        """What an input's memory holds for these numbers: converted, or quantised."""
        detail = self.inputs[name]
        wanted, dtype, (scale, zero) = sizes(detail), detail["dtype"], detail["quantization"]
        if tuple(value.shape) != wanted:
            raise WorkerError(f"{self.where}: input {name} has the fixed shape {wanted}, not {tuple(value.shape)}")
        if scale == 0:
            return value.astype(dtype)
        limits = np.iinfo(dtype)
        return np.clip(np.round(value / scale) + zero, limits.min, limits.max).astype(dtype)

    def taking(self, name: str, origin: LiteRtGraph, output: str, where: str) -> Callable[[], object]:
        """What copies an output to an input; if they are quantised differently, by way of real numbers."""
        taken, given = lookup(origin.outputs, output, where), self.inputs[name]
        if sizes(taken) != sizes(given):
            raise WorkerError(f"{where} has the fixed shape {sizes(given)}, but {output} is {sizes(taken)}")
        if (taken["dtype"], taken["quantization"]) != (given["dtype"], given["quantization"]):
            return functools.partial(self._give_real, name, origin, output)
        return functools.partial(np.copyto, self.views[given["index"]], origin.views[taken["index"]])

    def _give_real(self, name: str, origin: LiteRtGraph, output: str) -> None:
        self.giving(name, origin.get(output))()


def sizes(detail: Arrays) -> tuple[int, ...]:
    """The shape of an interpreter's tensor."""
    return tuple(int(size) for size in detail["shape"])
