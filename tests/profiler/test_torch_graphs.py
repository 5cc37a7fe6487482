"""Captured graphs of the runtime torch, where CUDA is made up: operators are recorded, and replayed in their memory."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the runtime itself")

from contracts.cuda_driver import FakeDriver  # noqa: E402
from contracts.tflite_graphs import golden  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from exporters import Artifact  # noqa: E402
from exporters.pt2 import Pt2Exporter  # noqa: E402
from profiler.parity import reference_tensors  # noqa: E402
from profiler.worker.protocol import WorkerError  # noqa: E402
from profiler.worker.torch_runtime import WARM_UP_CALLS, TorchRuntime  # noqa: E402


class Graph(TorchDispatchMode):
    """Like a CUDA graph: a replay reads and writes the very memory of the capture, and hands nothing back."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: list[tuple[Any, ...]] = []
        self.replays = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        self.recorded.append((function, args, kwargs or {}, out))
        return out

    @torch.inference_mode()
    def replay(self) -> None:
        self.replays += 1
        for function, args, kwargs, out in self.recorded:
            out.copy_(function(*args, **kwargs))


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """The graphs that were made."""
    made: list[Graph] = []

    def graph() -> Graph:
        made.append(Graph())
        return made[-1]

    @contextmanager
    def capture(graph: Graph) -> Iterator[None]:
        with graph:
            yield

    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, value in {
        "is_available": lambda: True, "Stream": lambda: stream, "current_stream": lambda: stream,
        "stream": lambda stream: nullcontext(), "CUDAGraph": graph, "graph": capture, "empty_cache": lambda: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    return made


@pytest.fixture
def runtime(graphs: list[Graph]) -> TorchRuntime:
    runtime = TorchRuntime(1, FakeDriver())
    runtime.device = "cpu"
    return runtime


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, Artifact]:
    cases = golden()
    return {s: Pt2Exporter().export(*cases[s][:2], tmp_path / f"{s}.pt2") for s in ("linear", "counting", "feed")}


def stage(artifact: Artifact, name: str = "graph", repeat: int = 1, **wiring: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"feeds": {}, "carry": {}, "initial": {}, "counter": None}
    paths = {"path": str(artifact.path), "reference": str(artifact.reference)}
    return {"name": name, "repeat": repeat, **paths, **plain, **wiring}


def test_a_replay_is_the_module(runtime: TorchRuntime, artifacts: dict[str, Artifact], graphs: list[Graph]) -> None:
    program = runtime.load([stage(artifacts["feed"])])
    inputs, outputs = reference_tensors(artifacts["feed"])
    assert np.allclose(program.evaluate(None)["y"], outputs["y"], atol=1e-6)
    other = program.evaluate({"x": -2 * np.asarray(inputs["x"])})["y"]
    assert np.allclose(other, golden()["feed"][0](torch.tensor(-2 * inputs["x"])).detach(), atol=1e-6)
    assert np.allclose(program.evaluate(None)["y"], outputs["y"], atol=1e-6)
    assert [graph.replays for graph in graphs] == [3]


@pytest.mark.parametrize("repeat", [1, 2, 5])
def test_a_loop_carries_its_cache_within_the_gpu(
    runtime: TorchRuntime, artifacts: dict[str, Artifact], graphs: list[Graph], repeat: int
) -> None:
    loop = stage(
        artifacts["counting"], "step", repeat, feeds={"memory": "first.y"}, carry={"x": "y", "past": "next"},
        initial={"x": (1, 8), "past": (2, 8)}, counter="step",
    )  # fmt: skip
    program = runtime.load([stage(artifacts["linear"], "first"), loop])
    memory = reference_tensors(artifacts["linear"])[1]["y"]
    for _ in range(2):
        found = program.evaluate(None)
        totals = np.cumsum(np.arange(repeat, dtype=np.float32))
        assert np.allclose(found["y"], totals[-1])
        assert np.allclose(found["next"], np.tile(totals.sum() + repeat * memory, (2, 1)), atol=1e-5)
    assert [graph.replays for graph in graphs] == [2, 2 * repeat]  # captured once, not for each iteration


def test_memory_is_given_back_once_nothing_of_a_program_is_left(
    runtime: TorchRuntime, artifacts: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = runtime.load([stage(artifacts["feed"])])
    graph = weakref.ref(program.graphs["graph"])
    alive: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(graph() is not None))
    gc.disable()  # as in the worker
    try:
        runtime.unload(program)
    finally:
        gc.enable()
    assert alive == [False]


def test_every_replay_is_waited_for(runtime: TorchRuntime, artifacts: dict[str, Artifact]) -> None:
    driver = runtime.driver
    assert isinstance(driver, FakeDriver)
    program = runtime.load([stage(artifacts["feed"])])
    driver.work(10**6)
    for call in program.calls:
        call()
    assert driver.now_ns >= driver.busy_ns > 10**6


def test_libraries_are_warm_before_the_capture(
    runtime: TorchRuntime, artifacts: dict[str, Artifact], graphs: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    opened = runtime.open

    def watched(path: str) -> Any:
        function = opened(path)

        def call(*tensors: Any) -> Any:
            called.append(len(graphs))
            return function(*tensors)

        return call

    monkeypatch.setattr(runtime, "open", watched)
    runtime.load([stage(artifacts["feed"])])
    assert called == [0] * WARM_UP_CALLS + [1]


def test_a_torch_that_sees_no_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(WorkerError, match="sees no GPU; install a build for CUDA, or use provider: cpu"):
        TorchRuntime(1, FakeDriver())
