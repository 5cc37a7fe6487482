"""The server and its one timing loop: answers requests line by line, for every runtime alike."""

from __future__ import annotations

import functools
import gc
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import BinaryIO

import numpy as np

from .board import Watch
from .counters import counters
from .cuda_driver import CudaDriver, open_driver
from .facts import facts
from .gpu import Gpu
from .litert import LiteRt
from .onnx_runtime import OnnxProgram, OnnxRuntime
from .protocol import Request, WorkerError, parsed
from .references import REFERENCES
from .stages import Chain
from .survey import survey
from .torch_runtime import TorchRuntime
from .tvm_runtime import TvmRuntime

Runtime = OnnxRuntime | LiteRt | TvmRuntime | TorchRuntime
Loaded = OnnxProgram | Chain
RUNTIMES: dict[str, Callable[[int, CudaDriver | None], Runtime]] = {
    "onnxruntime": OnnxRuntime,
    "litert": LiteRt,
    "tflite": functools.partial(LiteRt, name="tflite"),
    "tvm": TvmRuntime,
    "torch": TorchRuntime,
}


class Worker:
    """Serves one driver: keeps what is loaded, by handle."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self.threads = 1
        self.programs: dict[str, Loaded] = {}
        self.references: dict[str, Callable[[], None]] = {}
        self.first_call_ns = 0
        self.gpu: Gpu | None = None
        self.watch: Watch | Gpu = Watch()
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
            "facts": lambda _: {"facts": self.facts()},
            "survey": lambda asked: survey(asked["seconds"], self.facts),
            "reference": self.reference,
            "counters": lambda _: {"counters": self.counted()},
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
        if request["provider"] not in ("cpu", "cuda"):
            raise WorkerError(f"no provider {request['provider']!r}; known: cpu, cuda")
        driver = open_driver() if request["provider"] == "cuda" else None
        self.runtime = RUNTIMES[request["runtime"]](self.threads, driver)
        if driver is not None:
            self.gpu = self.watch = Gpu(driver)
        gc.freeze()  # what was imported stays; looking through it again at every load takes time
        return {"runtime": self.runtime.version, "pid": os.getpid()}

    def load(self, request: Request) -> Request:
        """Load a program under a new handle."""
        with nullcontext() if self.gpu is None else self.gpu.loading():
            program = self.ready.load(request["stages"])
        handle = f"p{next(self.numbers)}"
        self.programs[handle] = program
        self.first_call_ns += getattr(program, "first_call_ns", 0)  # where loading does not run it, nothing
        gc.collect()
        return {"handle": handle}

    def facts(self) -> Request:
        """What the machine, and the GPU in use if one is, are and do right now."""
        return facts(self.threads, self.ready.version) | ({} if self.gpu is None else self.gpu.facts())

    def counted(self) -> Request:
        """Numbers that only grow."""
        return {**counters(), **self.watch.look(), "first_call_ns": self.first_call_ns}

    def program(self, request: Request) -> Loaded:
        """What is loaded under the request's handle."""
        handle = request["handle"]
        if handle not in self.programs:
            raise WorkerError(f"no handle {handle!r}; loaded: {', '.join(self.programs) or 'nothing'}")
        return self.programs[handle]

    def time(self, request: Request) -> Request:
        """Samples of so many calls each, in a row; CPU time is this thread's, or all threads' if several."""
        return self.sampled(self.program(request).calls, request)

    def reference(self, request: Request) -> Request:
        """Time a reference workload, on the same clocks; made when first asked for."""
        name = request["workload"]
        known = REFERENCES if self.gpu is None else self.gpu.references
        if name not in known:
            raise WorkerError(f"no reference workload {name!r}; known: {', '.join(known)}")
        if name not in self.references:
            self.references[name] = known[name]()
        return self.sampled([self.references[name]], request)

    def sampled(self, runs: list[Callable[[], object]], request: Request) -> Request:
        """``samples`` samples of ``calls`` times all of ``runs``; a GPU is warm before, and idle before and after."""
        calls, gpu, start, end = request["calls"], self.gpu, 0, 0
        if gpu is not None:
            gpu.warm(runs)
        wall, cpu = time.perf_counter_ns, time.thread_time_ns if self.threads == 1 else time.process_time_ns
        walls, cpus = [], []
        for _ in range(request["samples"]):
            if gpu is not None:
                start = gpu.start()
            wall_start, cpu_start = wall(), cpu()
            for _ in itertools.repeat(None, calls):
                for run in runs:
                    run()
            if gpu is not None:
                end = gpu.stop()
            cpu_end, wall_end = cpu(), wall()
            walls.append(wall_end - wall_start)
            cpus.append(cpu_end - cpu_start)
            if gpu is not None:
                gpu.took(start, end)
            if len(walls) in (1, request["samples"]):
                self.watch.timed()
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
        if self.gpu is not None:
            raise WorkerError("kernels of a GPU are not timed one by one here; use a device with provider: cpu")
        if isinstance(runtime, OnnxRuntime):
            runtime = OnnxRuntime(self.threads, runtime.driver)
        elif isinstance(runtime, TorchRuntime):
            raise WorkerError(f"{runtime.version} is not profiled node by node here; use another runtime")
        return {"stages": runtime.profile(self.program(request).stages, request["calls"])}

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
