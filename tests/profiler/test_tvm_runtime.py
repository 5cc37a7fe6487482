"""The runtime tvm in the worker, on libraries compiled for this machine; needs the toolchain tvm."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="what is compiled is made by it")

from contracts.tflite_graphs import golden
from contracts.timing_session import TimingSessionContract
from contracts.toolchains import need

from exporters import Artifact
from profiler import LocalDevice, Program, SessionError, Stage, TimingSession, check_parity, open_session
from profiler.errors import ToolchainError
from profiler.exporting import open_exporter
from profiler.parity import reference_tensors
from profiler.primitives import ProfilingSession, primitives
from profiler.transports.local import LocalTransport
from profiler.worker_session import WorkerSession

DEVICE = LocalDevice(name="here", kind="local", runtime="tvm")
Get = Callable[[str], Artifact]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Get:
    need("tvm")
    folder = tmp_path_factory.mktemp("libraries")
    with open_exporter("tvm") as exporter:
        found = {
            stem: exporter.export(module, inputs, folder / f"{stem}.tvm")
            for stem, (module, inputs, precision) in golden().items()
            if precision == "fp32"
        }
    return found.__getitem__


@pytest.fixture(scope="module")
def shared_session():
    need("tvm")
    session = open_session(DEVICE)
    yield session
    session.close()


@pytest.mark.slow
class TestTvm(TimingSessionContract):
    @pytest.fixture
    def session(self, shared_session: TimingSession, artifact: Get) -> TimingSession:
        self.artifact = artifact
        return shared_session

    def linear(self, path: Path, size: int = 8) -> Artifact:
        return self.artifact("linear" if size == 8 else f"linear-{size}")


def loop(artifact: Get, repeat: int) -> Program:
    return Program(
        (
            Stage("first", artifact("linear")),
            Stage(
                "step",
                artifact("counting"),
                repeat=repeat,
                feeds={"memory": "first.y"},
                carry={"x": "y", "past": "next"},
                initial={"x": (1, 8), "past": (2, 8)},
                counter="step",
            ),
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("repeat", [1, 2, 5])
def test_a_loop_with_a_cache_of_fixed_length(shared_session: TimingSession, artifact: Get, repeat: int) -> None:
    handle = shared_session.load(loop(artifact, repeat))
    inputs, outputs = reference_tensors(artifact("linear"))
    for given, memory in ((None, outputs["y"]), ({"x": inputs["x"]}, outputs["y"]), (None, outputs["y"])):
        shared_session.time(handle, 3, 2)  # whatever was run before does not matter
        found = shared_session.run(handle, given)
        totals = np.cumsum(np.arange(repeat, dtype=np.float32))
        assert np.allclose(found["y"], totals[-1])
        assert np.allclose(found["next"], np.tile(totals.sum() + repeat * memory, (2, 1)), atol=1e-5)
    shared_session.unload(handle)


@pytest.mark.slow
def test_kernels_of_a_loop_are_profiled(shared_session: TimingSession, artifact: Get) -> None:
    assert isinstance(shared_session, ProfilingSession)
    handle = shared_session.load(loop(artifact, 3))
    before = shared_session.run(handle)
    nodes = primitives(*(shared_session.profile(handle, 20) for _ in range(2)))
    assert {(node.stage, node.runs) for node in nodes} == {("first", 1), ("step", 3)}
    assert all(0 <= node.latency_ms <= node.raw_ms for node in nodes)
    assert any("dense" in node.op for node in nodes)
    assert not any(node.name.startswith("vm.") for node in nodes)
    after = shared_session.run(handle)
    assert all(np.array_equal(after[name], value) for name, value in before.items())
    shared_session.unload(handle)


@pytest.mark.slow
def test_other_inputs_than_the_reference_ones_do_not_stay(shared_session: TimingSession, artifact: Get) -> None:
    handle = shared_session.load(loop(artifact, 2))
    inputs, _ = reference_tensors(artifact("linear"))
    before = shared_session.run(handle)
    doubled = shared_session.run(handle, {"x": 2 * np.asarray(inputs["x"])})
    assert not np.allclose(doubled["next"], before["next"])
    assert np.array_equal(shared_session.run(handle)["next"], before["next"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"carry": {"past": "next"}}, "past is carried, but has no initial shape"),
        ({"carry": {"past": "nope"}, "initial": {"past": (2, 8)}, "repeat": 2}, "needs 'nope'; known: y, next"),
        ({"carry": {"past": "next"}, "initial": {"past": (0, 8)}}, r"past has the fixed shape \(2, 8\), not \(0, 8\)"),
        ({"feeds": {"x": "encoder.y"}}, "needs 'encoder'; known: step"),
        ({"counter": "tick"}, "no input 'tick'; known: x, step, memory, past"),
    ],
)
def test_bad_wiring_is_named(shared_session: TimingSession, artifact: Get, stage: dict, message: str) -> None:
    with pytest.raises(SessionError, match=message):
        shared_session.load(Program((Stage("step", artifact("counting"), **stage),)))


@pytest.mark.slow
def test_a_file_that_is_none(shared_session: TimingSession, artifact: Get, tmp_path: Path) -> None:
    good = artifact("linear")
    for suffix in ("", ".json", ".npz"):
        (tmp_path / f"linear.tvm{suffix}").write_bytes(good.path.with_name(good.path.name + suffix).read_bytes())
    broken = Artifact.load(tmp_path / "linear.tvm")
    broken.path.write_bytes(b"not a library")
    with pytest.raises(SessionError, match=r"here: load: ") as caught:
        shared_session.load(Program.single(broken))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_outputs_are_the_same_however_often_it_was_timed(shared_session: TimingSession, artifact: Get) -> None:
    handle = shared_session.load(Program.single(artifact("feed")))
    first = check_parity(artifact("feed"), shared_session.run(handle), "here")
    shared_session.time(handle, 3, 2)
    assert check_parity(artifact("feed"), shared_session.run(handle), "here") == first
    assert shared_session.target.runtime.startswith("tvm-0.")


def test_without_the_runtime_the_toolchain_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SessionError, match=r"tvm is not here .*hwnas toolchain install tvm"):
        WorkerSession(LocalTransport(), DEVICE)  # hwnas's own Python, which has no TVM
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    with pytest.raises(ToolchainError, match="hwnas toolchain install tvm"):
        open_session(DEVICE)
