"""The exporter to TFLite against the real converter; needs the toolchain litert-torch."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting is what torch is for")
interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="runs what was exported")

from contracts.exporter import ExporterContract, feed, step  # noqa: E402
from contracts.toolchains import need  # noqa: E402
from torch import nn  # noqa: E402

from exporters import Artifact, ExportError, GraphInputs, cached_path, export_cached  # noqa: E402
from exporters.onnx import OnnxExporter  # noqa: E402
from exporters.tflite import TfliteExporter  # noqa: E402
from profiler import LocalDevice, Program, check_parity, open_session  # noqa: E402
from profiler.exporting import ToolchainConverter, open_exporter  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared() -> Iterator[TfliteExporter]:
    need("litert-torch")
    with open_exporter("litert") as exporter:
        assert isinstance(exporter, TfliteExporter)
        yield exporter


@pytest.fixture(scope="module")
def session():
    device = LocalDevice(name="here", kind="local", runtime="litert")
    session = open_session(device)
    yield session
    session.close()


class TestTflite(ExporterContract):
    static = True

    @pytest.fixture
    def exporter(self, shared: TfliteExporter) -> TfliteExporter:
        return shared


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int8-dynamic"])
@pytest.mark.parametrize("build", [feed, step])
def test_runs_as_pytorch_does(shared: TfliteExporter, session, tmp_path: Path, build, precision: str) -> None:
    artifact = shared.export(*build(), tmp_path / "x.tflite", precision=precision)
    parity = check_parity(artifact, session.run(session.load(Program.single(artifact))), "here")
    assert parity.snr_db > {"fp32": 100, "fp16": 55, "int8": 28, "int8-dynamic": 35}[precision]
    side = "int8" if precision == "int8" else "float32"
    assert {tensor.dtype for tensor in (*artifact.inputs, *artifact.outputs)} == {side}


def test_int8_ranges_come_from_the_representative_inputs(shared: TfliteExporter, tmp_path: Path) -> None:
    module, inputs = feed()
    wide = GraphInputs(inputs.tensors, inputs.outputs, representative=[{"x": 40 * inputs.tensors["x"]}])

    def scale(given: GraphInputs) -> float:
        path = shared.export(module, given, tmp_path / "x.tflite", precision="int8").path
        return interpreter.Interpreter(str(path)).get_input_details()[0]["quantization"][0]

    assert scale(wide) == pytest.approx(40 * scale(inputs), rel=0.05)


def test_the_file_names_no_machine_and_no_foreign_operator(shared: TfliteExporter, tmp_path: Path) -> None:
    content = shared.export(*step(), tmp_path / "x.tflite").path.read_bytes()
    assert str(tmp_path).encode() not in content
    assert b"/site-packages/" not in content
    assert content[4:8] == b"TFL3"


def test_the_same_key_of_another_format_is_another_file(shared: TfliteExporter, tmp_path: Path) -> None:
    artifact = export_cached("feed", feed, tmp_path, shared, precision="int8")
    assert export_cached("feed", feed, tmp_path, shared, precision="int8") == artifact
    assert artifact.path.suffix == ".tflite"
    assert artifact.path != cached_path("feed", tmp_path, shared)
    assert cached_path("feed", tmp_path, OnnxExporter()).suffix == ".onnx"


def test_what_the_converter_cannot_do_is_one_line_and_its_log_is_kept(tmp_path: Path) -> None:
    need("litert-torch")

    class Sorts(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svd(x)[1]

    converter = ToolchainConverter()
    try:
        exporter = TfliteExporter(converter)
        with pytest.raises(
            ExportError, match=r"x\.tflite: Sorts was not converted: .*svd.* is in .*x\.tflite\.log"
        ) as e:
            exporter.export(Sorts(), GraphInputs({"x": torch.eye(3)}, ("y",)), tmp_path / "x.tflite")
        assert "\n" not in str(e.value)
        assert [path.name for path in tmp_path.iterdir()] == ["x.tflite.log"]
        assert "svd" in (tmp_path / "x.tflite.log").read_text()
        exporter.export(*feed(), tmp_path / "x.tflite")  # the next one goes on, and clears the log
        assert not (tmp_path / "x.tflite.log").exists()
    finally:
        converter.close()


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda x, y: (x + y, x), "an input is returned as it is"),
        (lambda x, y: (x + y,) * 2, "a and b are one tensor; return it once"),
    ],
)
def test_what_has_no_name_of_its_own_is_said(shared: TfliteExporter, tmp_path: Path, forward, message: str) -> None:
    class Returns(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return forward(x, y)

    inputs = GraphInputs({"x": torch.ones(2), "y": torch.ones(2)}, ("a", "b"))
    with pytest.raises(ExportError, match=message):
        shared.export(Returns(), inputs, tmp_path / "x.tflite")


def test_looked_up_tables_are_not_streamed(shared: TfliteExporter, tmp_path: Path) -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.project = nn.Embedding(100, 8), nn.Linear(8, 4)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.project(self.table(ids))

    artifact = shared.export(Looks(), GraphInputs({"ids": torch.tensor([1, 2])}, ("y",)), tmp_path / "x.tflite")
    assert 4 * (8 * 4 + 4) <= artifact.streamed_bytes < 4 * (8 * 4 + 4) + 64
    assert [(tensor.name, tensor.dtype) for tensor in artifact.inputs] == [("ids", "int32")]
    with np.load(artifact.reference) as reference:
        assert reference["input/ids"].dtype == np.int64
    assert Artifact.load(artifact.path) == artifact
