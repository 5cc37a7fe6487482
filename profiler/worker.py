"""The one timing loop: a JSON-lines server on stdin/stdout that loads, runs and times programs.

This file is self-contained (standard library, numpy, the runtime) and is copied to a device as it
is. Every request is a line ``{"id": 1, "op": "time", ...}``, every reply a line with the same id;
a failed request is answered ``{"id": 1, "error": {"type": ..., "message": ...}}`` and the server
goes on. It ends when stdin does, so it never outlives who started it. Operations:

hello    runtime, threads, cores (or null), provider  -> runtime (with its version), pid
load     stages: name, path, reference, repeat, feeds, carry, initial, counter  -> handle
time     handle, calls, samples                       -> wall_ns, cpu_ns (whole samples)
run      handle, inputs (an .npz, or null), outputs (where to write an .npz)
profile  handle, calls -> stages: name, runs of its graph in a call, nodes: name, op, us (all runs of a call)
survey   seconds  -> facts, after, noise, clock, processes: what would disturb a measurement
reference  workload, calls, samples                   -> wall_ns, cpu_ns, of a workload that is built in
counters -> numbers that only grow, of what may disturb
facts, ping, unload (handle), quit
"""

from __future__ import annotations

import functools
import gc
import hashlib
import itertools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # the reference workloads are of one thread

import numpy as np

Request = dict[str, Any]
Arrays = dict[str, Any]
Layout = dict[str, tuple[tuple[int, ...], Any]]
ALIGNMENT = 64
WARM_UP_CALLS = 5


class WorkerError(Exception):
    """A request that cannot be served; the driver is told the message."""


class OnnxRuntime:
    """Programs on ONNX Runtime, every input and output bound before the clock starts.

    ``run_with_iobinding`` is the cheapest way to call a session, and calling it on the inner
    session saves a third of a microsecond of Python more. One binding is made for every iteration
    of every stage, so that nothing but the graph is left inside the timed loop. Carried outputs
    alternate between two buffers: an iteration reads one and writes the other.

    ``provider="cuda"`` keeps values on the first GPU; that path has not been run on one yet.
    """

    def __init__(self, threads: int, provider: str) -> None:
        import onnxruntime  # type: ignore[import-untyped, unused-ignore]

        self.ort = onnxruntime
        self.device = provider
        wanted = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[provider]
        if wanted not in onnxruntime.get_available_providers():
            raise WorkerError(f"this onnxruntime has no {wanted}; install onnxruntime-gpu, or use provider: cpu")
        self.providers = [wanted]
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        self.options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.options.log_severity_level = 3
        self.version = f"onnxruntime-{onnxruntime.__version__}" + ("" if provider == "cpu" else f"-{provider}")
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
            session = self.ort.InferenceSession(path, self.options, providers=self.providers)
        self.sessions[path] = (session, users + 1)

    def _release(self, paths: list[str]) -> None:
        for path in paths:
            session, users = self.sessions.pop(path)
            if users > 1:
                self.sessions[path] = (session, users - 1)

    def place(self, array: Any) -> Any:
        """An OrtValue of the array's content, on the device and aligned as the runtime's own are."""
        if self.device != "cpu":
            return self.ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self.device, 0)
        value = aligned(array.nbytes).view(array.dtype).reshape(array.shape)
        value[...] = array
        return self.ort.OrtValue.ortvalue_from_numpy(value)

    def room(self, buffer: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """An OrtValue to write to, in ``buffer`` where the CPU can see it."""
        if self.device != "cpu":
            return self.ort.OrtValue.ortvalue_from_shape_and_type(list(shape), dtype, self.device, 0)
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
            self.synchronize()
            return {name: value.numpy() for name, value in self.outputs[self.stages[-1]["name"]].items()}
        unknown = sorted(set(replaced) - set(self.references[0]))
        if unknown:
            raise WorkerError(f"no input {', '.join(unknown)}; known: {', '.join(self.references[0])}")
        finals, _ = self._walk([self.references[0] | replaced, *self.references[1:]])
        return finals[-1]

    def synchronize(self) -> None:
        """Wait until a GPU has done what it was told; nothing on a CPU."""
        if self.runtime.device != "cpu":
            self.bindings[-1].synchronize_outputs()

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
            self.bindings.append(binding)


class LiteRt:
    """Programs on LiteRT (TFLite), with its XNNPACK kernels. A graph has fixed shapes and keeps its state.

    The names of inputs and outputs are those of the file's tensors. An int8 tensor is given and
    returned as the real numbers it stands for: quantising is the caller's part, and not timed.
    """

    def __init__(self, threads: int, provider: str) -> None:
        if provider != "cpu":
            raise WorkerError(f"the runtime litert has no provider {provider!r}; use provider: cpu")
        try:
            from ai_edge_litert import interpreter  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError as exc:
            raise WorkerError(f"the runtime litert needs ai-edge-litert ({exc}); pip install 'hwnas[litert]'") from exc
        self.interpreter = interpreter.Interpreter
        self.threads = threads
        self.version = f"litert-{metadata.version('ai-edge-litert')}"

    def open(self, path: str) -> Any:
        """An interpreter of a graph, its memory laid out."""
        opened = self.interpreter(model_path=path, num_threads=self.threads)
        opened.allocate_tensors()
        return opened

    def load(self, stages: list[Request]) -> LiteRtProgram:
        """An interpreter for every stage, and what moves values between them."""
        return LiteRtProgram(self, stages)

    def unload(self, program: Any) -> None:
        """Free the program's interpreters."""
        for held in (program.calls, program.graphs):
            held.clear()


class LiteRtProgram:
    """Stages as interpreters; ``calls`` also copies what a stage carries or is fed, as a deployed loop must."""

    def __init__(self, runtime: LiteRt, stages: list[Request]) -> None:
        require_stages(stages)
        self.stages = stages
        self.references = [inputs_of(stage) for stage in stages]
        self.graphs: dict[str, LiteRtGraph] = {}
        self.calls: list[Callable[[], object]] = []
        for stage, reference in zip(stages, self.references, strict=True):
            graph = LiteRtGraph(runtime.open(stage["path"]), f"stage {stage['name']}")
            check_wiring(stage, list(graph.inputs))
            self.graphs[stage["name"]] = graph
            for iteration in range(stage["repeat"]):
                for name in graph.inputs:
                    self._give(stage, graph, name, iteration, reference)
                self.calls.append(graph.invoke)

    def evaluate(self, replaced: Arrays | None) -> Arrays:
        """Outputs of the last stage, by the calls that are timed, for the reference inputs or others."""
        first, reference = self.graphs[self.stages[0]["name"]], self.references[0]
        unknown = sorted(set(replaced or {}) - set(reference))
        if unknown:
            raise WorkerError(f"no input {', '.join(unknown)}; known: {', '.join(reference)}")
        try:
            for name, value in (replaced or {}).items():
                first.set(name, value)
            for call in self.calls:
                call()
        finally:
            for name in replaced or {}:
                first.set(name, reference[name])
        last = self.graphs[self.stages[-1]["name"]]
        return {name: last.get(name) for name in last.outputs}

    def synchronize(self) -> None:
        """Nothing: a call returns when it is done."""

    def _give(self, stage: Request, graph: LiteRtGraph, name: str, iteration: int, reference: Arrays) -> None:
        """Set a fixed input now, and make a call of what changes."""
        where = f"stage {stage['name']}: input {name}"
        if name in stage["carry"] and iteration > 0:
            self.calls.append(graph.mover(name, graph, stage["carry"][name], where))
        elif name in stage["feeds"]:
            origin, _, output = stage["feeds"][name].partition(".")
            self.calls.append(graph.mover(name, lookup(self.graphs, origin, where), output, where))
        elif name in stage["carry"] or name == stage["counter"]:
            value = source(stage, name, iteration, {}, reference)
            graph.set(name, value)
            self.calls.append(functools.partial(graph.write, name, graph.encode(name, value)))
        elif iteration == 0:
            graph.set(name, lookup(reference, name, where))


class LiteRtGraph:
    """One interpreter, its tensors by name."""

    def __init__(self, interpreter: Any, where: str) -> None:
        self.where = where
        self.inputs = {detail["name"]: detail for detail in interpreter.get_input_details()}
        self.outputs = {detail["name"]: detail for detail in interpreter.get_output_details()}
        self.views = {
            detail["index"]: interpreter.tensor(detail["index"])
            for detail in [*self.inputs.values(), *self.outputs.values()]
        }
        inner = getattr(interpreter, "_interpreter", None)  # without the check for views that are held
        self.invoke: Callable[[], object] = getattr(inner, "Invoke", interpreter.invoke)

    def set(self, name: str, value: Any) -> None:
        """Give an input real numbers."""
        self.write(name, self.encode(name, value))

    def get(self, name: str) -> Any:
        """An output as real numbers, or as the integers it holds if it is not quantised."""
        detail = self.outputs[name]
        raw, (scale, zero) = self.views[detail["index"]](), detail["quantization"]
        return raw.copy() if scale == 0 else ((raw.astype(np.float32) - zero) * scale).astype(np.float32)

    def write(self, name: str, raw: Any) -> None:
        """Give an input what its memory shall hold."""
        np.copyto(self.views[self.inputs[name]["index"]](), raw)

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

    def mover(self, name: str, origin: LiteRtGraph, output: str, where: str) -> Callable[[], object]:
        """What copies an output to an input; if they are quantised differently, by way of real numbers."""
        taken, given = lookup(origin.outputs, output, where), self.inputs[name]
        if sizes(taken) != sizes(given):
            raise WorkerError(f"{where} has the fixed shape {sizes(given)}, but {output} is {sizes(taken)}")
        if (taken["dtype"], taken["quantization"]) != (given["dtype"], given["quantization"]):
            return lambda: self.set(name, origin.get(output))
        target, taken_from = self.views[given["index"]], origin.views[taken["index"]]
        return lambda: np.copyto(target(), taken_from())


def sizes(detail: Arrays) -> tuple[int, ...]:
    """The shape of an interpreter's tensor."""
    return tuple(int(size) for size in detail["shape"])


def require_stages(stages: list[Request]) -> None:
    """Refuse a program without stages, or with two of one name."""
    if not stages or len({stage["name"] for stage in stages}) < len(stages):
        raise WorkerError("a program needs stages, and each a name of its own")


def inputs_of(stage: Request) -> Arrays:
    """The reference inputs of a stage's graph."""
    with np.load(stage["reference"], allow_pickle=False) as stored:
        return {key[6:]: stored[key] for key in stored.files if key.startswith("input/")}


def check_wiring(stage: Request, inputs: list[str]) -> None:
    """Refuse a stage that wires an input its graph does not have, or carries one from nowhere."""
    counter = [] if stage["counter"] is None else [stage["counter"]]
    for name in [*stage["carry"], *stage["feeds"], *stage["initial"], *counter]:
        if name not in inputs:
            raise WorkerError(f"stage {stage['name']}: no input {name!r}; known: {', '.join(inputs)}")
    for name in stage["carry"]:
        if name not in stage["initial"]:
            raise WorkerError(f"stage {stage['name']}: input {name} is carried, but has no initial shape")


def source(stage: Request, name: str, iteration: int, known: dict[str, Arrays], reference: Arrays) -> Any:
    """What an input is given in an iteration; ``known`` has the last outputs of each stage so far."""
    where = f"stage {stage['name']}: input {name}"
    if name in stage["carry"]:
        if iteration > 0:
            return lookup(known[stage["name"]], stage["carry"][name], where)
        return np.zeros(stage["initial"][name], lookup(reference, name, where).dtype)
    if name in stage["feeds"]:
        origin, _, output = stage["feeds"][name].partition(".")
        return lookup(lookup(known, origin, where), output, where)
    if name == stage["counter"]:
        return np.array([iteration], np.int64)
    return lookup(reference, name, where)


def size_bytes(shape: tuple[int, ...], dtype: Any) -> int:
    """Bytes an array takes."""
    return int(np.prod(shape, dtype=np.int64)) * int(np.dtype(dtype).itemsize)


def bound_call(session: Any, binding: Any) -> Callable[[], object]:
    """``session.run_with_iobinding(binding)`` without its Python wrapper where that can be had."""
    inner, bound = getattr(session, "_sess", None), getattr(binding, "_iobinding", None)
    if inner is not None and hasattr(inner, "run_with_iobinding") and bound is not None:
        return functools.partial(inner.run_with_iobinding, bound, None)
    return functools.partial(session.run_with_iobinding, binding)


def aligned(size: int) -> Any:
    """Bytes that start at a multiple of 64, as the runtime's allocator gives them."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def lookup(values: dict[str, Any], name: str, where: str) -> Any:
    """``values[name]``, or an error that says what is missing and what there is."""
    if name not in values:
        raise WorkerError(f"{where} needs {name!r}; known: {', '.join(values) or 'nothing'}")
    return values[name]


Runtime = OnnxRuntime | LiteRt
Loaded = OnnxProgram | LiteRtProgram


class Streaming:
    """Reference workload bound by memory: copies a piece of a buffer the caches cannot hold.

    Each call goes on where the last one ended, so that by its next turn a piece has been evicted. The buffer is
    twice the largest cache, at most 128 MiB and an eighth of the memory that is free.
    """

    PIECE = 1 << 20

    def __init__(self) -> None:
        free = memory()["memory_available_bytes"] or 1 << 30
        wanted = min(2 * (cache_bytes() or 1 << 24), 1 << 27, free // 8)
        pieces = max(4, wanted // self.PIECE)
        self.source = np.ones((pieces, self.PIECE // 8), np.float64)
        self.target = np.ones(self.PIECE // 8, np.float64)
        self.turns = itertools.cycle(self.source)

    def __call__(self) -> None:
        """One piece."""
        np.copyto(self.target, next(self.turns))


class Multiplying:
    """Reference workload bound by compute: a product of float32 matrices that fit the second cache."""

    SIDE = 128

    def __init__(self) -> None:
        values = np.linspace(-1, 1, self.SIDE * self.SIDE, dtype=np.float32).reshape(self.SIDE, self.SIDE)
        self.one, self.other, self.product = values, values.T.copy(), np.empty_like(values)

    def __call__(self) -> None:
        """One product."""
        np.dot(self.one, self.other, out=self.product)


REFERENCES: dict[str, Callable[[], Callable[[], None]]] = {"compute": Multiplying, "memory": Streaming}
RUNTIMES: dict[str, Callable[[int, str], Runtime]] = {"onnxruntime": OnnxRuntime, "litert": LiteRt}


class Worker:
    """Serves one driver: keeps what is loaded, by handle."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self.threads = 1
        self.programs: dict[str, Loaded] = {}
        self.references: dict[str, Callable[[], None]] = {}
        self.first_call_ns = 0
        self.numbers = itertools.count(1)

    def handle(self, request: Request) -> Request:
        """The reply to one request, without its id."""
        operations: dict[str, Callable[[Request], Request]] = {
            "hello": self.hello,
            "load": self.load,
            "time": self.time,
            "run": self.run,
            "profile": self.profile,
            "unload": self.unload,
            "facts": lambda _: {"facts": facts(self.threads, self.ready.version)},
            "survey": lambda asked: survey(asked["seconds"], self.threads, self.ready.version),
            "reference": self.reference,
            "counters": lambda _: {"counters": {**counters(), "first_call_ns": self.first_call_ns}},
            "ping": lambda _: {},
        }
        operation = request.get("op")
        if operation not in operations:
            raise WorkerError(f"no operation {operation!r}; known: {', '.join(operations)}, quit")
        return operations[operation](request)

    @property
    def ready(self) -> Runtime:
        """The runtime; an error before hello."""
        if self.runtime is None:
            raise WorkerError("say hello first")
        return self.runtime

    def hello(self, request: Request) -> Request:
        """Choose the runtime; threads it starts later inherit the affinity set here."""
        if self.runtime is not None:
            raise WorkerError("hello was said before")
        self.threads = request["threads"]
        if request["cores"] is not None:
            if not hasattr(os, "sched_setaffinity"):
                raise WorkerError("this system cannot pin threads to cores; leave out cores")
            os.sched_setaffinity(0, request["cores"])
        if request["runtime"] not in RUNTIMES:
            raise WorkerError(f"no runtime {request['runtime']!r}; known: {', '.join(RUNTIMES)}")
        self.runtime = RUNTIMES[request["runtime"]](self.threads, request["provider"])
        gc.freeze()  # what was imported stays; looking through it again at every load takes time
        return {"runtime": self.runtime.version, "pid": os.getpid()}

    def load(self, request: Request) -> Request:
        """Load a program under a new handle."""
        program = self.ready.load(request["stages"])
        handle = f"p{next(self.numbers)}"
        self.programs[handle] = program
        self.first_call_ns += getattr(program, "first_call_ns", 0)  # where loading does not run it, nothing
        gc.collect()
        return {"handle": handle}

    def program(self, request: Request) -> Loaded:
        """What is loaded under the request's handle."""
        handle = request["handle"]
        if handle not in self.programs:
            raise WorkerError(f"no handle {handle!r}; loaded: {', '.join(self.programs) or 'nothing'}")
        return self.programs[handle]

    def time(self, request: Request) -> Request:
        """Samples of so many calls each, in a row; CPU time is this thread's, or all threads' if several."""
        program = self.program(request)
        return self.sampled(program.calls, request, program.synchronize)

    def reference(self, request: Request) -> Request:
        """Time a reference workload, on the same clocks; made when first asked for."""
        name = request["workload"]
        if name not in REFERENCES:
            raise WorkerError(f"no reference workload {name!r}; known: {', '.join(REFERENCES)}")
        if name not in self.references:
            self.references[name] = REFERENCES[name]()
        return self.sampled([self.references[name]], request, lambda: None)

    def sampled(self, runs: list[Callable[[], object]], request: Request, synchronize: Callable[[], None]) -> Request:
        """``samples`` samples of ``calls`` times all of ``runs``."""
        calls = request["calls"]
        wall, cpu = time.perf_counter_ns, time.thread_time_ns if self.threads == 1 else time.process_time_ns
        walls, cpus = [], []
        for _ in range(request["samples"]):
            wall_start, cpu_start = wall(), cpu()
            for _ in itertools.repeat(None, calls):
                for run in runs:
                    run()
            synchronize()
            cpu_end, wall_end = cpu(), wall()
            walls.append(wall_end - wall_start)
            cpus.append(cpu_end - cpu_start)
        return {"wall_ns": walls, "cpu_ns": cpus}

    def run(self, request: Request) -> Request:
        """Write the outputs as an .npz."""
        replaced = None
        if request["inputs"] is not None:
            with np.load(request["inputs"], allow_pickle=False) as stored:
                replaced = {name: stored[name] for name in stored.files}
        np.savez(request["outputs"], **self.program(request).evaluate(replaced))
        return {}

    def profile(self, request: Request) -> Request:
        """Each node's time by the runtime's own profiler, in sessions of their own: it slows them down."""
        runtime = self.ready
        if not isinstance(runtime, OnnxRuntime):
            raise WorkerError(f"{runtime.version} is not profiled node by node here; use a device with onnxruntime")
        watched = OnnxRuntime(self.threads, runtime.device)
        return {"stages": watched.profile(self.program(request).stages, request["calls"])}

    def unload(self, request: Request) -> Request:
        """Free a program, and give its memory back to the system where libc can be asked to."""
        self.ready.unload(self.program(request))
        del self.programs[request["handle"]]
        gc.collect()
        if sys.platform == "linux":
            import ctypes

            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:
                trim(0)
        return {}


def both_clocks_ns() -> tuple[int, int | None]:
    """The clock that counts and the undisciplined one, read without a pause in between."""
    if not hasattr(time, "CLOCK_MONOTONIC_RAW"):
        return time.perf_counter_ns(), None
    readings = []
    for _ in range(5):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        wall = time.perf_counter_ns()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        readings.append((after - before, wall, (before + after) // 2))
    _, wall, raw = min(readings)
    return wall, raw


def counters() -> Request:
    """Numbers that only grow; those this system tells."""
    import resource

    wall_ns, raw_ns = both_clocks_ns()
    known = {
        "nivcsw": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
        "steal_jiffies": jiffies()["steal_jiffies"],
        "pressure_us": number((read("/proc/pressure/cpu") or "").partition("total=")[2].partition("\n")[0]),
        "wall_ns": wall_ns,
        "raw_ns": raw_ns,
    }
    return {name: value for name, value in known.items() if value is not None}


def node_times(events: list[Request], runs: int, calls: int) -> list[Request]:
    """Microseconds of every node in a call of ``runs`` runs, from the last ``calls`` calls of a profile.

    Durations are cut to whole microseconds, more than a small kernel takes. So a node's time is
    from its start to the next one's start: starts are cut too, but the mean of their differences
    is right. Blocks of calls are averaged, and of these the lower half.
    """
    found: list[list[Request]] = [[]]
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            found[-1].append(event)
        elif found[-1]:
            found.append([])
    found = [run for run in found if run][-runs * calls :]
    if len(found) < runs * calls or any(len(run) != len(found[0]) for run in found):
        raise WorkerError("this graph does not run the same nodes each time; it cannot be profiled")
    starts = np.array([[event["ts"] for event in run] for run in found], np.float64)
    lasts = np.array([[event["dur"] for event in run] for run in found], np.float64)
    steps = np.diff(starts, axis=1)
    between = float(np.median(steps - lasts[:, :-1])) if steps.size else 0.0
    steps = np.hstack([steps, lasts[:, -1:] + between]).reshape(calls, runs, -1).sum(axis=1)
    blocks = np.sort([block.mean(axis=0) for block in np.array_split(steps, min(calls, 20))], axis=0)
    times = blocks[: (len(blocks) + 1) // 2].mean(axis=0)
    return [
        {"name": event["name"].removesuffix("_kernel_time"), "op": event["args"]["op_name"], "us": round(us, 3)}
        for event, us in zip(found[0], times.tolist(), strict=True)
    ]


def facts(threads: int, runtime: str) -> Request:
    """What the machine is and does right now; null for what it does not tell."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "time_s": round(time.time(), 3),
        "cpu_model": cpu_model(),
        "board": (read("/proc/device-tree/model") or "").rstrip("\0") or None,
        "machine": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
        "host": hashlib.sha256(platform.node().encode()).hexdigest()[:12],
        "hypervisor": hypervisor(),
        "cores": os.cpu_count(),
        "affinity": affinity,
        "threads": threads,
        **frequency(affinity or [0]),
        "smt": number(read("/sys/devices/system/cpu/smt/active")),
        "throttled_bits": throttled_bits(),
        "mains": max(
            (number(read(path)) or 0 for path in Path("/sys/class/power_supply").glob("A*/online")), default=None
        ),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "cache_bytes": cache_bytes(),
        **jiffies(),
        **{f"pressure_{what}": read(f"/proc/pressure/{what}") for what in ("cpu", "memory", "io")},
        **cgroup(),
        **memory(),
        "disk_free_bytes": shutil.disk_usage(tempfile.gettempdir()).free,
        "temperature_millidegrees": {
            zone.parent.name: number(read(zone)) for zone in sorted(Path("/sys/class/thermal").glob("*/temp"))
        },
        "clock_source": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "clock_resolution_ns": {
            "wall": time.get_clock_info("perf_counter").resolution * 1e9,
            "cpu": time.get_clock_info("thread_time" if threads == 1 else "process_time").resolution * 1e9,
        },
        "python": platform.python_version(),
        "numpy": np.__version__,
        "libc": "-".join(platform.libc_ver()),
        "runtime": runtime,
    }


def survey(seconds: float, threads: int, runtime: str) -> Request:
    """Facts before and after ``seconds`` of one thread's work in samples of 2 ms, and what else ran meanwhile."""
    before, used, started = facts(threads, runtime), process_ticks(), time.monotonic()
    noise = noise_samples(seconds)
    after, elapsed_s = facts(threads, runtime), time.monotonic() - started
    return {
        "facts": before,
        "after": after,
        "elapsed_s": elapsed_s,
        "noise": noise,
        "clock": {"wall": clock_steps(time.perf_counter_ns), "cpu": clock_steps(time.thread_time_ns)},
        "processes": busy_processes(used, elapsed_s),
    }


def noise_samples(seconds: float, sample_ms: float = 2.0) -> Request:
    """Both clocks' time for the same work (hashing what fits a cache), sample by sample; ns."""
    block = bytes(1 << 16)
    work = hashlib.sha256
    began = time.perf_counter_ns()
    for _ in range(100):
        work(block)
    repeats = max(1, int(sample_ms * 1e6 / ((time.perf_counter_ns() - began) / 100)))
    walls, cpus = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        for _ in range(repeats):
            work(block)
        cpus.append(time.thread_time_ns() - cpu)
        walls.append(time.perf_counter_ns() - wall)
    return {"wall_ns": walls, "cpu_ns": cpus}


def clock_steps(clock: Callable[[], int], readings: int = 2000) -> Request:
    """The smallest step seen of a clock in ns (null: it did not move), and how often it went back."""
    steps: list[int] = []
    before = clock()
    end = time.monotonic() + 0.1
    while len(steps) < readings and time.monotonic() < end:
        now = clock()
        if now != before:
            steps.append(now - before)
            before = now
    return {"step_ns": min((step for step in steps if step > 0), default=None), "back": sum(s < 0 for s in steps)}


def process_ticks() -> dict[int, tuple[str, int]]:
    """Name and CPU ticks so far of every process but this one; empty without /proc."""
    known = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        name, _, rest = (read(path) or "").partition("(")[2].rpartition(")")
        if len(fields := rest.split()) > 12 and (pid := int(path.parent.name)) != os.getpid():
            known[pid] = (name, int(fields[11]) + int(fields[12]))
    return known


def busy_processes(before: dict[int, tuple[str, int]], elapsed_s: float) -> list[Request] | None:
    """Other processes that took over 2 % of a core since ``before``, the busiest first; null if unknown."""
    after = process_ticks()
    if not after:
        return None
    ticks = os.sysconf("SC_CLK_TCK") * elapsed_s
    shares = [((used - before.get(pid, (name, 0))[1]) / ticks, pid, name) for pid, (name, used) in after.items()]
    busiest = sorted((share for share in shares if share[0] > 0.02), reverse=True)[:5]
    return [{"pid": pid, "name": name, "cores": round(cores, 3)} for cores, pid, name in busiest]


def frequency(cores: list[int]) -> Request:
    """How the clock of the cores in use is governed; of the first of them in kHz."""
    policies = [Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq") for core in cores]
    governors = {name for policy in policies if (name := read(policy / "scaling_governor"))}
    no_turbo = number(read("/sys/devices/system/cpu/intel_pstate/no_turbo"))
    boost = number(read("/sys/devices/system/cpu/cpufreq/boost"))
    return {
        "governor": ",".join(sorted(governors)) or None,
        "frequency_khz": {
            **{which: number(read(policies[0] / f"scaling_{which}_freq")) for which in ("cur", "min", "max")},
            "hardware_max": number(read(policies[0] / "cpuinfo_max_freq")),
        },
        "turbo": 1 - no_turbo if no_turbo is not None else boost,
    }


def throttled_bits() -> int | None:
    """A Raspberry Pi's throttling register: bits 0-3 now, 16-19 since boot (voltage, cap, throttle, heat)."""
    for path in Path("/sys/devices/platform").glob("soc*/soc*:firmware/get_throttled"):
        if text := read(path):
            return int(text, 16)
    if (tool := shutil.which("vcgencmd")) is None:
        return None
    done = subprocess.run([tool, "get_throttled"], capture_output=True, text=True, check=False)
    _, _, value = done.stdout.strip().partition("=")
    return int(value, 16) if value.startswith("0x") else None


def hypervisor() -> bool | None:
    """Whether this is a virtual machine; null where the processor does not say."""
    flags = next((line for line in (read("/proc/cpuinfo") or "").splitlines() if line.startswith("flags")), None)
    return None if flags is None else "hypervisor" in flags.split()


def cgroup() -> Request:
    """Cores this process may use by its control group (null: no limit known), and time it was held up so far."""
    own = next((line[3:] for line in (read("/proc/self/cgroup") or "").splitlines() if line.startswith("0::")), "/")
    root = Path("/sys/fs/cgroup")
    quotas = []
    for folder in [root / own.strip("/"), *(root / own.strip("/")).parents]:
        words = (read(folder / "cpu.max") or "max").split()
        if words[0] != "max":
            quotas.append(int(words[0]) / int(words[1]))
    quota, period = (number(read(root / f"cpu/cpu.cfs_{name}_us")) for name in ("quota", "period"))
    if quota is not None and quota > 0 and period:
        quotas.append(quota / period)
    stat = read(root / own.strip("/") / "cpu.stat") or read(root / "cpu/cpu.stat") or ""
    held = {words[0]: int(words[1]) for line in stat.splitlines() if len(words := line.split()) == 2}
    throttled_ns = held.get("throttled_time", held["throttled_usec"] * 1000 if "throttled_usec" in held else None)
    return {"cpu_quota_cores": min(quotas, default=None), "cpu_throttled_ns": throttled_ns}


def read(path: str | Path) -> str | None:
    """A small file's text, or None."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def number(text: str | None) -> int | None:
    """The whole number a file or command gave, or None."""
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def sysctl(name: str) -> str | None:
    """A macOS kernel value, or None elsewhere."""
    if sys.platform != "darwin":
        return None
    try:
        done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def cache_bytes() -> int | None:
    """Size of the largest cache of the first core."""
    sizes = [read(path) for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    units = {"K": 2**10, "M": 2**20}
    known = [int(size[:-1]) * units[size[-1]] for size in sizes if size and size[:-1].isdigit() and size[-1] in units]
    known += [size for name in ("hw.l3cachesize", "hw.l2cachesize") if (size := number(sysctl(name)))]
    return max(known, default=None)


def cpu_model() -> str | None:
    """The processor's name: x86 says ``model name``, boards ``Model`` or only part numbers."""
    lines = (line.partition(":") for line in (read("/proc/cpuinfo") or "").splitlines())
    described = {key.strip(): value.strip() for key, _, value in lines}
    for key in ("model name", "Model", "Hardware", "CPU part"):
        if described.get(key):
            return described[key]
    return sysctl("machdep.cpu.brand_string") or platform.processor() or None


def jiffies() -> Request:
    """Clock ticks since boot, all cores: in total, idle, and stolen by the host of a virtual machine."""
    line = (read("/proc/stat") or "").partition("\n")[0].split()[1:9]
    known = len(line) == 8
    return {
        "total_jiffies": sum(map(int, line)) if known else None,
        "idle_jiffies": int(line[3]) + int(line[4]) if known else None,
        "steal_jiffies": int(line[7]) if known else None,
    }


def memory() -> Request:
    """Memory and swap of the machine in bytes."""
    lines = (line.split() for line in (read("/proc/meminfo") or "").splitlines())
    kilobytes = {words[0]: number(words[1]) for words in lines if len(words) > 1}
    known = {key: value * 1024 for key, value in kilobytes.items() if value is not None}
    return {
        "memory_total_bytes": known.get("MemTotal:") or number(sysctl("hw.memsize")),
        "memory_available_bytes": known.get("MemAvailable:"),
        "swap_total_bytes": known.get("SwapTotal:"),
        "swap_free_bytes": known.get("SwapFree:"),
    }


def parsed(line: bytes) -> Request:
    """The request in a line, or an error."""
    request = json.loads(line)
    if not isinstance(request, dict):
        raise WorkerError("a request is an object")
    return request


def reply_to(worker: Worker, line: bytes) -> Request | None:
    """The reply to one line; None to quit."""
    request: Request = {}
    try:
        request = parsed(line)
        if request.get("op") == "quit":
            return None
        return {"id": request.get("id"), **worker.handle(request)}
    except Exception as exc:
        kind, message = type(exc).__name__, " ".join(str(exc).split()) or type(exc).__name__
        if isinstance(exc, KeyError):
            kind, message = "WorkerError", f"the request lacks {message}"
        return {"id": request.get("id"), "error": {"type": kind, "message": message[:2000]}}


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer line by line until stdin ends or quit."""
    worker = Worker()
    for line in iter(requests.readline, b""):
        reply = reply_to(worker, line)
        if reply is None:
            break
        replies.write(json.dumps(reply, separators=(",", ":")).encode() + b"\n")
        replies.flush()


def main() -> None:
    """Keep stdout for replies alone: whatever a library prints there goes to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        serve(sys.stdin.buffer, replies)
    except BrokenPipeError:
        pass
    finally:
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
