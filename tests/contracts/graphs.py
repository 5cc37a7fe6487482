"""Small ONNX artifacts made without torch, with references computed in numpy."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporters import Artifact, TensorInfo
from exporters.artifact import sha256_of

Arrays = dict[str, np.ndarray]
Shape = tuple[int | str, ...]


def _artifact(path: Path, *, nodes, given, returned, weights: Arrays, inputs: Arrays, outputs: Arrays) -> Artifact:
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(i.name, kinds[i.dtype], i.shape) for i in given],
        [helper.make_tensor_value_info(i.name, kinds[i.dtype], i.shape) for i in returned],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    reference = path.with_name(path.name + ".npz")
    np.savez(
        reference,
        **{f"input/{name}": value for name, value in inputs.items()},
        **{f"output/{name}": value for name, value in outputs.items()},
    )
    artifact = Artifact(
        path=path,
        format="onnx",
        precision="fp32",
        inputs=given,
        outputs=returned,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        producer="tests",
        reference=reference,
        tolerance=1e-4,
        streamed_bytes=0,
    )
    artifact.save()
    return artifact


def linear(path: Path, size: int = 8, scale: float = 0.1, lie: float = 0.0) -> Artifact:
    """y = x W, (1, size); with ``lie`` the reference outputs are wrong by so much."""
    rng = np.random.default_rng(size)
    weight = (scale * rng.standard_normal((size, size))).astype(np.float32)
    x = rng.standard_normal((1, size)).astype(np.float32)
    return _artifact(
        path,
        nodes=[helper.make_node("MatMul", ["x", "w"], ["y"])],
        given=(TensorInfo("x", "float32", (1, size)),),
        returned=(TensorInfo("y", "float32", (1, size)),),
        weights={"w": weight},
        inputs={"x": x},
        outputs={"y": x @ weight + np.float32(lie)},
    )


def counting(path: Path, size: int = 8) -> Artifact:
    """A step with a growing cache: y = x + step, grown = [past; y + memory]; all but step are float32."""
    rng = np.random.default_rng(size)
    x, memory, past = (rng.standard_normal((n, size)).astype(np.float32) for n in (1, 1, 2))
    step = np.array([3], np.int64)
    y = x + np.float32(3)
    return _artifact(
        path,
        nodes=[
            helper.make_node("Cast", ["step"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["x", "number"], ["y"]),
            helper.make_node("Add", ["y", "memory"], ["row"]),
            helper.make_node("Concat", ["past", "row"], ["grown"], axis=0),
        ],
        given=(
            TensorInfo("x", "float32", (1, size)),
            TensorInfo("step", "int64", (1,)),
            TensorInfo("memory", "float32", (1, size)),
            TensorInfo("past", "float32", ("past", size)),
        ),
        returned=(TensorInfo("y", "float32", (1, size)), TensorInfo("grown", "float32", ("grown", size))),
        weights={},
        inputs={"x": x, "step": step, "memory": memory, "past": past},
        outputs={"y": y, "grown": np.concatenate([past, y + memory])},
    )
