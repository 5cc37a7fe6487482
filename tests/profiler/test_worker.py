import ctypes.util
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the worker's runtime")
pytest.importorskip("onnx", reason="makes the graphs")

from contracts.cuda_driver import FakeDriver
from contracts.fake_session import FakeSession
from contracts.graphs import counting, linear
from contracts.timing_session import TimingSessionContract
from contracts.transport import wait_gone

from profiler import LocalDevice, Program, SessionError, Stage, TimingSession, open_session
from profiler.transports.local import LocalTransport
from profiler.worker.onnx_runtime import OnnxRuntime
from profiler.worker.protocol import WorkerError
from profiler.worker_archive import pack_worker
from profiler.worker_session import WorkerSession

ONE = LocalDevice(name="here", kind="local")


@pytest.fixture(scope="module")
def shared_session():
    session = open_session(ONE)
    yield session
    session.close()


class TestWorkerSession(TimingSessionContract):
    @pytest.fixture
    def session(self, shared_session: TimingSession) -> TimingSession:
        return shared_session


class TestFakeSession(TimingSessionContract):
    @pytest.fixture
    def session(self) -> TimingSession:
        return FakeSession()


def loop(folder: Path, repeat: int) -> Program:
    return Program(
        (
            Stage("first", linear(folder / "first.onnx")),
            Stage(
                "step",
                counting(folder / "step.onnx"),
                repeat=repeat,
                feeds={"memory": "first.y"},
                carry={"x": "y", "past": "grown"},
                initial={"x": (1, 8), "past": (0, 8)},
                counter="step",
            ),
        )
    )


@pytest.mark.parametrize("repeat", [1, 2, 5])
def test_a_loop_with_a_growing_cache(shared_session: TimingSession, tmp_path: Path, repeat: int) -> None:
    handle = shared_session.load(loop(tmp_path, repeat))
    first = linear(tmp_path / "first.onnx")
    with np.load(first.reference) as reference:
        given = {"x": reference["input/x"]}
        fed = reference["output/y"]
    other = {"x": 2 * given["x"]}
    for inputs, memory in ((None, fed), (given, fed), (other, 2 * fed), (None, fed)):
        shared_session.time(handle, 3, 2)  # whatever was run before does not matter
        outputs = shared_session.run(handle, inputs)
        totals = np.cumsum(np.arange(repeat, dtype=np.float32))
        assert np.allclose(outputs["y"], totals[-1])
        assert np.allclose(outputs["grown"], totals[:, None] + memory, atol=1e-5)
    shared_session.unload(handle)


def test_bad_wiring_is_named(shared_session: TimingSession, tmp_path: Path) -> None:
    artifact = linear(tmp_path / "a.onnx")
    step = counting(tmp_path / "s.onnx")
    for stages, message in [
        ((Stage("s", step, carry={"past": "grown"}),), "past is carried, but has no initial shape"),
        (
            (Stage("s", step, 2, carry={"past": "nope"}, initial={"past": (0, 8)}),),
            "needs 'nope'; known: y, grown",
        ),
        ((Stage("s", step, feeds={"x": "encoder.y"}),), "needs 'encoder'; known: nothing"),
        ((Stage("s", artifact, counter="tick"),), "no input 'tick'; known: x"),
        ((Stage("s", artifact), Stage("s", artifact)), "a name of its own"),
    ]:
        with pytest.raises(SessionError, match=message):
            shared_session.load(Program(stages))
    assert "y" in shared_session.run(shared_session.load(Program.single(artifact)))


def test_a_graph_that_is_none(shared_session: TimingSession, tmp_path: Path) -> None:
    artifact = linear(tmp_path / "a.onnx")
    artifact.path.write_bytes(b"not a graph")
    with pytest.raises(SessionError, match=r"here: load: .*a\.onnx") as caught:
        shared_session.load(Program.single(artifact))
    assert "\n" not in str(caught.value)


def test_the_protocol_survives_what_is_wrong(tmp_path: Path) -> None:
    requests = [
        b"garbage",
        b"[1]",
        b'{"id":1,"op":"load","stages":[]}',
        b'{"id":2,"op":"hello","runtime":"abacus","threads":1,"cores":null,"provider":"cpu"}',
        b'{"id":3,"op":"hello","runtime":"onnxruntime","threads":1,"cores":null}',
        b'{"id":4,"op":"hello","runtime":"onnxruntime","threads":1,"cores":null,"provider":"cpu"}',
        b'{"id":5,"op":"hello","runtime":"onnxruntime","threads":1,"cores":null,"provider":"cpu"}',
        b'{"id":6,"op":"fly"}',
        b'{"id":7,"op":"time","handle":"p7","calls":1,"samples":1}',
        b'{"id":8,"op":"ping"}',
        b'{"id":9,"op":"quit"}',
        b'{"id":10,"op":"ping"}',
    ]
    done = subprocess.run(
        [sys.executable, str(pack_worker(tmp_path))],
        input=b"\n".join(requests) + b"\n",
        capture_output=True,
        check=True,
    )
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert [reply["id"] for reply in replies] == [None, None, 1, 2, 3, 4, 5, 6, 7, 8]
    messages = [reply.get("error", {}).get("message") for reply in replies]
    assert messages[1:5] == [
        "a request is an object",
        "say hello first",
        "no runtime 'abacus'; known: onnxruntime, litert, tflite, tvm, torch",
        "the request lacks 'provider'",
    ]
    assert messages[5] is None
    assert messages[6] == "hello was said before"
    assert messages[7].startswith("no operation 'fly'; known: hello, load")
    assert messages[8] == "no handle 'p7'; loaded: nothing"
    assert replies[9] == {"id": 8}


def test_stdout_is_for_replies_alone(tmp_path: Path) -> None:
    """What is printed in the worker's process, by Python or by native code, must not break the lines."""
    (tmp_path / "noisy.py").write_text(
        "import os, runpy, sys\n"
        "import numpy\nold = numpy.savez\n"
        "def savez(*a, **k):\n    print('python noise', flush=True)\n    os.write(1, b'native noise')\n"
        "    return old(*a, **k)\n"
        "numpy.savez = savez\n"
        f"runpy.run_path({str(pack_worker(tmp_path))!r}, run_name='__main__')\n"
    )

    class Noisy(LocalTransport):
        def put(self, local: Path) -> str:
            return super().put(tmp_path / "noisy.py" if local.name == "worker.pyz" else local)

    session = WorkerSession(Noisy(), ONE)
    handle = session.load(Program.single(linear(tmp_path / "a.onnx")))
    assert session.run(handle)["y"].shape == (1, 8)
    session.close()
    assert "python noise\nnative noise" in session._channel.stderr_tail()


def test_facts_say_what_matters(shared_session: TimingSession) -> None:
    facts = shared_session.facts()
    assert facts["runtime"] == shared_session.target.runtime
    assert facts["threads"] == 1
    assert facts["cores"] == os.cpu_count()
    wanted = {"cpu_model", "governor", "frequency_khz", "load_average", "steal_jiffies", "total_jiffies"}
    wanted |= {"pressure_cpu", "memory_available_bytes", "temperature_millidegrees", "clock_source", "kernel"}
    assert wanted <= set(facts)
    assert facts["host"] == hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:12]
    assert os.uname().nodename not in facts.values()


def test_an_unknown_reference_workload_is_named(shared_session: TimingSession) -> None:
    with pytest.raises(SessionError, match="no reference workload 'luck'; known: compute, memory"):
        shared_session.reference("luck", 1)  # type: ignore[arg-type]


def test_the_first_call_of_a_program_is_counted_apart(shared_session: TimingSession, tmp_path: Path) -> None:
    before = shared_session.counters()["first_call_ns"]
    handle = shared_session.load(Program.single(linear(tmp_path / "a.onnx")))
    after = shared_session.counters()["first_call_ns"]
    assert after > before
    shared_session.time(handle, 10)
    assert shared_session.counters()["first_call_ns"] == after


def test_both_clocks_are_read_at_one_moment(shared_session: TimingSession) -> None:
    one, other = shared_session.counters(), shared_session.counters()
    if "raw_ns" not in one:
        pytest.skip("this system has no undisciplined clock")
    wall, raw = (other[name] - one[name] for name in ("wall_ns", "raw_ns"))
    assert wall > 0
    assert abs(wall - raw) < 1e6 + 1e-3 * raw


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin threads to cores")
def test_cores_and_threads_are_set(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    device = LocalDevice(name="two", kind="local", threads=2, cores=(core,))
    with WorkerSession(LocalTransport(), device) as session:
        assert session.facts()["affinity"] == [core]
        assert (session.target.threads, session.target.clock) == (2, "wall")
        assert session.time(session.load(Program.single(linear(tmp_path / "a.onnx"))), 10)[0].cpu_ns > 0


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch", "tvm"])
def test_no_gpu_is_said_in_one_line(runtime: str) -> None:
    if ctypes.util.find_library("cuda"):
        pytest.skip("there is an NVIDIA driver here")
    with pytest.raises(SessionError, match=r"gpu: hello: no NVIDIA driver is here .*; use provider: cpu"):
        WorkerSession(LocalTransport(), LocalDevice(name="gpu", kind="local", runtime=runtime, provider="cuda"))


def test_a_graph_that_does_not_run_on_the_gpu_is_an_error(tmp_path: Path) -> None:
    """ONNX Runtime goes back to the CPU without a word where a GPU cannot be used."""
    runtime = OnnxRuntime(1, None)
    runtime.driver = FakeDriver()
    with pytest.raises(WorkerError, match=r"ONNX Runtime runs a\.onnx without CUDAExecutionProvider"):
        runtime.load([{"path": str(linear(tmp_path / "a.onnx").path)}])


def test_a_dead_worker_is_one_clear_error(tmp_path: Path) -> None:
    session = WorkerSession(LocalTransport(), ONE)
    handle = session.load(Program.single(linear(tmp_path / "a.onnx")))
    os.kill(session.pid, signal.SIGKILL)
    with pytest.raises(SessionError, match=r"^here: the worker died during time: ended by signal 9"):
        session.time(handle, 1)
    with pytest.raises(SessionError, match="the worker died during facts"):
        session.facts()
    session.close()


def test_last_words_are_told(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("raise SystemExit('no module named numpy')")

    class Bad(LocalTransport):
        def put(self, local: Path) -> str:
            return str(tmp_path / "bad.py")

    with pytest.raises(SessionError, match="died during hello: no module named numpy"):
        WorkerSession(Bad(), ONE)


def test_no_worker_is_left_after_close() -> None:
    session = WorkerSession(LocalTransport(), ONE)
    session.close()
    assert wait_gone(session.pid)


def test_no_worker_is_left_when_the_driver_is_killed() -> None:
    code = (
        "import os, signal\nfrom profiler import LocalDevice\n"
        "from profiler.worker_session import WorkerSession\n"
        "from profiler.transports.local import LocalTransport\n"
        "session = WorkerSession(LocalTransport(), LocalDevice(name='here', kind='local'))\n"
        "print(session.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    assert wait_gone(int(done.stdout))


def test_ctrl_c_does_not_end_the_worker() -> None:
    with WorkerSession(LocalTransport(), ONE) as session:
        os.kill(session.pid, signal.SIGINT)
        assert session.facts()["threads"] == 1
