"""PyTorch module -> one shared library by TVM, through ONNX and a compiler that runs in an environment of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from exporters.artifact import Artifact, Format, sha256_of
from exporters.errors import ExportError
from exporters.onnx import OnnxExporter
from exporters.protocol import Exporter, GraphInputs, refuse_mixed
from exporters.reference import tolerance_of
from exporters.whole import whole

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic")
"""Of products with weights; all else is computed in fp32, and inputs and outputs are fp32.
``int8``: weights by column, activations by ranges seen on representative inputs. ``int8-dynamic``: activations by the
range of each row, found at run time. ``fp16``: weights in float16, multiplied in fp32."""


class CompilationError(Exception):
    """What the compiler says went wrong, in one line."""


class Compiler(Protocol):
    """Turns an ONNX file into a shared library; see ``tvm_tool.compile_graph``."""

    @property
    def producer(self) -> str:
        """TVM's version, the target, and what the schedules are."""
        ...

    def compile(self, graph: Path, library: Path, precision: str, log: Path) -> Mapping[str, Any]:
        """Write ``library`` and say what is in it (``kernels``, ``narrowed_bytes``); raises :class:`CompilationError`.

        For ``int8`` the graph says where it rounds, and to which levels.
        """
        ...


@dataclass(frozen=True, slots=True)
class TvmExporter:
    """Compiles graphs of fixed shapes, those of the example inputs: ``GraphInputs.dynamic`` is left out of account.

    The library holds the weights, packed as its kernels read them, and needs TVM's runtime alone.
    """

    compiler: Compiler
    graphs: OnnxExporter = field(default_factory=OnnxExporter)

    @property
    def format(self) -> Format:
        """``tvm``."""
        return "tvm"

    @property
    def producer(self) -> str:
        """What decides the graph, and what decides the library made of it."""
        return f"{self.graphs.producer}/{self.compiler.producer}"

    def export(self, module: nn.Module, inputs: GraphInputs, path: Path, *, precision: str = "fp32") -> Artifact:
        """Write ``module`` to ``path``, with ``PATH.npz`` (reference) and ``PATH.json`` (sidecar).

        Raises :class:`ExportError` if the precision is not supported, the module cannot become an ONNX graph
        (see :meth:`exporters.onnx.OnnxExporter.export`) or the compiler fails; what that printed is then kept
        in ``PATH.log``.
        """
        if precision not in PRECISIONS:
            raise ExportError(
                f"{path.name}: precision {precision!r} is not supported; supported: {', '.join(PRECISIONS)}"
            )
        refuse_mixed(inputs, path.name)
        with whole(path) as (library, npz), tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
            graph = Path(folder) / path.with_suffix(".onnx").name
            ranges_known = precision == "int8"  # any other precision is given to fp32 by the compiler
            exported = self.graphs.export(
                module, replace(inputs, dynamic={}), graph, precision="int8" if ranges_known else "fp32"
            )
            facts = self._compile(graph, library, precision, path, type(module).__name__)
            shutil.copyfile(exported.reference, npz)
            with np.load(exported.reference, allow_pickle=False) as reference:
                tolerance = tolerance_of(dict(reference), precision)
            artifact = replace(
                exported,
                path=path,
                format=self.format,
                precision=precision,
                tolerance=tolerance,
                streamed_bytes=exported.streamed_bytes - facts["narrowed_bytes"],
                sha256=sha256_of(library),
                size_bytes=library.stat().st_size,
                producer=self.producer,
                reference=path.with_name(path.name + ".npz"),
            )
            artifact.sidecar.unlink(missing_ok=True)
            npz.replace(artifact.reference)
            library.replace(path)
            artifact.save()
        return artifact

    def _compile(self, graph: Path, library: Path, precision: str, path: Path, name: str) -> Mapping[str, Any]:
        log = path.with_name(path.name + ".log")
        try:
            facts = self.compiler.compile(graph, library, precision, log)
        except CompilationError as exc:
            where = f"; all it printed is in {log}" if log.is_file() else ""
            raise ExportError(f"{path.name}: {name} was not compiled: {exc}{where}") from exc
        with suppress(OSError):
            log.unlink(missing_ok=True)  # of an earlier failure
        return facts


if TYPE_CHECKING:
    _: type[Exporter] = TvmExporter
