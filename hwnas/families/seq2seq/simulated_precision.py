"""A model evaluated in the precisions that its blocks are deployed in: ``int8-dynamic``, simulated by PyTorch.

As ONNX Runtime quantises: weights to -127 … 127, symmetrically, with a scale for each output; what a product reads
to 0 … 255 by its range, which includes 0 (``DynamicQuantizeLinear``). A range is that of one call of an exported
graph: all positions of a source, one position of a target. It is so for one hypothesis; those of a beam share one
when deployed, and have each their own here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from hwnas.data.task import PAD
from hwnas.families.seq2seq.model import SubTransformer
from hwnas.families.seq2seq.precision import ENCODED


@contextmanager
def in_its_precisions(model: SubTransformer) -> Iterator[None]:
    """Inside the block, teacher-forced calls of ``model`` compute as its ``precisions`` say.

    Weights are afterwards what they were.
    """
    if not model.precisions:
        yield
        return
    ranges = _Ranges()
    with ExitStack() as stack:
        stack.callback(model.register_forward_pre_hook(ranges.note).remove)
        for path in model.precisions:
            hook = ranges.by_source if path.partition(".")[0] in ENCODED else ranges.by_position
            for module in model.get_submodule(path).modules():
                weight = module._parameters.get("weight")
                if weight is not None and weight.dim() == 2:
                    stack.callback(module.register_forward_pre_hook(hook).remove)
                    stack.callback(module._parameters.__setitem__, "weight", weight)
                    module._parameters["weight"] = nn.Parameter(rounded_weights(weight.detach()), requires_grad=False)
        yield


class _Ranges:
    """Rounds what modules are given, as hooks before their calls."""

    def __init__(self) -> None:
        self._real: Tensor | None = None

    def note(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        """Of the whole model's call: which symbols of the sources (batch, tokens) are no padding."""
        self._real = given[0] != PAD

    def by_position(self, _: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
        """``given`` (rows, width), a range for each row."""
        return rounded_activations(given[0])

    def by_source(self, _: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
        """``given`` (batch * layers * tokens, width), a range for each source, of what is no padding."""
        assert self._real is not None
        (batch, tokens), (rows, width) = self._real.shape, given[0].shape
        layers = rows // (batch * tokens)
        real = self._real.repeat(1, layers)[:, :, None] * given[0].view(batch, layers * tokens, width)
        return rounded_activations(given[0].view(batch, -1), real.flatten(1)).view(rows, width)


def rounded_weights(weight: Tensor) -> Tensor:
    """``weight`` (outputs, inputs) at the nearest of 255 levels, symmetric around 0, of each output's range."""
    scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(_TINY) / 127
    return (weight / scale).round() * scale


def rounded_activations(x: Tensor, ranged: Tensor | None = None) -> Tensor:
    """``x`` (rows, any) at the nearest of 256 levels of the range of each row of ``ranged`` (default: of ``x``)."""
    ranged = x if ranged is None else ranged
    low, high = ranged.amin(dim=1, keepdim=True).clamp_max(0), ranged.amax(dim=1, keepdim=True).clamp_min(0)
    scale = ((high - low) / 255).clamp_min(_TINY)
    zero = (-low / scale).round()
    return torch.clamp((x / scale).round() + zero, 0, 255).sub(zero) * scale


_TINY = 1e-30
