"""What an operator that is no matrix product asks of a vector unit: operations, and bytes in and out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from profiler.simulators.graph import Node, Tensor, matrix_product

_PER_OUTPUT: Mapping[str, int] = {
    # one lane operation each: comparisons, selections and plain arithmetic
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min", "Neg", "Abs", "Relu", "Clip", "Where"), 1),
    **dict.fromkeys(("Equal", "Less", "Greater", "And", "Or", "Not", "Cast", "Floor", "Round", "Sqrt"), 1),
    **dict.fromkeys(("Exp", "Log", "Erf", "Tanh", "Sigmoid", "Reciprocal", "Pow"), 1),  # one look-up each
    "Softmax": 5,  # largest, difference, exponential, sum, quotient
    "LayerNormalization": 8,  # mean: 1; difference, square, sum: 3; (root once a row); quotient, scale, shift: 3; store
    "Gelu": 5,  # x / sqrt 2, erf, 1 +, x *, / 2
}
_MOVES = frozenset({"Concat", "Expand", "Gather", "Pad", "Slice", "Split", "Tile", "Transpose"})
"""No arithmetic: one lane operation for every value that is written."""


def operations_of(node: Node) -> float | None:
    """Operations of ``node`` on single values; ``None`` if this knows none for its kind."""
    product = matrix_product(node)
    if product is not None:
        return 2.0 * product.macs + (math.prod(node.outputs[0].shape) if product.bias else 0)
    written = sum(output.elements for output in node.outputs)
    if node.op in _MOVES:
        return float(written)
    each = _PER_OUTPUT.get(node.op)
    return None if each is None else float(each * written)


def read_elements(node: Node) -> tuple[tuple[Tensor, int], ...]:
    """How many values of each input the node reads: all of them, but of a Gather's table only the rows asked."""
    if node.op == "Gather":
        return ((node.inputs[0], node.outputs[0].elements), (node.inputs[1], node.inputs[1].elements))
    return tuple((tensor, tensor.elements) for tensor in node.inputs)


def bytes_of(tensor: Tensor, elements: int, bytes_per_value: float) -> float:
    """Bytes of ``elements`` values: floats have the device's width, others (indices) their own."""
    return elements * (bytes_per_value if tensor.floating else np.dtype(tensor.dtype).itemsize)


def node_bytes(node: Node, bytes_per_value: float) -> float:
    """Bytes read and written."""
    read = sum(bytes_of(tensor, elements, bytes_per_value) for tensor, elements in read_elements(node))
    return read + sum(bytes_of(tensor, tensor.elements, bytes_per_value) for tensor in node.outputs)
