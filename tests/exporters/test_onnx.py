from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting is what torch is for")
onnxruntime = pytest.importorskip("onnxruntime", reason="runs what was exported")

from contracts.exporter import ExporterContract, feed, step  # noqa: E402
from torch import nn  # noqa: E402

from exporters import Artifact, ArtifactError, ExportError, GraphInputs, cached_path, export_cached  # noqa: E402
from exporters.onnx import OPSET, OnnxExporter  # noqa: E402


def run(artifact: Artifact, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(artifact.path, providers=["CPUExecutionProvider"]).run(None, inputs)


class TestTorchScript(ExporterContract):
    @pytest.fixture
    def exporter(self) -> OnnxExporter:
        return OnnxExporter()


class TestDynamo(ExporterContract):
    @pytest.fixture
    def exporter(self) -> OnnxExporter:
        pytest.importorskip("onnxscript", reason="the dynamo path needs it")
        return OnnxExporter("dynamo")


@pytest.mark.parametrize("path", ["torchscript", "dynamo"])
def test_runs_at_other_lengths_than_it_was_exported_with(path: str, tmp_path: Path) -> None:
    module, inputs = step()
    artifact = OnnxExporter(path).export(module, inputs, tmp_path / "step.onnx")
    assert f"/{path}/opset{OPSET[path]}" in artifact.producer
    for past in (0, 1, 3, 20):
        x, keys = torch.randn(1, 8), torch.randn(1, past, 8)
        wanted = module(x, keys)
        got = run(artifact, {"x": x.numpy(), "keys": keys.numpy()})
        for expected, given in zip(wanted, got, strict=True):
            assert np.abs(expected.detach().numpy() - given).max() <= artifact.tolerance
    assert b"/test_onnx.py" not in artifact.path.read_bytes()


def test_an_unused_input_is_named(tmp_path: Path) -> None:
    class Ignores(nn.Module):
        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            return x + 1

    inputs = GraphInputs({"x": torch.ones(2), "lengths": torch.ones(1)}, ("y",))
    with pytest.raises(ExportError, match="does not use input lengths"):
        OnnxExporter().export(Ignores(), inputs, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_equal_weights_would_be_merged_and_are_refused(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    inputs = GraphInputs({"x": torch.ones(1, 8)}, ("y",))
    for layer in module:
        nn.init.constant_(layer.weight, 0.1)
    with pytest.raises(ExportError, match=r"0\.weight and 1\.weight hold equal values"):
        OnnxExporter().export(module, inputs, tmp_path / "x.onnx")
    module[1].weight = module[0].weight
    tied = OnnxExporter().export(module, inputs, tmp_path / "tied.onnx")
    module[1].weight = nn.Parameter(torch.rand(8, 8))
    assert OnnxExporter().export(module, inputs, tmp_path / "apart.onnx").size_bytes > tied.size_bytes


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot write"):
        OnnxExporter().export(*feed(), tmp_path / "file" / "x.onnx")


def test_cache_builds_once_and_again_when_damaged(tmp_path: Path) -> None:
    built = []

    def build() -> tuple[nn.Module, GraphInputs]:
        built.append(1)
        return feed()

    key = "encoder_ffn[embed=16,ffn=32,tokens=5,precision=fp32]"
    first = export_cached(key, build, tmp_path, OnnxExporter())
    assert export_cached(key, build, tmp_path, OnnxExporter()) == first
    assert len(built) == 1
    assert first.path == cached_path(key, tmp_path, OnnxExporter())
    assert first.path != cached_path(key, tmp_path, OnnxExporter("dynamo"))
    assert first.path != cached_path(key + "2", tmp_path, OnnxExporter())
    first.path.write_bytes(first.path.read_bytes()[:-9])
    with pytest.raises(ArtifactError, match="not the file that was exported"):
        Artifact.load(first.path)
    assert export_cached(key, build, tmp_path, OnnxExporter()) == first
    assert len(built) == 2
    first.sidecar.write_text("{")
    with pytest.raises(ArtifactError, match="is damaged"):
        Artifact.load(first.path)
    assert export_cached(key, build, tmp_path, OnnxExporter()) == first


def test_an_infinite_output_does_not_make_every_difference_tolerable(tmp_path: Path) -> None:
    class Masks(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return 3 * x, torch.where(x > 1, float("-inf"), x)

    inputs = GraphInputs({"x": torch.tensor([1.0, 2.0])}, ("y", "mask"))
    artifact = OnnxExporter().export(Masks(), inputs, tmp_path / "mask.onnx")
    assert artifact.tolerance == pytest.approx(6e-4)


@pytest.mark.slow
def test_half_a_gigabyte(tmp_path: Path) -> None:
    module = nn.Linear(12_000, 12_000)
    nn.init.constant_(module.weight, 1e-3)
    artifact = OnnxExporter().export(module, GraphInputs({"x": torch.ones(1, 12_000)}, ("y",)), tmp_path / "big.onnx")
    assert artifact.size_bytes > 570_000_000
    assert Artifact.load(artifact.path) == artifact


def test_weights_that_are_only_looked_up_are_not_streamed(tmp_path: Path) -> None:
    class Model(torch.nn.Module):
        def __init__(self, tied: bool) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(100, 8)
            self.project = torch.nn.Linear(8, 4)
            self.tied = tied

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            hidden = self.project(self.table(ids))
            return hidden @ self.table.weight[:4] if self.tied else hidden

    inputs = GraphInputs({"ids": torch.tensor([1, 2])}, ("y",))
    apart = OnnxExporter().export(Model(tied=False), inputs, tmp_path / "apart.onnx")
    assert apart.streamed_bytes == 4 * (8 * 4 + 4)
    tied = OnnxExporter().export(Model(tied=True), inputs, tmp_path / "tied.onnx")
    assert tied.streamed_bytes >= 4 * (8 * 4 + 4) + 4 * 4 * 8


@pytest.mark.parametrize(
    ("precision", "share", "snr_db"), [("fp16", 0.6, 55), ("int8", 0.4, 28), ("int8-dynamic", 0.4, 32)]
)
def test_in_another_precision_it_is_smaller_and_nearly_the_same(precision, share, snr_db, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.LayerNorm(64))
    inputs = GraphInputs({"x": torch.randn(5, 64)}, ("y",), {"x": {0: "rows"}})
    plain = OnnxExporter().export(module, inputs, tmp_path / "plain.onnx")
    artifact = OnnxExporter().export(module, inputs, tmp_path / "x.onnx", precision=precision)
    again = OnnxExporter().export(module, inputs, tmp_path / "again.onnx", precision=precision)
    assert artifact.sha256 == again.sha256
    assert (artifact.inputs, [o.name for o in artifact.outputs]) == (plain.inputs, ["y"])
    assert artifact.outputs[0].dtype == "float32"
    assert artifact.streamed_bytes < share * plain.streamed_bytes
    assert artifact.size_bytes < plain.size_bytes
    with np.load(artifact.reference) as reference:
        wanted = reference["output/y"]
    (found,) = run(artifact, {"x": inputs.tensors["x"].numpy()})
    error = found - wanted
    assert 0 < np.abs(error).max() <= artifact.tolerance
    assert 10 * np.log10(np.square(wanted).sum() / np.square(error).sum()) > snr_db
    assert run(artifact, {"x": np.ones((9, 64), np.float32)})[0].shape == (9, 64), "axes stay dynamic"


def test_static_ranges_come_from_the_representative_inputs(tmp_path: Path) -> None:
    module, inputs = feed()
    few = GraphInputs({"x": 0.01 * inputs.tensors["x"]}, inputs.outputs)
    seen = GraphInputs(few.tensors, few.outputs, representative=[dict(inputs.tensors)])

    def error(given: GraphInputs) -> float:
        artifact = OnnxExporter().export(module, given, tmp_path / "x.onnx", precision="int8")
        (found,) = run(artifact, {"x": inputs.tensors["x"].numpy()})
        return float(np.abs(found - module(inputs.tensors["x"]).detach().numpy()).max())

    assert error(seen) < 0.3 * error(few)


def test_a_representative_input_that_does_not_fit(tmp_path: Path) -> None:
    module, inputs = feed()
    for sample, message in (({"z": torch.ones(1)}, "representative input lacks x"), ({"x": torch.ones(3)}, "int8: ")):
        wrong = GraphInputs(inputs.tensors, inputs.outputs, representative=[sample])
        with pytest.raises(ExportError, match=message) as caught:
            OnnxExporter().export(module, wrong, tmp_path / "x.onnx", precision="int8")
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8-dynamic"])
def test_a_table_that_is_looked_up_and_multiplied_with(precision: str, tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.zeros = nn.Embedding(40, 16), nn.Parameter(torch.zeros(40))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(self.table(ids), self.table.weight, self.zeros)

    torch.manual_seed(0)
    inputs = GraphInputs({"ids": torch.tensor([1, 2])}, ("y",), {"ids": {0: "rows"}})
    artifact = OnnxExporter().export(Tied(), inputs, tmp_path / "x.onnx", precision=precision)
    with np.load(artifact.reference) as reference:
        (found,) = run(artifact, {"ids": reference["input/ids"]})
        assert np.abs(found - reference["output/y"]).max() <= artifact.tolerance


def test_a_step_with_a_cache_of_no_tokens_is_quantised(tmp_path: Path) -> None:
    module, inputs = step()
    empty = GraphInputs(
        inputs.tensors, inputs.outputs, inputs.dynamic, [{"x": torch.ones(1, 8), "keys": torch.ones(1, 0, 8)}]
    )
    artifact = OnnxExporter().export(module, empty, tmp_path / "x.onnx", precision="int8")
    assert run(artifact, {"x": np.ones((1, 8), np.float32), "keys": np.zeros((1, 0, 8), np.float32)})[1].shape[1] == 1
