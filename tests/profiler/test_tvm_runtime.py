"""The runtime tvm in the worker, on libraries compiled for this machine; needs the toolchain tvm."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="what is compiled is made by it")

from contracts.fixed_runtime import FixedRuntimeContract, loop
from contracts.tflite_graphs import golden
from contracts.toolchains import need

from exporters import Artifact
from profiler import LocalDevice, SessionError, TimingSession, open_session
from profiler.errors import ToolchainError
from profiler.exporting import open_exporter
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
class TestTvm(FixedRuntimeContract):
    @pytest.fixture
    def session(self, shared_session: TimingSession, artifact: Get) -> TimingSession:
        self.artifact = artifact
        return shared_session

    def test_the_version_is_told(self, session: TimingSession) -> None:
        assert session.target.runtime.startswith("tvm-0.")


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


def test_without_the_runtime_the_toolchain_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SessionError, match=r"tvm is not here .*hwnas toolchain install tvm"):
        WorkerSession(LocalTransport(), DEVICE)  # hwnas's own Python, which has no TVM
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    with pytest.raises(ToolchainError, match="hwnas toolchain install tvm"):
        open_session(DEVICE)
