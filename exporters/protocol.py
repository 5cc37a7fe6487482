"""What an exporter takes and gives: named example inputs in, a checked artifact out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from exporters.artifact import Artifact, Format
from exporters.errors import ExportError

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class GraphInputs:
    """Example inputs of a graph, by name, in the order of ``forward``'s positional arguments.

    ``outputs`` names what ``forward`` returns, in order. ``dynamic`` names the axes that may
    grow or shrink at run time: ``{"self_key_0": {2: "past"}}``; every other axis is static.
    ``representative`` are further inputs, of the kind the model will see, by which a static
    quantisation chooses its ranges; without any, ``tensors`` alone are that. ``precisions`` names submodules, by
    the path that exporters keep in the names of their nodes, that are in another precision than fp32, the graph's.
    """

    tensors: Mapping[str, torch.Tensor]
    outputs: tuple[str, ...]
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    representative: Sequence[Mapping[str, torch.Tensor]] = ()
    precisions: Mapping[str, str] = field(default_factory=dict)


class Exporter(Protocol):
    """Writes one module to one file."""

    @property
    def format(self) -> Format:
        """The format of the file, which is its suffix too."""
        ...

    @property
    def producer(self) -> str:
        """What, beside the module, decides the content of the file: tool, version, settings."""
        ...

    def export(self, module: nn.Module, inputs: GraphInputs, path: Path, *, precision: str = "fp32") -> Artifact:
        """Write ``module`` (put in eval mode) to ``path`` with its sidecar and reference.

        Nothing is left at ``path`` if it fails. Raises :class:`exporters.ExportError`.
        """
        ...


def refuse_mixed(inputs: GraphInputs, name: str) -> None:
    """Raises :class:`ExportError`, naming the file it is for, if modules have precisions of their own."""
    if inputs.precisions:
        raise ExportError(f"{name}: mixed precision is for ONNX Runtime")
