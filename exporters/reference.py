"""What an artifact is compared with: seeded inputs, PyTorch's outputs, and how far from them counts as equal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from exporters.errors import ExportError
from exporters.protocol import GraphInputs

if TYPE_CHECKING:
    import torch
    from torch import nn

Arrays = dict[str, npt.NDArray[np.generic]]

RELATIVE_TOLERANCE: Mapping[str, float] = {"fp32": 1e-4, "fp16": 5e-3, "int8": 0.1, "int8-dynamic": 0.03}
"""By precision, of the largest absolute reference value. fp32: what kernels in another order may differ by.
fp16: several times what its 11 bits were seen to cost in sublayers of HAT's size, 0.0006 (ONNX Runtime 1.32).
int8: about twice what 256 levels a tensor were seen to cost (LiteRT 2.3.0): with static ranges 0.021 at worst in
the sublayers of a HAT-size Transformer and 0.054 in a whole encoder of it, with ranges at run time 0.013."""


def tolerance_of(reference: Arrays, precision: str) -> float:
    """Largest absolute difference from the outputs in ``reference`` that still counts as equal.

    In floating point the largest value counts as 1 at least; in int8 a tensor's levels follow its range.
    """
    largest = _largest([value for key, value in reference.items() if key.startswith("output/")])
    return RELATIVE_TOLERANCE[precision] * (max(1.0, largest) if precision.startswith("fp") else largest)


def refuse_twins(module: nn.Module, name: str) -> None:
    """torch stores weights of equal content once; such a graph is smaller and faster than the real one.

    It happens to modules filled with a constant to be timed, not to trained ones. Tied weights
    (one storage) are meant to be shared, and vectors do not matter.
    """
    import torch

    seen: dict[tuple[object, ...], tuple[str, torch.Tensor]] = {}
    for key, weight in module.named_parameters():
        if weight.ndim < 2 or weight.numel() < 2:
            continue
        data = weight.detach()
        signature = (tuple(data.shape), data.dtype, float(data.flatten()[0]), float(data.sum()))
        twin, other = seen.setdefault(signature, (key, data))
        if data.data_ptr() != other.data_ptr() and torch.equal(data, other):
            raise ExportError(
                f"{name}: {twin} and {key} hold equal values and would be stored once;"
                " give them different (random) values, or tie them"
            )


def reference_of(module: nn.Module, inputs: GraphInputs, name: str) -> Arrays:
    """``input/NAME`` and ``output/NAME`` as arrays; copies, for the module may write into them.

    Raises :class:`exporters.ExportError` if ``inputs`` names another number of outputs than ``forward`` gives.
    """
    import torch

    arrays = {f"input/{key}": array for key, array in arrays_of(inputs.tensors).items()}
    with torch.inference_mode():
        given = tuple(tensor.clone() for tensor in inputs.tensors.values())
        returned = module(*given)
    outputs = (returned,) if isinstance(returned, torch.Tensor) else tuple(returned)
    if len(outputs) != len(inputs.outputs):
        raise ExportError(
            f"{name}: forward returns {len(outputs)} tensors,"
            f" but outputs names {len(inputs.outputs)}: {', '.join(inputs.outputs)}"
        )
    return arrays | {f"output/{key}": _array(tensor) for key, tensor in zip(inputs.outputs, outputs, strict=True)}


def arrays_of(tensors: Mapping[str, torch.Tensor]) -> Arrays:
    """Copies in numpy, by name."""
    return {name: _array(tensor) for name, tensor in tensors.items()}


def _largest(outputs: Iterable[npt.NDArray[np.generic]]) -> float:
    """Largest absolute finite value: an infinity (a mask) must not make every difference tolerable."""
    values = [np.abs(output.astype(np.float64)) for output in outputs]
    return max((float(value.max(initial=0.0, where=np.isfinite(value))) for value in values), default=0.0)


def _array(tensor: Any) -> npt.NDArray[np.generic]:
    array: npt.NDArray[np.generic] = tensor.detach().cpu().numpy().copy()
    return array
