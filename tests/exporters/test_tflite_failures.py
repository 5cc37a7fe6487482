"""What goes wrong on the way to TFLite, with a converter that only pretends."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="exporting is what torch is for")

from contracts.exporter import Broken, feed, step  # noqa: E402

from exporters import Artifact, ExportError, GraphInputs  # noqa: E402
from exporters.tflite import ConversionError, TfliteExporter  # noqa: E402
from profiler import exporting  # noqa: E402
from profiler.errors import ToolchainError  # noqa: E402
from profiler.exporting import open_exporter  # noqa: E402
from profiler.toolchain import get_toolchain  # noqa: E402


class Pretends:
    """Writes a file that says what it was asked."""

    producer = "pretends-1"

    def __init__(self, operators: dict[str, int] | None = None, failure: str = "") -> None:
        self.operators, self.failure = operators or {"FULLY_CONNECTED": 2}, failure
        self.asked: list[dict[str, object]] = []

    def convert(self, program, representative, inputs, outputs, precision, target, log):
        exported = torch.export.load(program)
        self.asked.append({"inputs": inputs, "outputs": outputs, "precision": precision, "program": exported})
        if self.failure:
            log.write_text("everything it printed")
            raise ConversionError(self.failure)
        target.write_bytes(b"a graph")
        sides = {
            side: [{"name": name, "dtype": "float32", "shape": [1]} for name in names]
            for side, names in (("inputs", inputs), ("outputs", outputs))
        }
        return {**sides, "operators": self.operators, "streamed_bytes": 12}


def test_the_program_the_converter_reads_is_the_module(tmp_path: Path) -> None:
    converter = Pretends()
    module, inputs = step()
    artifact = TfliteExporter(converter).export(module, inputs, tmp_path / "x.tflite", precision="int8")
    (asked,) = converter.asked
    assert (asked["inputs"], asked["outputs"], asked["precision"]) == (("x", "keys"), ("y", "grown"), "int8")
    given = tuple(inputs.tensors.values())
    for expected, found in zip(module(*given), asked["program"].module()(*given), strict=True):
        assert torch.equal(expected, found)
    assert artifact.streamed_bytes == 12
    assert "pretends-1" in artifact.producer
    assert Artifact.load(artifact.path) == artifact


def test_a_failure_is_one_line_with_its_log_and_leaves_nothing_else(tmp_path: Path) -> None:
    exporter = TfliteExporter(Pretends(failure="RuntimeError: no lowering for aten.sort"))
    with pytest.raises(
        ExportError, match=r"Feed was not converted: .*aten\.sort; all it printed is in .*x\.tflite\.log"
    ):
        exporter.export(*feed(), tmp_path / "x.tflite")
    assert [path.name for path in tmp_path.iterdir()] == ["x.tflite.log"]
    TfliteExporter(Pretends()).export(*feed(), tmp_path / "x.tflite")
    assert not (tmp_path / "x.tflite.log").exists()


@pytest.mark.parametrize(
    ("converter", "message"),
    [
        (Pretends({"ADD": 1, "custom FlexSort": 2}), "needs custom FlexSort, which plain LiteRT does not have"),
    ],
)
def test_a_graph_litert_could_not_run_is_refused(tmp_path: Path, converter: Pretends, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        TfliteExporter(converter).export(*feed(), tmp_path / "x.tflite")
    assert list(tmp_path.iterdir()) == []


def test_what_torch_cannot_trace_never_reaches_the_converter(tmp_path: Path) -> None:
    converter = Pretends()
    with pytest.raises(ExportError, match=r"x\.tflite: torch cannot export Broken"):
        TfliteExporter(converter).export(Broken(), GraphInputs({"x": torch.ones(2)}, ("y",)), tmp_path / "x.tflite")
    assert not converter.asked


@pytest.mark.parametrize(("sample", "found"), [({}, "nothing"), ({"x": torch.ones(1, 4, 16)}, r"shape \(1, 4, 16\)")])
def test_a_representative_input_that_does_not_fit_is_named(tmp_path: Path, sample, found: str) -> None:
    module, inputs = feed()
    given = GraphInputs(inputs.tensors, inputs.outputs, representative=[sample])
    with pytest.raises(ExportError, match=rf"representative input x must have the shape \(1, 5, 16\), not {found}"):
        TfliteExporter(Pretends()).export(module, given, tmp_path / "x.tflite")


def test_tolerances_follow_the_precision(tmp_path: Path) -> None:
    module, inputs = feed()
    exporter = TfliteExporter(Pretends())
    tolerance = {
        precision: exporter.export(module, inputs, tmp_path / "x.tflite", precision=precision).tolerance
        for precision in ("fp32", "int8", "int8-dynamic")
    }
    assert tolerance["fp32"] < tolerance["int8-dynamic"] < tolerance["int8"]


def test_without_the_toolchain_the_command_that_installs_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    with (
        open_exporter("litert") as exporter,
        pytest.raises(ToolchainError, match="hwnas toolchain install litert-torch"),
    ):
        exporter.export(*feed(), tmp_path / "x.tflite")
    assert [path.name for path in tmp_path.iterdir()] == []


def test_another_converter_script_is_another_producer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what an older one exported is not taken for its."""
    toolchain = get_toolchain("litert-torch")
    changed = tmp_path / "tool.py"
    changed.write_bytes(toolchain.tool.read_bytes() + b"# other\n")
    before = exporting.ToolchainConverter().producer
    assert before.startswith(f"litert-torch-{toolchain.versions['litert-torch']}/")
    monkeypatch.setattr(exporting, "get_toolchain", lambda _: replace(toolchain, tool=changed))
    assert exporting.ToolchainConverter().producer != before
