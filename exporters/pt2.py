"""PyTorch module -> checked program of ``torch.export``, its weights in it, for torch itself to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exporters.artifact import Artifact, Format, TensorInfo, sha256_of
from exporters.errors import ExportError
from exporters.protocol import Exporter, GraphInputs
from exporters.reference import Arrays, reference_of, refuse_twins, tolerance_of
from exporters.traced import save, traced
from exporters.whole import whole

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

PRECISIONS = ("fp32",)


@dataclass(frozen=True, slots=True)
class Pt2Exporter:
    """Exports graphs of fixed shapes, those of the example inputs: ``GraphInputs.dynamic`` is left out of account."""

    @property
    def format(self) -> Format:
        """``pt2``."""
        return "pt2"

    @property
    def producer(self) -> str:
        """torch's version, which traces the module."""
        from importlib import metadata

        return f"torch-{metadata.version('torch')}/pt2"

    def export(self, module: nn.Module, inputs: GraphInputs, path: Path, *, precision: str = "fp32") -> Artifact:
        """Write ``module`` to ``path``, with ``PATH.npz`` (reference) and ``PATH.json`` (sidecar).

        Raises :class:`ExportError` if the precision is not supported, torch cannot trace the module, two of its
        weight matrices hold equal values, or the disk is full.
        """
        if precision not in PRECISIONS:
            raise ExportError(
                f"{path.name}: precision {precision!r} is not supported; supported: {', '.join(PRECISIONS)}"
            )
        module.eval()
        refuse_twins(module, path.name)
        reference = reference_of(module, inputs, path.name)
        with whole(path) as (graph, npz):
            program = traced(module, inputs, path.name)
            save(program, graph)
            np.savez(npz, **reference)  # type: ignore[arg-type]
            artifact = Artifact(
                path=path,
                format=self.format,
                precision=precision,
                inputs=_tensors(reference, "input/"),
                outputs=_tensors(reference, "output/"),
                sha256=sha256_of(graph),
                size_bytes=graph.stat().st_size,
                producer=self.producer,
                reference=path.with_name(path.name + ".npz"),
                tolerance=tolerance_of(reference, precision),
                streamed_bytes=_streamed_bytes(program),
            )
            artifact.sidecar.unlink(missing_ok=True)
            npz.replace(artifact.reference)
            graph.replace(path)
            artifact.save()
        return artifact


def _tensors(reference: Arrays, prefix: str) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(key.removeprefix(prefix), value.dtype.name, value.shape)
        for key, value in reference.items()
        if key.startswith(prefix)
    )


def _streamed_bytes(program: ExportedProgram) -> int:
    """Bytes of the weights that something reads, but for tables of which a call takes some rows."""
    weights = {
        node.name: program.state_dict[name]
        for specs in (program.graph_signature.inputs_to_parameters, program.graph_signature.inputs_to_buffers)
        for input_name, name in specs.items()
        if name in program.state_dict
        for node in program.graph.nodes
        if node.name == input_name and any("embedding" not in str(user.target) for user in node.users)
    }
    held = {tensor.untyped_storage().data_ptr(): tensor for tensor in weights.values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in held.values())


if TYPE_CHECKING:
    _: type[Exporter] = Pt2Exporter
