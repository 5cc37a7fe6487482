"""Graphs some of whose modules are quantised: which nodes, how near to PyTorch, and what is refused."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting is what torch is for")
onnx = pytest.importorskip("onnx", reason="reads what was exported")
onnxruntime = pytest.importorskip("onnxruntime", reason="runs what was exported")

from torch import nn  # noqa: E402

from exporters import Artifact, ExportError, GraphInputs, export_cached  # noqa: E402
from exporters.onnx import OnnxExporter  # noqa: E402
from exporters.protocol import Exporter  # noqa: E402
from exporters.pt2 import Pt2Exporter  # noqa: E402
from exporters.tflite import TfliteExporter  # noqa: E402
from exporters.tvm import TvmExporter  # noqa: E402


class Blocks(nn.Module):
    """Two blocks and a head that shares the table of an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 16)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 16)) for _ in range(12))
        self.head = nn.Linear(16, 11)
        self.head.weight = self.table.weight

    def forward(self, symbols: torch.Tensor) -> torch.Tensor:
        hidden = self.table(symbols)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.head(hidden)


def graph(**precisions: str) -> tuple[nn.Module, GraphInputs]:
    torch.manual_seed(0)
    modules = {name.replace("_", "."): precision for name, precision in precisions.items()}
    return Blocks(), GraphInputs({"symbols": torch.arange(5)}, ("logits",), precisions=modules)


def nodes(artifact: Artifact) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(artifact.path).graph.node)


def test_just_the_products_of_a_module_are_quantised(tmp_path: Path) -> None:
    plain = OnnxExporter().export(*graph(), tmp_path / "plain.onnx")
    mixed = OnnxExporter().export(*graph(blocks_1="int8-dynamic"), tmp_path / "mixed.onnx")
    assert (plain.precision, mixed.precision) == ("fp32", "fp32+int8-dynamic")
    assert (nodes(plain)["Gemm"], nodes(plain)["MatMulInteger"]) == (25, 0)
    assert (nodes(mixed)["Gemm"], nodes(mixed)["MatMulInteger"]) == (23, 2)  # blocks.10 and blocks.11 stay
    assert mixed.size_bytes < plain.size_bytes + 4000
    assert mixed.streamed_bytes == plain.streamed_bytes - 3 * 2 * 16 * 24 + 5 * (24 + 16)  # scales and zero points
    reference = np.load(mixed.reference)
    session = onnxruntime.InferenceSession(mixed.path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"symbols": reference["input/symbols"]})
    error = np.abs(logits - reference["output/logits"]).max()
    assert plain.tolerance < error <= mixed.tolerance


def test_a_tied_table_is_looked_up_in_fp32_and_multiplied_in_int8(tmp_path: Path) -> None:
    mixed = OnnxExporter().export(*graph(head="int8-dynamic"), tmp_path / "mixed.onnx")
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(mixed.path).graph.initializer}
    (gather,) = (node for node in onnx.load(mixed.path).graph.node if node.op_type == "Gather")
    assert stored[gather.input[0]] == onnx.TensorProto.FLOAT
    assert nodes(mixed)["MatMulInteger"] == 1


def test_it_is_found_again_in_a_cache(tmp_path: Path) -> None:
    built: list[int] = []

    def build() -> tuple[nn.Module, GraphInputs]:
        built.append(1)
        return graph(head="int8-dynamic")

    first, again = (export_cached("head", build, tmp_path, OnnxExporter()) for _ in range(2))
    assert (first, len(built)) == (again, 1)


@pytest.mark.parametrize(
    ("modules", "precision", "words"),
    [
        ({"blocks_12": "int8-dynamic"}, "fp32", "the graph has no product of blocks.12"),
        ({"blocks_1": "int8"}, "fp32", "modules can be in int8-dynamic beside fp32, not in int8"),
        ({"blocks_1": "int8-dynamic"}, "int8", "modules have precisions of their own, .* not int8"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_left(
    modules: dict[str, str], precision: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=words) as caught:
        OnnxExporter().export(*graph(**modules), tmp_path / "x.onnx", precision=precision)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


class Nothing:
    """A converter, or a compiler, that is never asked for anything."""

    producer = "nothing-1"


@pytest.mark.parametrize("exporter", [TfliteExporter(Nothing()), TvmExporter(Nothing()), Pt2Exporter()])
def test_other_formats_do_not_mix(exporter: Exporter, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"x: mixed precision is for ONNX Runtime"):
        exporter.export(*graph(head="int8-dynamic"), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_nodes_that_are_not_named_after_modules_are_not_guessed_at(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the dynamo path needs it")
    with pytest.raises(ExportError, match=r"the graph has no product of blocks\.1"):
        OnnxExporter("dynamo").export(*graph(blocks_1="int8-dynamic"), tmp_path / "x.onnx")
