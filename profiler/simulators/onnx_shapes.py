"""Reading an ONNX file without its weights: static shapes by inference and by folding shape arithmetic."""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters import Artifact
from profiler.errors import SimulationError
from profiler.simulators.graph import Attribute, Graph, Node, Shape, Tensor

_SMALL_BYTES = 256
"""Constants up to this size may be shapes, axes or split sizes and keep their values; weights need only a shape."""

_PASSES = 8
"""Each pass of inference can make more shape arithmetic foldable; the graphs seen need two."""

_TENSOR, _GRAPH = 4, 5  # onnx.AttributeProto.AttributeType


@functools.lru_cache(maxsize=1024)
def load_graph(artifact: Artifact) -> Graph:
    """See :func:`profiler.simulators.graph.read_graph`; read once for all the engines that are asked about it."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(artifact.path, load_external_data=False)
    except (OSError, DecodeError) as exc:
        raise SimulationError(f"cannot read {artifact.path}: {exc}; export it again") from exc
    given = [value.name for value in model.graph.input]
    _pin_inputs(model.graph, reference_shapes(artifact))
    constants = _strip_weights(model.graph)
    try:
        shapes, values = _infer(model)
    except onnx.shape_inference.InferenceError as exc:
        first = str(exc).strip().splitlines()[0]
        raise SimulationError(f"{artifact.path.name}: shapes cannot be inferred: {first}") from exc
    constants |= set(values)
    nodes = []
    for number, node in enumerate(model.graph.node):
        if all(not name or name in constants for name in node.input) and not _has_body(node):
            constants.update(node.output)
            continue
        try:
            nodes.append(_node(node, number, shapes, constants))
        except KeyError as exc:
            raise SimulationError(
                f"{artifact.path.name}: {node.op_type} {node.name!r}: the shape of {exc} is not static;"
                " export it with static sizes"
            ) from exc
    inputs = tuple(Tensor(name, *shapes[name], constant=False) for name in given)
    outputs = tuple(Tensor(value.name, *shapes[value.name], constant=False) for value in model.graph.output)
    return Graph(tuple(nodes), inputs, outputs)


def reference_shapes(artifact: Artifact) -> dict[str, Shape]:
    """Shapes of the reference inputs by name, from the headers alone. Raises :class:`SimulationError`."""
    shapes = {}
    try:
        with zipfile.ZipFile(artifact.reference) as archive:
            for member in archive.namelist():
                if member.startswith("input/"):
                    with archive.open(member) as stream:
                        version = np.lib.format.read_magic(stream)
                        read = np.lib.format.read_array_header_1_0
                        shape, _, _ = read(stream) if version == (1, 0) else np.lib.format.read_array_header_2_0(stream)
                    shapes[member.removeprefix("input/").removesuffix(".npy")] = tuple(shape)
    except (OSError, ValueError, zipfile.BadZipFile) as exc:
        raise SimulationError(f"cannot read {artifact.reference}: {exc}; export it again") from exc
    return shapes


def _pin_inputs(graph: Any, shapes: dict[str, Shape]) -> None:
    for value in graph.input:
        sizes = shapes.get(value.name, ())
        for dimension, size in zip(value.type.tensor_type.shape.dim, sizes, strict=False):
            dimension.dim_value = size
    for value in graph.output:  # what the exporter wrote there may be a symbol
        value.type.tensor_type.ClearField("shape")
    del graph.value_info[:]


def _strip_weights(graph: Any) -> set[str]:
    """Turn large constants into inputs of the same shape; the names of all constants."""
    from onnx import helper

    constants = {weight.name for weight in graph.initializer}
    small = []
    for weight in graph.initializer:
        if _bytes(weight) <= _SMALL_BYTES:
            small.append(weight)
        else:
            graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)))
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None) if node.op_type == "Constant" else None
        if value is None or _bytes(value) <= _SMALL_BYTES:
            kept.append(node)
            continue
        constants.add(node.output[0])
        graph.input.append(helper.make_tensor_value_info(node.output[0], value.data_type, list(value.dims)))
    _replace(graph.initializer, small)
    if len(kept) < len(graph.node):
        _replace(graph.node, kept)
    return constants


def _replace(field: Any, entries: Iterable[Any]) -> None:
    copies = list(entries)
    del field[:]
    field.extend(copies)


def _bytes(tensor: Any) -> int:
    from onnx import helper

    itemsize = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(itemsize * np.prod(tensor.dims, dtype=np.int64))


def _infer(model: Any) -> tuple[dict[str, tuple[Shape, str]], dict[str, npt.NDArray[np.generic]]]:
    """Shape and dtype of every tensor whose shape is static, and the values that follow from shapes alone."""
    from onnx import numpy_helper, shape_inference

    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    shapes: dict[str, tuple[Shape, str]] = {}
    for _ in range(_PASSES):
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        shapes = {}
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            found = _static(value.type.tensor_type)
            if found is not None:
                shapes[value.name] = found
        shapes |= {name: (array.shape, array.dtype.name) for name, array in values.items()}
        if not _fold(model.graph, shapes, values):
            break
    return shapes, values


def _static(tensor_type: Any) -> tuple[Shape, str] | None:
    from onnx import helper

    if not tensor_type.HasField("shape") or any(not d.HasField("dim_value") for d in tensor_type.shape.dim):
        return None
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor_type.elem_type)).name
    return tuple(int(d.dim_value) for d in tensor_type.shape.dim), dtype


def _fold(graph: Any, shapes: dict[str, tuple[Shape, str]], values: dict[str, npt.NDArray[np.generic]]) -> list[str]:
    """Evaluate what follows from shapes and small constants; the names of the new values, made initialisers."""
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    new, kept = [], []
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] in shapes:
            size = np.array(shapes[node.input[0]][0], dtype=np.int64)
            start = next((a.i for a in node.attribute if a.name == "start"), None)
            end = next((a.i for a in node.attribute if a.name == "end"), None)
            results: Any = [size[start:end]]
        elif all(name in values for name in node.input if name) and not _has_body(node):
            results = ReferenceEvaluator(node).run(None, {name: values[name] for name in node.input if name})
        else:
            kept.append(node)
            continue
        for name, array in zip(node.output, results, strict=True):
            values[name] = np.asarray(array)
            graph.initializer.append(numpy_helper.from_array(values[name], name))
            new.append(name)
    if new:
        _replace(graph.node, kept)
    return new


def _has_body(node: Any) -> bool:
    """Whether it has graphs of its own (If, Loop): they see more than the node's inputs."""
    return any(attribute.type == _GRAPH for attribute in node.attribute)


def _node(node: Any, number: int, shapes: dict[str, tuple[Shape, str]], constants: set[str]) -> Node:
    def tensor(name: str) -> Tensor:
        return Tensor(name, *shapes[name], constant=name in constants)

    return Node(
        name=node.name or f"{node.op_type}_{number}",
        op=node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}",
        inputs=tuple(tensor(name) for name in node.input if name),
        outputs=tuple(tensor(name) for name in node.output if name),
        attributes={attribute.name: _attribute(attribute) for attribute in node.attribute if attribute.type < _TENSOR
                    or attribute.type in (6, 7)},
    )  # fmt: skip


def _attribute(attribute: Any) -> Attribute:
    from onnx import helper

    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return tuple(value) if isinstance(value, list) else value
