"""Give an exported ONNX graph another precision; its inputs and outputs stay what they were."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from exporters.reference import Arrays

_WEIGHTED = ["MatMul", "Gemm", "Gather"]
"""What static int8 quantises: products and looked-up tables. Sums, softmax and normalisation stay in fp32: in
int8 they cost more than they gain (ONNX Runtime 1.32, HAT-size sublayers), and a mask would take a sum's levels."""


MIXED = "fp32+int8-dynamic"
"""The precision of a graph some of whose modules are quantised."""

_KEPT = "hwnas.kept"


def quantise(graph: Path, precision: str, samples: Sequence[Arrays]) -> None:
    """Rewrite ``graph`` in ``precision``, one of :data:`PRECISIONS`.

    ``samples`` are inputs by name, of which static int8 takes its ranges: of each tensor the widest (MinMax). Raises
    what ONNX Runtime's quantiser raises, and ImportError without it.
    """
    with _quiet():
        _REWRITES[precision](graph, samples)


def quantise_modules(graph: Path, precisions: Mapping[str, str]) -> None:
    """Rewrite the products with weights of some modules in ``int8-dynamic``; every other node stays as it is.

    ``precisions`` are by the paths of modules, with which the names of their nodes begin (by torchscript; dynamo
    names none). Raises ValueError for another precision or a module that has no product, and what :func:`quantise`
    raises.
    """
    import onnx

    others = sorted({precision for precision in precisions.values() if precision != "int8-dynamic"})
    if others:
        raise ValueError(f"modules can be in int8-dynamic beside fp32, not in {', '.join(others)}")
    model = onnx.load(graph)
    products = [node for node in model.graph.node if node.op_type in _WEIGHTED]
    owners = {node.name: _owner(node.name, precisions) for node in products}
    without = sorted(set(precisions) - set(owners.values()))
    if without:
        raise ValueError(f"the graph has no product of {', '.join(without)}")
    kept = [node for node in products if owners[node.name] is None]
    kinds = {node.name: node.op_type for node in kept}
    for node in kept:  # the quantiser would rewrite them too, but knows nothing of other domains
        node.op_type, node.domain = "Kept", _KEPT
    model.opset_import.append(onnx.helper.make_opsetid(_KEPT, 1))
    onnx.save(model, graph)
    quantise(graph, "int8-dynamic", ())
    model = onnx.load(graph)
    for node in model.graph.node:
        if node.domain == _KEPT:
            node.op_type = kinds[node.name]
            node.ClearField("domain")
    versions = [version for version in model.opset_import if version.domain != _KEPT]
    del model.opset_import[:]
    model.opset_import.extend(versions)
    onnx.save(model, graph)


def _owner(node: str, modules: Mapping[str, str]) -> str | None:
    """The module whose path the name of a node begins with, if any."""
    return next((module for module in modules if node.startswith(f"/{module}/")), None)


def _static(graph: Path, samples: Sequence[Arrays]) -> None:
    """Weights in int8 by channel, activations in uint8 by tensor: the pair x86 has instructions for (VNNI)."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    quantize_static(
        graph,
        graph,
        _reader(samples),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=_WEIGHTED,
        nodes_to_exclude=_sharing(graph),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )


def _sharing(graph: Path) -> list[str]:
    """Look-ups in tables that products read too: they would take over scales by channel, which only weights have."""
    import onnx

    nodes = onnx.load(graph).graph.node
    source = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Identity"}
    multiplied = {source.get(name, name) for node in nodes if node.op_type in ("MatMul", "Gemm") for name in node.input}
    return [
        node.name
        for node in nodes
        if node.op_type == "Gather" and source.get(node.input[0], node.input[0]) in multiplied
    ]


def _dynamic(graph: Path, samples: Sequence[Arrays]) -> None:
    """Weights in int8 by channel; activations in uint8 by the range each call finds."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    real = {"DefaultTensorType": TensorProto.FLOAT}  # where it cannot infer a type, behind nodes it does not know
    quantize_dynamic(graph, graph, per_channel=True, weight_type=QuantType.QInt8, extra_options=real)


def _half(graph: Path, samples: Sequence[Arrays]) -> None:
    """All in float16 between inputs and outputs of float32; what has no kernel for it, the runtime casts."""
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = ONNXModel(convert_float_to_float16(onnx.load(graph), keep_io_types=True))
    half.topological_sort()  # the casts of the inputs come last
    onnx.save(half.model, graph)


_REWRITES: Mapping[str, Callable[[Path, Sequence[Arrays]], None]] = {
    "fp16": _half,
    "int8": _static,
    "int8-dynamic": _dynamic,
}
PRECISIONS = tuple(_REWRITES)


def _reader(samples: Sequence[Arrays]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        """Gives one sample after another; one with an empty tensor (a cache of no tokens) has no range."""

        def __init__(self) -> None:
            self.left = iter([s for s in samples if all(np.size(value) for value in s.values())])

        def get_next(self) -> Arrays | None:
            return next(self.left, None)

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser advises through the root logger to optimise graphs first; ours are the exporter's already."""
    root, level = logging.getLogger(), logging.root.level
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    nowhere = logging.NullHandler()
    root.addHandler(nowhere)  # without any, the first message would install one for good
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(nowhere)
