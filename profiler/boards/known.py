"""A small graph in each format whose answer is known without any runtime: it proves that one works on a board."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from exporters import Artifact
from exporters.artifact import sha256_of
from profiler.exporting import ToolchainCompiler, format_of
from profiler.hardware import SshDevice

_FOLDER = Path(__file__).with_name("known")


def known_graph(device: SshDevice, folder: Path) -> Artifact:
    """The graph for a device's runtime: ``relu(x W + b)`` on whole numbers, so that every runtime gives the same.

    What must be compiled for the device's processor is, into ``folder``. Raises :class:`ToolchainError` if the
    compiler is not installed.
    """
    if format_of(device.runtime) != "tvm":
        return Artifact.load(_FOLDER / f"known.{format_of(device.runtime)}")
    graph, library = Artifact.load(_FOLDER / "known.onnx"), folder / "known.so"
    compiler = ToolchainCompiler(device.tvm_target or "native")
    try:
        compiler.compile(graph.path, library, "fp32", folder / "known.log")
    finally:
        compiler.close()
    return replace(graph, path=library, format="tvm", sha256=sha256_of(library), size_bytes=library.stat().st_size)
