"""The runtime litert in the worker, on TFLite files that were exported once."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="the runtime litert")

from contracts.fixed_runtime import FixedRuntimeContract, loop

from exporters import Artifact
from profiler import LocalDevice, ParityError, Program, SessionError, Stage, TimingSession, check_parity, open_session
from profiler.errors import ToolchainError
from profiler.parity import reference_tensors
from profiler.primitives import ProfilingSession, primitives
from profiler.transports.local import LocalTransport
from profiler.worker.litert_profile import node_times
from profiler.worker.protocol import WorkerError
from profiler.worker_session import WorkerSession

GOLDEN = Path(__file__).parents[1] / "golden" / "tflite"


def golden(stem: str) -> Artifact:
    return Artifact.load(GOLDEN / f"{stem}.tflite")


@pytest.fixture(scope="module")
def shared_session():
    device = LocalDevice(name="here", kind="local", runtime="litert")
    session = open_session(device)
    yield session
    session.close()


class TestLiteRt(FixedRuntimeContract):
    @pytest.fixture
    def session(self, shared_session: TimingSession) -> TimingSession:
        return shared_session

    def artifact(self, stem: str) -> Artifact:
        return golden(stem)


@pytest.mark.parametrize("stem", ["linear", "linear-int8", "feed", "feed-int8", "counting", "embedding-int8"])
def test_outputs_are_pytorchs_however_often_it_was_timed(shared_session: TimingSession, stem: str) -> None:
    handle = shared_session.load(Program.single(golden(stem)))
    first = check_parity(golden(stem), shared_session.run(handle), "here")
    shared_session.time(handle, 3, 2)
    assert check_parity(golden(stem), shared_session.run(handle), "here") == first
    assert first.snr_db > (30 if "int8" in stem else 100)


def test_the_tolerance_of_int8_tells_right_from_wrong(shared_session: TimingSession) -> None:
    artifact = golden("feed-int8")
    handle = shared_session.load(Program.single(artifact))
    inputs, _ = reference_tensors(artifact)
    wrong = {"x": np.asarray(inputs["x"])[::-1].copy()}
    with pytest.raises(ParityError, match=r"feed-int8\.tflite on here: outputs differ"):
        check_parity(artifact, shared_session.run(handle, wrong), "here")


def test_a_loop_fed_by_an_int8_graph(shared_session: TimingSession) -> None:
    handle = shared_session.load(loop(lambda stem: golden("linear-int8" if stem == "linear" else stem), 2))
    memory = reference_tensors(golden("linear"))[1]["y"]
    expected = np.tile(1 + 2 * memory, (2, 1))
    assert np.abs(shared_session.run(handle)["next"] - expected).max() <= 2 * golden("linear-int8").tolerance


@pytest.mark.parametrize("stem", ["feed", "feed-int8", "embedding-int8"])
def test_nodes_are_profiled(shared_session: TimingSession, stem: str) -> None:
    assert isinstance(shared_session, ProfilingSession)
    handle = shared_session.load(Program.single(golden(stem)))
    nodes = primitives(*(shared_session.profile(handle, 5) for _ in range(2)))
    kinds = {node.op for node in nodes}
    assert "Fully Connected" in kinds if stem.startswith("feed") else kinds
    assert all(node.latency_ms == node.raw_ms >= 0 for node in nodes), "watching costs the nodes nothing"
    check_parity(golden(stem), shared_session.run(handle), "here")


def test_a_loop_is_profiled_graph_by_graph(shared_session: TimingSession) -> None:
    assert isinstance(shared_session, ProfilingSession)
    handle = shared_session.load(loop(golden, 3))
    before = shared_session.run(handle)
    nodes = primitives(shared_session.profile(handle, 5))
    assert {(node.stage, node.runs) for node in nodes} == {("first", 1), ("step", 3)}
    assert all(np.array_equal(shared_session.run(handle)[name], value) for name, value in before.items())


def test_whole_microseconds_of_several_runs() -> None:
    runs = [[("Fully Connected (NC, F32) GEMM", us), ("CAST", 0)] for us in (9, 10, 10, 11, 500)]
    found = node_times(runs, 4)
    assert [(node["name"], node["op"]) for node in found] == [
        ("Fully Connected (NC, F32) GEMM 0", "Fully Connected"), ("CAST 1", "CAST"),
    ]  # fmt: skip
    assert found[0]["us"] == pytest.approx(4 * (9 + 10 + 10) / 3, abs=1e-3)
    assert found[1]["us"] == found[0]["cost_us"] == 0.0
    with pytest.raises(WorkerError, match="does not run the same nodes each time"):
        node_times([*runs, runs[0][:1]], 1)


def test_nodes_below_a_microsecond_are_right_in_the_mean() -> None:
    """What a clock of whole microseconds makes of nodes one after another, from runs that begin anywhere."""
    rng, true_us = np.random.default_rng(0), np.array([40.0, 0.3, 8.0, 0.8, 0.3])
    runs = []
    for _ in range(400):
        ends = rng.uniform(0, 1) + np.concatenate([[0], np.cumsum(true_us * rng.uniform(1, 1.1, len(true_us)))])
        runs.append([(f"{place}", int(us)) for place, us in enumerate(np.diff(np.floor(ends)))])
    found = np.array([node["us"] for node in node_times(runs, 1)])
    assert found == pytest.approx(true_us, rel=0.1, abs=0.1)


def test_what_is_carried_to_another_shape_is_named(shared_session: TimingSession) -> None:
    wrong = Stage("step", golden("counting"), repeat=2, carry={"past": "y"}, initial={"past": (2, 8)})
    with pytest.raises(SessionError, match=r"fixed shape \(2, 8\), but y is \(1, 8\)"):
        shared_session.load(Program((wrong,)))


def test_without_the_runtime_the_extra_is_named() -> None:
    class Bare(LocalTransport):
        """A device whose Python has only the standard library and numpy."""

        def start(self, argv):
            blocked = "import sys; sys.modules['ai_edge_litert'] = None; sys.argv = sys.argv[1:]; import runpy;"
            script = f"{blocked} runpy.run_path(sys.argv[0], run_name='__main__')"
            return super().start([argv[0], "-P", "-u", "-c", script, argv[-1], argv[-1]])

    device = LocalDevice(name="here", kind="local", runtime="litert")
    with pytest.raises(SessionError, match=r"litert needs ai-edge-litert .*pip install 'hwnas\[litert\]'"):
        WorkerSession(Bare(), device)


def test_the_target_names_the_version(shared_session: TimingSession) -> None:
    assert shared_session.target.runtime.startswith("litert-2.")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8-dynamic"])
def test_the_interpreter_of_old_boards_runs_what_we_export(tmp_path: Path, precision: str) -> None:
    """tflite-runtime 2.14 in its own environment, with numpy 1, by the same worker."""
    pytest.importorskip("torch", reason="exports")
    from contracts.exporter import feed, step
    from contracts.toolchains import need

    from profiler.exporting import open_exporter

    need("tflite-runtime")
    need("litert-torch")
    device = LocalDevice(name="here", kind="local", runtime="tflite")
    session = open_session(device)
    try:
        assert session.target.runtime == "tflite-2.14.0"
        assert str(session.facts()["numpy"]).startswith("1.")
        with open_exporter("tflite") as exporter:
            for number, build in enumerate((feed, step)):
                artifact = exporter.export(*build(), tmp_path / f"{number}.tflite", precision=precision)
                handle = session.load(Program.single(artifact))
                session.time(handle, 3, 2)
                parity = check_parity(artifact, session.run(handle), "here")
                assert parity.snr_db > {"fp32": 100, "int8-dynamic": 35}[precision]
    finally:
        session.close()


@pytest.mark.slow
@pytest.mark.parametrize("stem", ["linear", "linear-int8", "feed", "feed-int8", "counting", "embedding-int8"])
def test_the_interpreter_of_old_boards_runs_the_files_of_new_ones(stem: str) -> None:
    from contracts.toolchains import need

    need("tflite-runtime")
    session = open_session(LocalDevice(name="here", kind="local", runtime="tflite"))
    try:
        check_parity(golden(stem), session.run(session.load(Program.single(golden(stem)))), "here")
    finally:
        session.close()


def test_without_its_environment_the_old_interpreter_is_named(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ToolchainError, match="run: hwnas toolchain install tflite-runtime"):
        open_session(LocalDevice(name="here", kind="local", runtime="tflite"))
