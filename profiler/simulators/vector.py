"""What an operator that is no matrix product asks of a vector unit: operations, and bytes in and out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from profiler.simulators.graph import Node, Tensor, matrix_product

_ONE = (
    "Abs Add And Cast Clip Div Equal Erf Exp Floor Greater Less Log Max Min Mul Neg Not Or Pow Reciprocal Relu Round"
    " Sigmoid Sqrt Sub Tanh Where"
)
"""An operation a value; transcendental ones are look-ups, as in the accelerators that have them."""
_MOVES = "Concat Expand Gather Pad Slice Split Tile Transpose"
"""No arithmetic: an operation for every value that is moved."""
_PER_VALUE: Mapping[str, int] = {
    **dict.fromkeys((*_ONE.split(), *_MOVES.split()), 1),
    "Gelu": 5,  # x / sqrt 2, its erf, 1 + it, x times it, half of it
    "Softmax": 5,  # largest, difference, exponential, sum, quotient
    "LayerNormalization": 7,  # sum; difference, square, sum; quotient, scale, shift (the root is taken once a row)
}


def operations_of(node: Node) -> float | None:
    """Operations of ``node`` on single values; ``None`` if this knows none for its kind."""
    product = matrix_product(node)
    if product is not None:
        return 2.0 * product.macs + (math.prod(node.outputs[0].shape) if product.bias else 0)
    each = _PER_VALUE.get(node.op)
    return None if each is None else float(each * sum(output.elements for output in node.outputs))


def read_elements(node: Node) -> tuple[tuple[Tensor, int], ...]:
    """How many values of each input the node reads: all of them, but of a Gather's table only the rows asked for.

    Axes, shapes and split sizes (constant integers) are part of the program and not read.
    """
    rows = {node.inputs[0].name: node.outputs[0].elements} if node.op == "Gather" else {}
    return tuple(
        (tensor, rows.get(tensor.name, tensor.elements))
        for tensor in node.inputs
        if tensor.floating or not tensor.constant
    )


def bytes_of(tensor: Tensor, elements: int, bytes_per_value: float) -> float:
    """Bytes of ``elements`` values: floats have the device's width, others (indices) their own."""
    return elements * (bytes_per_value if tensor.floating else np.dtype(tensor.dtype).itemsize)


def node_bytes(node: Node, bytes_per_value: float) -> float:
    """Bytes read and written."""
    read = sum(bytes_of(tensor, elements, bytes_per_value) for tensor, elements in read_elements(node))
    return read + sum(bytes_of(tensor, tensor.elements, bytes_per_value) for tensor in node.outputs)
