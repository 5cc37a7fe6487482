"""What goes wrong on the way to TVM, with a compiler that only pretends."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="exporting is what torch is for")
onnx = pytest.importorskip("onnx", reason="what the compiler reads")

from contracts.exporter import ExporterContract, feed, step  # noqa: E402

from exporters import Artifact, ExportError  # noqa: E402
from exporters.tvm import PRECISIONS, CompilationError, TvmExporter  # noqa: E402
from profiler.errors import ToolchainError  # noqa: E402
from profiler.exporting import open_exporter  # noqa: E402


class Pretends:
    """Writes a file that says what it was asked."""

    producer = "pretends-1"

    def __init__(self, failure: str = "") -> None:
        self.failure = failure
        self.asked: list[onnx.ModelProto] = []
        self.precisions: list[str] = []

    def compile(self, graph, library, precision, log):
        self.asked.append(onnx.load(graph))
        self.precisions.append(precision)
        if self.failure:
            log.write_text("everything it printed")
            raise CompilationError(self.failure)
        library.write_bytes(b"a library of " + graph.read_bytes())
        return {"kernels": ["dense"], "narrowed_bytes": {"fp16": 2, "int8-dynamic": 3}.get(precision, 0)}


class TestPretended(ExporterContract):
    static = True

    @pytest.fixture
    def exporter(self) -> TvmExporter:
        return TvmExporter(Pretends())


def test_the_graph_the_compiler_reads_has_fixed_shapes(tmp_path: Path) -> None:
    compiler = Pretends()
    artifact = TvmExporter(compiler).export(*step(), tmp_path / "x.tvm")
    (graph,) = compiler.asked
    sizes = [[d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.graph.input]
    assert sizes == [[1, 8], [1, 3, 8]]
    assert artifact.producer.endswith("/pretends-1")
    assert artifact.streamed_bytes >= 4 * (8 * 8 + 8)
    assert Artifact.load(artifact.path) == artifact


def test_ranges_from_data_stand_in_the_graph_and_all_else_is_left_to_the_compiler(tmp_path: Path) -> None:
    compiler = Pretends()
    exporter = TvmExporter(compiler)
    made = {each: exporter.export(*feed(), tmp_path / f"{each}.tvm", precision=each) for each in PRECISIONS}
    assert tuple(compiler.precisions) == PRECISIONS
    rounding = {
        each: sum(node.op_type == "QuantizeLinear" for node in graph.graph.node)
        for each, graph in zip(made, compiler.asked, strict=True)
    }
    assert rounding["int8"] >= 2
    assert {each: rounding[each] for each in PRECISIONS if each != "int8"} == dict.fromkeys(
        ("fp32", "fp16", "int8-dynamic"), 0
    )
    assert [artifact.precision for artifact in made.values()] == list(PRECISIONS)
    tolerances = [made[each].tolerance for each in ("fp32", "fp16", "int8-dynamic", "int8")]
    assert tolerances == sorted(set(tolerances))
    assert made["int8-dynamic"].streamed_bytes == made["fp32"].streamed_bytes - 3
    assert made["int8"].streamed_bytes < made["fp32"].streamed_bytes


def test_a_failure_is_one_line_with_its_log_and_leaves_nothing_else(tmp_path: Path) -> None:
    exporter = TvmExporter(Pretends("ValueError: there is no schedule for mean"))
    with pytest.raises(
        ExportError, match=r"x\.tvm: Feed was not compiled: .* mean; all it printed is in .*x\.tvm\.log"
    ):
        exporter.export(*feed(), tmp_path / "x.tvm")
    assert [path.name for path in tmp_path.iterdir()] == ["x.tvm.log"]
    TvmExporter(Pretends()).export(*feed(), tmp_path / "x.tvm")
    assert not (tmp_path / "x.tvm.log").exists()


def test_without_the_toolchain_the_command_that_installs_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    with pytest.raises(ToolchainError, match="hwnas toolchain install tvm"), open_exporter("tvm"):
        pass
