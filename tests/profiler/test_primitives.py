"""Profiles with known truth: what a node takes, what profiling adds, whole microseconds, bursts."""

import random

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the worker's runtime")
pytest.importorskip("onnx", reason="makes the graphs")

from contracts.graphs import counting, linear

from profiler import LocalDevice, Program, Stage, open_session
from profiler.primitives import IDLE_US, ProfilingSession, primitives
from profiler.worker.nodes import node_times
from profiler.worker.protocol import WorkerError

NODES = [
    ("/a/Gemm", "Gemm", 30.0),
    ("/a/Reshape", "Reshape", 0.2),
    ("/b/Softmax", "Softmax", 1.3),
    ("/b/Add", "Add", 0.5),
]


def events(runs, overhead_us=4.4, burst=0.0, seed=0):
    """What ONNX Runtime writes: whole microseconds since the start, a record of the run after its nodes."""
    rng = random.Random(seed)
    now, written = 0.3, []
    for _ in range(runs):
        for name, op, us in NODES:
            taken = us + overhead_us + rng.gauss(0, 0.05) + (500 if rng.random() < burst else 0)
            shown = int(now + us + 2.0) - int(now)
            written.append(
                {"cat": "Node", "name": f"{name}_kernel_time", "ts": int(now), "dur": shown, "args": {"op_name": op}}
            )
            now += taken
        now += 20 + rng.random()
        written.append({"cat": "Session", "name": "model_run", "ts": int(now), "dur": 100, "args": {}})
    return written


def profiled(written, runs, calls):
    return primitives({"stages": [{"name": "s", "runs": runs, "nodes": node_times(written, runs, calls)}]})


@pytest.mark.parametrize("burst", [0.0, 0.01])
@pytest.mark.parametrize("runs", [1, 4])
def test_what_profiling_costs_is_taken_off(runs, burst):
    found = profiled(events(5 * runs + 200 * runs, burst=burst), runs, 200)
    assert [(node.name, node.op, node.runs) for node in found] == [(name, op, runs) for name, op, _ in NODES]
    for node, (_, _, us) in list(zip(found, NODES, strict=True))[:-1]:
        assert node.latency_ms == pytest.approx(runs * us / 1e3, abs=runs * 0.1e-3)
        assert node.raw_ms == pytest.approx(runs * (us + 4.4) / 1e3, rel=0.05)
    assert sum(node.latency_ms for node in found) == pytest.approx(runs * 0.032, rel=0.05)


def test_only_the_last_calls_count():
    written = events(50)
    for event in written[: 40 * 5]:
        event["ts"] *= 7
    late = profiled(written, 1, 10)
    assert late[0].latency_ms == pytest.approx(0.030, abs=0.001)


def test_a_node_takes_what_it_took_in_the_better_profile():
    better, worse = ({"stages": [{"name": "s", "runs": 1, "nodes": node_times(events(100, over), 1, 90)}]}
                     for over in (4.4, 4.8))  # fmt: skip
    assert primitives(better, worse) == primitives(worse, better) == primitives(better)


def test_without_a_node_that_does_nothing_the_cheapest_is_one():
    stage = {
        "name": "s",
        "runs": 2,
        "nodes": [{"name": "a", "op": "Gemm", "us": 20.0}, {"name": "b", "op": "Add", "us": 10.0}],
    }
    found = primitives({"stages": [stage]})
    assert [node.latency_ms for node in found] == pytest.approx([2 * (5.0 + IDLE_US) / 1e3, 2 * IDLE_US / 1e3])


def test_a_graph_with_branches_is_refused():
    written = events(20)
    del written[7]
    with pytest.raises(WorkerError, match="does not run the same nodes each time"):
        node_times(written, 1, 20)


def test_a_loop_is_profiled_by_the_runtime(tmp_path):
    program = Program(
        (
            Stage("first", linear(tmp_path / "first.onnx")),
            Stage(
                "step", counting(tmp_path / "step.onnx"), repeat=3, feeds={"memory": "first.y"},
                carry={"x": "y", "past": "grown"}, initial={"x": (1, 8), "past": (0, 8)}, counter="step",
            ),
        )
    )  # fmt: skip
    session = open_session(LocalDevice(name="here", kind="local"))
    try:
        assert isinstance(session, ProfilingSession)
        handle = session.load(program)
        found = primitives(session.profile(handle, 10), session.profile(handle, 10))
        assert np.isfinite(session.run(handle)["y"]).all()
    finally:
        session.close()
    assert {(node.stage, node.runs) for node in found} == {("first", 1), ("step", 3)}
    assert all(node.runs * IDLE_US / 1e3 <= node.latency_ms < node.raw_ms for node in found)
    assert not list(tmp_path.glob("*profile*"))
