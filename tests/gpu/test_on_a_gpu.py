"""What only a GPU can show: the real driver, parity, graphs, events, memory and a table on each runtime."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="what is run is made by it")

from contracts.cuda_driver import CudaDriverContract  # noqa: E402
from contracts.fixed_runtime import FixedRuntimeContract  # noqa: E402
from contracts.tflite_graphs import Linear, golden  # noqa: E402

from exporters import Artifact, GraphInputs  # noqa: E402
from exporters.pt2 import Pt2Exporter  # noqa: E402
from hwnas.families import get_family  # noqa: E402
from hwnas.families.deployed import as_deployed  # noqa: E402
from hwnas.profiling import profile_space  # noqa: E402
from hwnas.sampling import Sampling  # noqa: E402
from hwnas.spaces import load_space  # noqa: E402
from profiler import LocalDevice, Program, TimingSession, check_parity, open_session, read_journal  # noqa: E402
from profiler.errors import ProfilerError  # noqa: E402
from profiler.exporting import exporter_for  # noqa: E402
from profiler.parity import reference_tensors  # noqa: E402
from profiler.worker.cuda_driver import CudaDriver, NvidiaDriver  # noqa: E402
from profiler.worker.gpu import MIB, SLOWED, Gpu  # noqa: E402
from profiler.worker.protocol import WorkerError  # noqa: E402
from profiler.worker.torch_runtime import TorchRuntime  # noqa: E402

RUNTIMES = ("onnxruntime", "torch", "tvm")
SPACE = """\
name: small
family: seq2seq
workload: {batch: 1, beam: 1, source_tokens: 5, target_tokens: 4, vocabulary: 43}
choices: {encoder_embed: [32], encoder_layers: [1], encoder_ffn: [64], encoder_heads: [2], decoder_embed: [32],
          decoder_layers: [1, 2], decoder_ffn: [64], decoder_self_heads: [2], decoder_cross_heads: [2],
          decoder_attended: [1]}
fixed: {qkv: 32, positions: 128}
"""


pytestmark = pytest.mark.gpu
try:
    NvidiaDriver()
except WorkerError as exc:
    pytest.skip(f"nothing here is proven without a GPU: {exc}", allow_module_level=True)


def device_with(runtime: str) -> LocalDevice:
    return LocalDevice(name="gpu", kind="local", runtime=runtime, provider="cuda")


def opened(runtime: str) -> TimingSession:
    """A session, or a skip that says what to install."""
    try:
        return open_session(device_with(runtime))
    except ProfilerError as exc:
        if "install" in str(exc):
            pytest.skip(str(exc))
        raise


@pytest.fixture
def driver() -> CudaDriver:
    return NvidiaDriver()


class TestNvidiaDriver(CudaDriverContract):
    @pytest.fixture
    def driver(self) -> CudaDriver:
        return NvidiaDriver()


@pytest.fixture(scope="module", params=RUNTIMES)
def on_gpu(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A runtime's session, and what it runs."""
    folder = tmp_path_factory.mktemp(request.param)
    session = opened(request.param)
    big = Linear(4096), GraphInputs({"x": torch.randn(1, 4096)}, ("y",))
    with exporter_for(device_with(request.param)) as exporter:
        artifacts = {
            stem: exporter.export(module, inputs, folder / f"{stem}.{exporter.format}")
            for stem, (module, inputs, precision) in {**golden(), "big": (*big, "fp32")}.items()
            if precision == "fp32"
        }
    yield SimpleNamespace(session=session, artifacts=artifacts, runtime=request.param)
    session.close()


class TestRuntimes(FixedRuntimeContract):
    @pytest.fixture
    def session(self, on_gpu: SimpleNamespace) -> TimingSession:
        self.artifacts = on_gpu.artifacts
        return on_gpu.session

    def artifact(self, stem: str) -> Artifact:
        return self.artifacts[stem]

    def test_a_large_product_is_in_full_fp32(self, session: TimingSession) -> None:
        """TF32 keeps ten bits of the mantissa: it would be off by more than the tolerance."""
        parity = check_parity(self.artifact("big"), session.run(session.load(Program.single(self.artifact("big")))), "")
        assert parity.passed

    def test_events_agree_with_the_wall_clock(self, session: TimingSession) -> None:
        handle = session.load(Program.single(self.artifact("big")))
        session.time(handle, 20, 3)
        before = session.counters()
        taken = session.time(handle, 200, 5)
        event_ns = session.counters()["gpu_event_ns"] - before["gpu_event_ns"]
        wall_ns = sum(sample.wall_ns for sample in taken)
        assert 0.5 * wall_ns < event_ns < 1.05 * wall_ns

    def test_memory_is_back_after_unloading(self, session: TimingSession) -> None:
        def free() -> int:
            return int(str(session.facts()["gpu_memory_free_bytes"]))

        program = Program.single(self.artifact("big"))
        session.unload(session.load(program))  # what a runtime takes once and keeps
        level = free()
        handle = session.load(program)
        session.time(handle, 3)
        assert free() <= level - 60 * MIB
        session.unload(handle)
        assert abs(free() - level) <= 4 * MIB

    def test_the_version_tells_of_the_gpu(self, session: TimingSession) -> None:
        assert session.target.runtime.endswith("+cuda")
        assert session.target.clock == "wall"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_table(runtime: str, tmp_path: Path) -> None:
    opened(runtime).close()
    (tmp_path / "space.yaml").write_text(SPACE)
    space, device = load_space(str(tmp_path / "space.yaml")), device_with(runtime)
    family = as_deployed(get_family("seq2seq"), runtime)
    sampling = Sampling(rounds=2, samples=2, min_rounds=2, calibration=0, check=2)
    table = profile_space(space, family, space.workload, device, tmp_path / "t.jsonl", sampling, cache=tmp_path / "c")
    journal = read_journal(tmp_path / "t.journal.jsonl")
    assert all(row.latency_ms > 0 for row in table.rows.values())
    assert not journal.failed
    for measurement in journal.measurements.values():
        for taken in measurement.rounds:
            assert 0 < taken.facts["gpu_event_ns"] <= 1.05 * sum(taken.wall_ns)
            assert "gpu_loaded_bytes" in taken.facts


def test_a_captured_graph_gives_what_its_operators_give(driver: CudaDriver, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} sees no GPU; install a build for CUDA")
    module, inputs, _ = golden()["feed"]
    artifact = Pt2Exporter().export(module, inputs, tmp_path / "feed.pt2")
    runtime = TorchRuntime(1, driver)
    stage = {
        "name": "graph", "path": str(artifact.path), "reference": str(artifact.reference), "repeat": 1,
        "feeds": {}, "carry": {}, "initial": {}, "counter": None,
    }  # fmt: skip
    program = runtime.load([stage])
    x = np.asarray(reference_tensors(artifact)[0]["x"])
    eager = runtime.open(str(artifact.path))
    for scale in (1, -2, 3):  # the graph reads its inputs anew each time
        with torch.inference_mode():
            expected = eager(runtime.tensor(scale * x))[0].cpu().numpy()
        assert np.allclose(program.evaluate({"x": scale * x})["y"], expected, rtol=1e-6, atol=1e-6)


def test_work_makes_its_clock_rise(driver: CudaDriver) -> None:
    if driver.state().sm_mhz is None:
        pytest.skip("NVML does not tell the clock of this GPU")
    gpu = Gpu(driver)
    gpu.warm([gpu.references["compute"]()])
    state = driver.state()
    assert state.sm_mhz is not None and state.sm_max_mhz is not None
    assert state.sm_mhz > 0.5 * state.sm_max_mhz or (state.throttle_reasons or 0) & SLOWED
