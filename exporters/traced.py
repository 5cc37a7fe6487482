"""What ``torch.export`` makes of a module: a program of its own, which a process without our modules can read."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.errors import ExportError
from exporters.protocol import GraphInputs, refuse_mixed

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram


def traced(module: nn.Module, inputs: GraphInputs, name: str) -> ExportedProgram:
    """The program of ``module`` (in eval mode), every shape that of the example inputs.

    Raises :class:`ExportError`, naming the file it is for, if torch cannot trace it or precisions are mixed.
    """
    import torch

    refuse_mixed(inputs, name)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(module, tuple(inputs.tensors.values()))
    except Exception as exc:
        first = (str(exc).strip() or type(exc).__name__).splitlines()[0]
        raise ExportError(f"{name}: torch cannot export {type(module).__name__}: {first}") from exc


def save(program: ExportedProgram, path: Path) -> None:
    """Write it so that the same program gives the same bytes: without its lines of source, nor the file's name."""
    import torch

    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    with warnings.catch_warnings(), path.open("wb") as stream:
        warnings.simplefilter("ignore")
        torch.export.save(program, stream)
