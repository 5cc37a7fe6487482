"""Small ONNX artifacts of any nodes; nothing runs them, so the reference has inputs only."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from exporters import Artifact
from exporters.artifact import sha256_of


def graph_artifact(path, nodes, inputs, outputs, weights=None, precision="fp32", dynamic=None):
    """``inputs``: arrays by name; ``weights`` too; ``outputs``: names; ``dynamic``: input -> {axis: symbol}."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()}

    def shape(name, array):
        return [(dynamic or {}).get(name, {}).get(axis, size) for axis, size in enumerate(array.shape)]

    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kinds[name], shape(name, array)) for name, array in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    reference = path.with_name(path.name + ".npz")
    np.savez(reference, **{f"input/{name}": array for name, array in inputs.items()})
    return Artifact(
        path=path,
        format="onnx",
        precision=precision,
        inputs=(),
        outputs=(),
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        producer="tests",
        reference=reference,
        tolerance=1e-4,
        streamed_bytes=0,
    )


def floats(*shape):
    return np.ones(shape, np.float32)


def feed_forward(path, rows=3, width=8, inner=16, **options):
    """softmax(relu(x A + a) B): two products of which one has a bias, an activation and a normalisation."""
    nodes = [
        helper.make_node("Gemm", ["x", "A", "a"], ["h"], name="/up"),
        helper.make_node("Relu", ["h"], ["r"], name="/relu"),
        helper.make_node("MatMul", ["r", "B"], ["s"], name="/down"),
        helper.make_node("Softmax", ["s"], ["y"], name="/softmax"),
    ]
    weights = {"A": floats(width, inner), "a": floats(inner), "B": floats(inner, width)}
    return graph_artifact(path, nodes, {"x": floats(rows, width)}, ["y"], weights, **options)


def unmappable(path):
    """An operator no engine of ours knows."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="/relu"),
        helper.make_node("NonZero", ["r"], ["y"], name="/odd"),
    ]
    return graph_artifact(path, nodes, {"x": floats(3, 4)}, ["y"])
