"""The runtime onnxruntime: sessions and bindings of programs of ONNX graphs."""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .cuda_driver import CudaDriver
from .nodes import node_times
from .protocol import Request, WorkerError
from .stages import Arrays, aligned, check_replaced, check_wiring, inputs_of, require_stages, size_bytes, source

Layout = dict[str, tuple[tuple[int, ...], Any]]
WARM_UP_CALLS = 5
CUDA = "CUDAExecutionProvider"
CUDA_OPTIONS = {"device_id": "0", "use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}


class OnnxRuntime:
    """Programs on ONNX Runtime, every input and output bound before the clock starts.

    ``run_with_iobinding`` is the cheapest way to call a session, and calling it on the inner
    session saves a third of a microsecond of Python more. One binding is made for every iteration
    of every stage, so that nothing but the graph is left inside the timed loop. Carried outputs
    alternate between two buffers: an iteration reads one and writes the other.

    With a ``driver`` values stay on the first GPU, every call waits for its end, and products are in full fp32
    (no TF32); that path has not been run on one yet.
    """

    def __init__(self, threads: int, driver: CudaDriver | None) -> None:
        import onnxruntime  # type: ignore[import-untyped, unused-ignore]

        self.ort = onnxruntime
        self.driver = driver
        self.providers: list[Any] = ["CPUExecutionProvider"]
        if driver is not None:
            if CUDA not in onnxruntime.get_available_providers():
                raise WorkerError(f"this onnxruntime has no {CUDA}; install onnxruntime-gpu, or use provider: cpu")
            self.providers = [(CUDA, {"user_compute_stream": str(driver.stream), **CUDA_OPTIONS})]
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        self.options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.options.log_severity_level = 3
        self.version = f"onnxruntime-{onnxruntime.__version__}" + ("" if driver is None else "+cuda")
        self.sessions: dict[str, tuple[Any, int]] = {}

    def load(self, stages: list[Request]) -> OnnxProgram:
        """Sessions (shared by path), reference inputs and bindings of all stages."""
        paths: list[str] = []
        try:
            for stage in stages:
                self._acquire(stage["path"])
                paths.append(stage["path"])
            return OnnxProgram(self, stages)
        except BaseException:
            self._release(paths)
            raise

    def unload(self, program: Any) -> None:
        """Free the program's bindings, and the sessions no other program uses."""
        for held in (program.calls, program.bindings, program.kept, program.outputs):
            held.clear()
        self._release([stage["path"] for stage in program.stages])

    def profile(self, stages: list[Request], calls: int) -> list[Request]:
        """Node times of a program, by sessions that profile from now on (this runtime is of no other use)."""
        with tempfile.TemporaryDirectory(prefix="hwnas-profile-") as folder:
            self.options.enable_profiling = True
            self.options.profile_file_prefix = str(Path(folder) / "profile")
            program = self.load(stages)
            for _ in range(WARM_UP_CALLS + calls):
                for run in program.calls:
                    run()
            found = []
            for path in dict.fromkeys(stage["path"] for stage in stages):
                sharing = [stage for stage in stages if stage["path"] == path]
                runs = sum(stage["repeat"] for stage in sharing)
                events = json.loads(Path(self.session(path).end_profiling()).read_bytes())
                name = "+".join(stage["name"] for stage in sharing)
                found.append({"name": name, "runs": runs, "nodes": node_times(events, runs, calls)})
            self.unload(program)
        return found

    def session(self, path: str) -> Any:
        """The session of a graph that was loaded."""
        return self.sessions[path][0]

    def _acquire(self, path: str) -> None:
        session, users = self.sessions.get(path) or (None, 0)
        if session is None:
            session = self.ort.InferenceSession(path, self.options, providers=self.providers, enable_fallback=0)
            if self.driver is not None and CUDA not in session.get_providers():
                raise WorkerError(f"ONNX Runtime runs {Path(path).name} without {CUDA}")
        self.sessions[path] = (session, users + 1)

    def _release(self, paths: list[str]) -> None:
        for path in paths:
            session, users = self.sessions.pop(path)
            if users > 1:
                self.sessions[path] = (session, users - 1)

    def place(self, array: Any) -> Any:
        """An OrtValue of the array's content, on the device and aligned as the runtime's own are."""
        if self.driver is not None:
            return self.ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), "cuda", 0)
        value = aligned(array.nbytes).view(array.dtype).reshape(array.shape)
        value[...] = array
        return self.ort.OrtValue.ortvalue_from_numpy(value)

    def room(self, buffer: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """An OrtValue to write to, in ``buffer`` where the CPU can see it."""
        if self.driver is not None:
            return self.ort.OrtValue.ortvalue_from_shape_and_type(list(shape), dtype, "cuda", 0)
        whole = buffer[: size_bytes(shape, dtype)]
        return self.ort.OrtValue.ortvalue_from_numpy(whole.view(dtype).reshape(shape))


class OnnxProgram:
    """Stages with their bindings; ``calls`` is what one call of the program runs, in order."""

    def __init__(self, runtime: OnnxRuntime, stages: list[Request]) -> None:
        self.runtime = runtime
        self.stages = stages
        require_stages(stages)
        self.references = [inputs_of(stage) for stage in stages]
        self.calls: list[Callable[[], object]] = []
        self.outputs: dict[str, Arrays] = {}
        self.bindings: list[Any] = []
        self.kept: list[Any] = []  # a binding does not keep the memory of what is bound
        began = time.perf_counter_ns()
        _, layouts = self._walk(self.references)
        self.first_call_ns = time.perf_counter_ns() - began
        for stage, reference, layout in zip(stages, self.references, layouts, strict=True):
            self._bind(stage, reference, layout)

    def evaluate(self, replaced: Arrays | None) -> Arrays:
        """Outputs of the last stage: by the bound calls that are timed, or anew for other inputs."""
        if replaced is None:
            for call in self.calls:
                call()
            return {name: value.numpy() for name, value in self.outputs[self.stages[-1]["name"]].items()}
        check_replaced(replaced, self.references[0])
        finals, _ = self._walk([self.references[0] | replaced, *self.references[1:]])
        return finals[-1]

    def _walk(self, references: list[Arrays]) -> tuple[list[Arrays], list[list[Layout]]]:
        """Run everything once without bindings: every stage's last outputs, and all outputs' layouts."""
        known: dict[str, Arrays] = {}
        layouts = []
        for stage, reference in zip(self.stages, references, strict=True):
            session = self.runtime.session(stage["path"])
            inputs = [info.name for info in session.get_inputs()]
            names = [info.name for info in session.get_outputs()]
            check_wiring(stage, inputs)
            seen: list[Layout] = []
            for iteration in range(stage["repeat"]):
                feeds = {name: source(stage, name, iteration, known, reference) for name in inputs}
                known[stage["name"]] = dict(zip(names, session.run(names, feeds), strict=True))
                seen.append({name: (v.shape, v.dtype) for name, v in known[stage["name"]].items()})
            layouts.append(seen)
        return [known[stage["name"]] for stage in self.stages], layouts

    def _bind(self, stage: Request, reference: Arrays, layouts: list[Layout]) -> None:
        session = self.runtime.session(stage["path"])
        names = [info.name for info in session.get_inputs()]
        fixed = {
            name: self.runtime.place(reference[name])
            for name in names
            if name not in stage["carry"] and name not in stage["feeds"] and name != stage["counter"]
        }
        carried = set(stage["carry"].values())
        buffers = {
            name: [aligned(max(size_bytes(*seen[name]) for seen in layouts)) for _ in range(1 + (name in carried))]
            for name in layouts[0]
        }
        for iteration, layout in enumerate(layouts):
            binding = session.io_binding()
            for name in names:
                value = fixed.get(name)
                if value is None:
                    value = source(stage, name, iteration, self.outputs, reference)
                if isinstance(value, np.ndarray):
                    value = self.runtime.place(value)
                self.kept.append(value)
                binding.bind_ortvalue_input(name, value)
            outputs = {}
            for name, (shape, dtype) in layout.items():
                buffer = buffers[name][iteration % len(buffers[name])]
                outputs[name] = self.runtime.room(buffer, shape, dtype)
                binding.bind_ortvalue_output(name, outputs[name])
            self.kept.extend(outputs.values())
            self.outputs[stage["name"]] = outputs
            self.calls.append(bound_call(session, binding))
            if self.runtime.driver is not None:
                binding.synchronize_inputs()
                self.calls.append(self.runtime.driver.synchronize)
            self.bindings.append(binding)


def bound_call(session: Any, binding: Any) -> Callable[[], object]:
    """``session.run_with_iobinding(binding)`` without its Python wrapper where that can be had."""
    inner, bound = getattr(session, "_sess", None), getattr(binding, "_iobinding", None)
    if inner is not None and hasattr(inner, "run_with_iobinding") and bound is not None:
        return functools.partial(inner.run_with_iobinding, bound, None)
    return functools.partial(session.run_with_iobinding, binding)
