"""Inputs that a model's graphs see on real sentences: what int8 takes its ranges from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hwnas.data.task import Task
from hwnas.decoding import MaxTokens
from hwnas.deploy.graphs import Graph
from hwnas.deploy.runner import Loop
from hwnas.families.base import ModelGraphs
from hwnas.workload import Workload

if TYPE_CHECKING:
    import torch
    from torch import nn

    from exporters import GraphInputs

SENTENCES, SAMPLES = 32, 96
"""Training inputs that are answered, and steps of the decoder, spread over them, that are kept of these."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Graphs with representative inputs, and how many sentences these are from."""

    graphs: ModelGraphs
    sentences: int


def on_real_data(graphs: ModelGraphs, task: Task, workload: Workload, limits: MaxTokens) -> Calibrated:
    """``graphs`` whose representative inputs are those of training inputs of ``task``, answered by PyTorch.

    An input of the shapes of the reference, if there is one, takes the place of the random reference: no range
    then follows from random numbers.
    """
    seen: dict[str, list[dict[str, torch.Tensor]]] = {name: [] for name in graphs.graphs}
    described = {
        name: {
            "inputs": [{"name": key, "shape": _shape(inputs, key)} for key in inputs.tensors],
            "outputs": [{"name": key} for key in inputs.outputs],
        }
        for name, (_, inputs) in graphs.graphs.items()
    }
    stages = [
        {"graph": stage.graph, "repeat": stage.repeat, "feeds": stage.feeds, "carry": stage.carry,
         "initial": stage.initial, "counter": stage.counter}
        for stage in graphs.stages
    ]  # fmt: skip
    loop = Loop(stages, described, workload.beam)
    loop.run = tuple(_recorded(*graphs.graphs[name], seen[name]) for name in loop.graphs)
    longest = loop.source_tokens or limits.limit
    taken = [pair.source for pair in task.pairs["train"] if len(pair.source) <= longest]
    sentences = taken[:: max(1, len(taken) // SENTENCES)][:SENTENCES]
    for source in sentences:
        loop.decode(source, loop.target_tokens or limits.of(len(source)), 1.0)
    real = {name: (module, _with(inputs, seen[name])) for name, (module, inputs) in graphs.graphs.items()}
    return Calibrated(replace(graphs, graphs=real), len(sentences))


def _shape(inputs: GraphInputs, name: str) -> list[int | str]:
    axes = inputs.dynamic.get(name, {})
    return [axes.get(axis, size) for axis, size in enumerate(inputs.tensors[name].shape)]


def _recorded(module: nn.Module, inputs: GraphInputs, seen: list[dict[str, torch.Tensor]]) -> Graph:
    """The graph by PyTorch, which keeps what it is given."""
    import torch

    def run(given: Mapping[str, Any]) -> dict[str, Any]:
        tensors = {name: torch.from_numpy(given[name]) for name in inputs.tensors}
        seen.append(tensors)
        with torch.inference_mode():
            found = module(*tensors.values())
        values = (found,) if isinstance(found, torch.Tensor) else found
        return {name: value.numpy().copy() for name, value in zip(inputs.outputs, values, strict=True)}

    module.eval()
    return run


def _with(inputs: GraphInputs, seen: list[dict[str, torch.Tensor]]) -> GraphInputs:
    kept = seen[:: max(1, len(seen) // SAMPLES)]
    same = _of_shapes({name: tensor.shape for name, tensor in inputs.tensors.items()})
    fitting = [sample for sample in seen if same(sample)]
    reference = fitting[len(fitting) // 2] if fitting else inputs.tensors
    return replace(inputs, tensors=reference, representative=kept)


def _of_shapes(shapes: Mapping[str, Any]) -> Callable[[Mapping[str, torch.Tensor]], bool]:
    return lambda sample: all(sample[name].shape == shape for name, shape in shapes.items())
