"""An exported ONNX graph as a simulator needs it: nodes with static shapes, dtypes, and what is constant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from exporters import Artifact
from profiler.errors import SimulationError

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """Name, static shape and numpy dtype name; ``constant`` is a weight, or what follows from weights alone."""

    name: str
    shape: Shape
    dtype: str
    constant: bool

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def floating(self) -> bool:
        """Whether a quantisation would change its width (indices and truth values it would not)."""
        return self.dtype.startswith(("float", "bfloat"))


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of the graph; an optional input that is left out is not among ``inputs``."""

    name: str
    op: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Attribute]

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """The inputs that are not constant."""
        return tuple(tensor for tensor in self.inputs if not tensor.constant)

    def __str__(self) -> str:
        return f"{self.op} {self.name!r}"


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in the order they run; what follows from constants and shapes alone is folded away.

    Views (Reshape, Identity, ...) are nodes too: it is the engine that knows whether they are free.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """``batch`` products of (m, k) by (k, n); ``weights`` says whether the second operand is constant."""

    batch: int
    m: int
    k: int
    n: int
    weights: bool
    bias: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.batch * self.m * self.k * self.n


def read_graph(artifact: Artifact) -> Graph:
    """The graph of an ``onnx`` artifact at the shapes of its reference inputs.

    Raises :class:`SimulationError` for another format, or if a shape stays unknown.
    """
    if artifact.format != "onnx":
        raise SimulationError(f"{artifact.path.name} is {artifact.format}; this engine reads onnx: export it so")
    from profiler.simulators.onnx_shapes import load_graph

    return load_graph(artifact)


def matrix_product(node: Node) -> MatrixProduct | None:
    """The product that a MatMul, Gemm or Conv (as im2col, a batch per group) is; ``None`` for other nodes.

    Weights stand second: a constant first operand is exchanged with the second (the transposed product).
    """
    match node.op:
        case "MatMul":
            return _matmul(node)
        case "Gemm":
            return _gemm(node)
        case "Conv":
            return _convolution(node)
        case _:
            return None


def _matmul(node: Node) -> MatrixProduct:
    left, right = node.inputs[:2]
    a = (1, *left.shape) if len(left.shape) == 1 else left.shape
    b = (*right.shape, 1) if len(right.shape) == 1 else right.shape
    m, k, n = a[-2], a[-1], b[-1]
    if math.prod(b[:-2]) == 1:  # one right operand for all rows: the left one's batch is only more rows
        product = MatrixProduct(1, math.prod(a[:-2]) * m, k, n, right.constant)
    else:
        batch = math.prod(node.outputs[0].shape[: max(len(a), len(b)) - 2])
        product = MatrixProduct(batch, m, k, n, right.constant)
    if left.constant and not right.constant:
        return MatrixProduct(product.batch, product.n, k, product.m, weights=True)
    return product


def _gemm(node: Node) -> MatrixProduct:
    left, right = node.inputs[:2]
    m, k = left.shape[::-1] if node.attributes.get("transA") else left.shape
    n = right.shape[0] if node.attributes.get("transB") else right.shape[1]
    bias = len(node.inputs) > 2
    if left.constant and not right.constant:
        return MatrixProduct(1, n, k, m, weights=True, bias=bias)
    return MatrixProduct(1, m, k, n, right.constant, bias)


def _convolution(node: Node) -> MatrixProduct:
    weight, output = node.inputs[1], node.outputs[0]
    group = node.attributes.get("group", 1)
    assert isinstance(group, int)
    positions = output.shape[0] * math.prod(output.shape[2:])
    window = math.prod(weight.shape[1:])
    return MatrixProduct(group, positions, window, weight.shape[0] // group, weight.constant, len(node.inputs) > 2)
