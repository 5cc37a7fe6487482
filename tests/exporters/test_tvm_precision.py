"""Products by TVM in int8 and fp16, against their definition and against PyTorch; needs the toolchain tvm."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting is what torch is for")

from contracts.toolchains import need  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

from exporters import Artifact, ExportError, GraphInputs  # noqa: E402
from exporters.tvm import TvmExporter  # noqa: E402
from profiler import Program, TimingSession, check_parity  # noqa: E402
from profiler.exporting import open_exporter  # noqa: E402

pytestmark = pytest.mark.slow

PRECISIONS = ("fp16", "int8", "int8-dynamic")
FLAGS = {"x86-64": "sse2", "haswell": "avx2", "skylake-avx512": "avx512bw", "alderlake": "avx_vnni"}
"""Processors whose instructions for products of small integers differ, by the flag Linux has for them."""


def outputs(tvm_session: TimingSession, artifact: Artifact) -> dict:
    """What a library gives for its reference inputs, after it was timed."""
    handle = tvm_session.load(Program.single(artifact))
    tvm_session.time(handle, 2)
    found = tvm_session.run(handle)
    check_parity(artifact, found, "here")
    tvm_session.unload(handle)
    return dict(found)


def rows_in_int8(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``x`` (rows, inner) by ``weight`` (inner, columns), each row and each column rounded to 127 levels a sign."""
    largest = np.maximum(np.abs(x).max(axis=1, keepdims=True), np.float32(1e-30))
    scales = np.maximum(np.abs(weight).max(axis=0), np.float32(1e-30)) / np.float32(127)
    sums = np.rint(x * (np.float32(127) / largest)).astype(np.int64) @ np.rint(weight / scales).astype(np.int64)
    return sums * scales * (largest / 127)


few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
sizes = st.integers(1, 70)


@few
@given(rows=sizes, inner=sizes, columns=st.integers(1, 300), empty=st.booleans())
def test_rows_are_rounded_and_multiplied_exactly(tvm, tvm_session, tmp_path, rows, inner, columns, empty) -> None:
    torch.manual_seed(0)
    module, x = nn.Linear(inner, columns), torch.randn(rows, inner) * torch.logspace(-3, 3, rows)[:, None]
    if empty:
        x[0] = 0
    artifact = tvm.export(module, GraphInputs({"x": x}, ("y",)), tmp_path / "x.tvm", precision="int8-dynamic")
    handle = tvm_session.load(Program.single(artifact))
    found = tvm_session.run(handle)["y"]
    tvm_session.unload(handle)
    bias = module.bias.detach().numpy()
    wanted = rows_in_int8(x.numpy(), module.weight.detach().numpy().T) + bias
    assert np.allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max(axis=1, keepdims=True))


@few
@given(rows=sizes, inner=st.integers(8, 70), columns=st.integers(8, 300), precision=st.sampled_from(PRECISIONS))
def test_sublayers_of_any_size_are_nearly_pytorchs(tvm, tvm_session, tmp_path, rows, inner, columns, precision) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(inner, columns), nn.ReLU(), nn.Linear(columns, inner))
    x = torch.randn(2, rows, inner)
    artifact = tvm.export(module, GraphInputs({"x": x}, ("y",)), tmp_path / "x.tvm", precision=precision)
    assert artifact.precision == precision
    outputs(tvm_session, artifact)


@pytest.mark.parametrize(
    ("precision", "share", "snr_db"), [("fp16", 0.6, 60), ("int8", 0.4, 28), ("int8-dynamic", 0.4, 32)]
)
def test_it_is_smaller_and_nearly_the_same(tvm, tvm_session, tmp_path: Path, precision, share, snr_db) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 64), nn.LayerNorm(64))
    inputs = GraphInputs({"x": torch.randn(5, 64)}, ("y",))
    plain = tvm.export(module, inputs, tmp_path / "plain.tvm")
    artifact = tvm.export(module, inputs, tmp_path / "x.tvm", precision=precision)
    assert artifact.streamed_bytes < share * plain.streamed_bytes
    assert artifact.size_bytes < plain.size_bytes
    with np.load(artifact.reference) as reference:
        wanted = reference["output/y"]
    error = outputs(tvm_session, artifact)["y"] - wanted
    assert 0 < np.abs(error).max() <= artifact.tolerance
    assert 10 * np.log10(np.square(wanted).sum() / np.square(error).sum()) > snr_db


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic"])
def test_processors_with_other_instructions_give_the_same(tvm, tvm_session, tmp_path: Path, precision: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(37, 75), nn.ReLU(), nn.Linear(75, 20))
    inputs = GraphInputs({"x": torch.randn(7, 37)}, ("y",))
    wanted = outputs(tvm_session, tvm.export(module, inputs, tmp_path / "native.tvm", precision=precision))["y"]
    words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split() if Path("/proc/cpuinfo").is_file() else []
    here = [processor for processor, flag in FLAGS.items() if flag in words]
    if not here:
        pytest.skip("none of these processors' code runs here")
    for processor in here:
        with open_exporter("tvm", json.dumps({"kind": "llvm", "mcpu": processor})) as exporter:
            artifact = exporter.export(module, inputs, tmp_path / f"{processor}.tvm", precision=precision)
        assert np.allclose(outputs(tvm_session, artifact)["y"], wanted, rtol=1e-5, atol=1e-5), processor


def test_what_a_product_that_reads_twice_is_given_is_rounded_once(tvm, tmp_path: Path) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(64, 32), nn.Linear(64, 32)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.left(x), self.right(x)

    class Counts:
        producer = tvm.compiler.producer

        def __init__(self) -> None:
            self.kernels: list[str] = []

        def compile(self, graph, library, precision, log):
            facts = tvm.compiler.compile(graph, library, precision, log)
            self.kernels = facts["kernels"]
            return facts

    torch.manual_seed(0)
    for precision in ("int8", "int8-dynamic"):
        counts = Counts()
        inputs = GraphInputs({"x": torch.randn(3, 64)}, ("a", "b"))
        TvmExporter(counts).export(Both(), inputs, tmp_path / "x.tvm", precision=precision)
        assert sum("levels" in kernel for kernel in counts.kernels) == 1, precision


def test_a_table_of_rows_stays_narrow(tvm, tvm_session, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(5000, 64), nn.Linear(64, 16))
    inputs = GraphInputs({"x": torch.randint(0, 5000, (2, 7))}, ("y",))
    plain = tvm.export(module, inputs, tmp_path / "plain.tvm")
    artifact = tvm.export(module, inputs, tmp_path / "x.tvm", precision="int8")
    assert artifact.size_bytes < 0.5 * plain.size_bytes
    assert np.abs(outputs(tvm_session, artifact)["y"] - outputs(tvm_session, plain)["y"]).max() > 0


def test_a_processor_that_cannot_widen_fp16(tmp_path: Path) -> None:
    need("tvm")
    inputs = GraphInputs({"x": torch.ones(3, 4)}, ("y",))
    with (
        open_exporter("tvm", json.dumps({"kind": "llvm", "mcpu": "x86-64"})) as exporter,
        pytest.raises(ExportError, match=r"x86-64 cannot widen fp16 \(f16c\); choose another precision"),
    ):
        exporter.export(nn.Linear(4, 4), inputs, tmp_path / "x.tvm", precision="fp16")
