"""What every exporter keeps: subclass ``ExporterContract`` and give it the ``exporter`` fixture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from exporters import Artifact, Exporter, ExportError, GraphInputs


class Feed(nn.Module):
    """A post-norm feed-forward sublayer, (batch, tokens, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(16, 32), nn.Linear(32, 16), nn.LayerNorm(16)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.norm(x + self.down(self.drop(torch.relu(self.up(x)))))
        return out


class Step(nn.Module):
    """Attention over a growing cache of keys: (1, 8) and (1, past, 8) -> (1, 8) and (1, past + 1, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.key = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grown = torch.cat([keys, self.key(x)[:, None]], dim=1)
        return ((x[:, None] @ grown.transpose(1, 2)).softmax(-1) @ grown)[:, 0], grown


def feed() -> tuple[nn.Module, GraphInputs]:
    torch.manual_seed(0)
    return Feed(), GraphInputs({"x": torch.randn(1, 5, 16)}, ("y",))


def step() -> tuple[nn.Module, GraphInputs]:
    torch.manual_seed(0)
    tensors = {"x": torch.randn(1, 8), "keys": torch.randn(1, 3, 8)}
    return Step(), GraphInputs(tensors, ("y", "grown"), {"keys": {1: "past"}})


class Broken(nn.Module):
    """Fails while it is traced or exported, not while it runs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            raise RuntimeError("cannot be exported\nsecond line")
        return x


class ExporterContract:
    """Every implementation of :class:`exporters.Exporter`; ``static`` if its graphs have fixed shapes."""

    static = False

    @pytest.fixture
    def exporter(self) -> Exporter:
        raise NotImplementedError

    def test_reference_is_the_module_in_eval_mode(self, exporter: Exporter, tmp_path: Path) -> None:
        module, inputs = feed()
        module.train()
        artifact = exporter.export(module, inputs, tmp_path / "feed.onnx")
        with np.load(artifact.reference) as reference, torch.inference_mode():
            assert set(reference.files) == {"input/x", "output/y"}
            assert np.array_equal(reference["input/x"], inputs.tensors["x"].numpy())
            assert np.array_equal(reference["output/y"], module.eval()(inputs.tensors["x"]).numpy())
            largest = np.abs(reference["output/y"]).max()
        assert artifact.tolerance == pytest.approx(1e-4 * max(1.0, largest))
        assert artifact.producer == exporter.producer

    def test_what_is_saved_is_loaded(self, exporter: Exporter, tmp_path: Path) -> None:
        artifact = exporter.export(*feed(), tmp_path / "new" / "feed.onnx")
        assert Artifact.load(artifact.path) == artifact
        assert artifact.size_bytes == artifact.path.stat().st_size
        assert not [p for p in artifact.path.parent.iterdir() if "partial" in p.name]

    def test_shapes_and_dynamic_axes(self, exporter: Exporter, tmp_path: Path) -> None:
        artifact = exporter.export(*step(), tmp_path / "step.onnx")
        assert [(i.name, i.dtype, i.shape) for i in artifact.inputs] == [
            ("x", "float32", (1, 8)),
            ("keys", "float32", (1, 3 if self.static else "past", 8)),
        ]
        assert [i.name for i in artifact.outputs] == ["y", "grown"]
        grown = artifact.outputs[1].shape
        assert (grown[0], grown[2]) == (1, 8)
        assert grown[1] == 4 if self.static else isinstance(grown[1], str)

    def test_the_same_module_gives_the_same_file(self, exporter: Exporter, tmp_path: Path) -> None:
        first = exporter.export(*feed(), tmp_path / "a.onnx")
        second = exporter.export(*feed(), tmp_path / "sub" / "b.onnx")
        assert first.sha256 == second.sha256

    def test_failure_leaves_nothing(self, exporter: Exporter, tmp_path: Path) -> None:
        inputs = GraphInputs({"x": torch.ones(2)}, ("y",))
        with pytest.raises(ExportError, match=r"x\.onnx.*Broken") as caught:
            exporter.export(Broken(), inputs, tmp_path / "x.onnx")
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    def test_failure_keeps_the_artifact_that_was_there(self, exporter: Exporter, tmp_path: Path) -> None:
        old = exporter.export(*feed(), tmp_path / "x.onnx")
        with pytest.raises(ExportError):
            exporter.export(Broken(), GraphInputs({"x": torch.ones(2)}, ("y",)), tmp_path / "x.onnx")
        assert Artifact.load(old.path) == old

    def test_interruption_leaves_no_artifact_that_loads(
        self, exporter: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(self: Artifact) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Artifact, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            exporter.export(*feed(), tmp_path / "x.onnx")
        assert not (tmp_path / "x.onnx").exists()

    def test_unknown_precision_names_what_is_supported(self, exporter: Exporter, tmp_path: Path) -> None:
        with pytest.raises(ExportError, match="'int3' is not supported; supported: fp32"):
            exporter.export(*feed(), tmp_path / "x.onnx", precision="int3")

    def test_wrong_number_of_output_names(self, exporter: Exporter, tmp_path: Path) -> None:
        module, inputs = step()
        with pytest.raises(ExportError, match="returns 2 tensors, but outputs names 1: y"):
            exporter.export(module, GraphInputs(inputs.tensors, ("y",)), tmp_path / "x.onnx")
