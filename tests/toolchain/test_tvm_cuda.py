"""TVM for GPUs as far as it goes without one: source, which NVIDIA's compiler takes, and tensors that move."""

import subprocess
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="what is compiled is made by it")

from contracts.tflite_graphs import golden
from contracts.toolchains import need

from exporters.onnx import OnnxExporter
from profiler.errors import ToolRefusalError
from profiler.toolchain import (
    ToolProcess,
    get_toolchain,
)
from profiler.toolchain.place import environment, python
from profiler.worker_archive import pack_worker

pytestmark = pytest.mark.slow

MOVED = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from worker.tvm_runtime import TvmRuntime
runtime = TvmRuntime(1, None)
runtime.device = runtime.ffi.device("cpu", 0)
for value in (np.arange(6, dtype=np.float32).reshape(2, 3), np.array([7], np.int64)):
    tensor = runtime.tensor(value)
    assert tensor is not runtime._moved(tensor, runtime.device)
    assert np.array_equal(runtime.array(tensor), value)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    need("tvm")
    folder = tmp_path_factory.mktemp("gpu")
    with ToolProcess.open("tvm") as process:
        for stem, (module, inputs, precision) in golden().items():
            if precision != "fp32":
                continue
            graph = OnnxExporter().export(module, inputs, folder / f"{stem}.onnx").path
            facts = process.call(
                "compile_graph", graph=str(graph), library=str(folder / f"{stem}.tvm"), log=str(folder / "log"),
                target="cuda/sm_86",
            )  # fmt: skip
            assert facts["kernels"]
            with pytest.raises(ToolRefusalError, match="no schedules for GPUs; use fp32"):
                process.call(
                    "compile_graph", graph=str(graph), library=str(folder / "a"), log=str(folder / "log"),
                    target="cuda/sm_86", precision="int8",
                )  # fmt: skip
        assert process.call("describe", target="cuda/sm_86")["name"] == "cuda-sm_86"
    return {path.stem: path for path in folder.glob("*.tvm")}


def test_kernels_are_in_the_library(sources: dict[str, Path]) -> None:
    assert set(sources) == {"linear", "linear-16", "counting", "feed"}
    for path in sources.values():
        assert b"__global__" in path.read_bytes() or b"\x7fELF" in path.read_bytes()[64:]


def test_tensors_move_to_a_device_and_back(tmp_path: Path) -> None:
    need("tvm")
    interpreter = python(environment(get_toolchain("tvm")))
    subprocess.run([interpreter, "-c", MOVED, pack_worker(tmp_path)], check=True, timeout=60)


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU here")
def test_without_a_gpu_there_is_none_to_compile_for() -> None:
    need("tvm")
    with ToolProcess.open("tvm") as process, pytest.raises(ToolRefusalError, match="TVM finds no GPU here"):
        process.call("describe", target="cuda")
