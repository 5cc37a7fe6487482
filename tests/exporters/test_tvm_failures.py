"""What goes wrong on the way to TVM, with a compiler that only pretends."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="exporting is what torch is for")
onnx = pytest.importorskip("onnx", reason="what the compiler reads")

from contracts.exporter import ExporterContract, feed, step  # noqa: E402

from exporters import Artifact, ExportError  # noqa: E402
from exporters.tvm import CompilationError, TvmExporter  # noqa: E402
from profiler.errors import ToolchainError  # noqa: E402
from profiler.exporting import open_exporter  # noqa: E402


class Pretends:
    """Writes a file that says what it was asked."""

    producer = "pretends-1"

    def __init__(self, failure: str = "") -> None:
        self.failure = failure
        self.asked: list[onnx.ModelProto] = []

    def compile(self, graph, library, precision, log):
        self.asked.append(onnx.load(graph))
        if self.failure:
            log.write_text("everything it printed")
            raise CompilationError(self.failure)
        library.write_bytes(b"a library of " + graph.read_bytes())
        return {"kernels": ["dense"], "narrowed_bytes": 0}


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
