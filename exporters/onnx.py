"""PyTorch module -> checked ONNX file: one function in front of torch's two export paths."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from exporters import onnx_quantise
from exporters.artifact import Artifact, Format, TensorInfo, sha256_of
from exporters.errors import ExportError
from exporters.protocol import Exporter, GraphInputs
from exporters.reference import arrays_of, reference_of, refuse_twins, tolerance_of
from exporters.whole import whole

if TYPE_CHECKING:
    from torch import nn

ExportPath = Literal["torchscript", "dynamo"]

OPSET: dict[ExportPath, int] = {"torchscript": 17, "dynamo": 20}
"""Pinned: 17 is the first with LayerNormalization; 20 the first with Gelu, which dynamo would
otherwise leave as four loose nodes that ONNX Runtime does not fuse."""

PRECISIONS = ("fp32", *onnx_quantise.PRECISIONS)
"""``int8``: weights and activations of products, by ranges seen on representative inputs;
``int8-dynamic``: by ranges found at run time; ``fp16``: weights, and activations where the runtime has kernels for it.
Inputs and outputs are fp32."""

_PASSED_ON = ("Identity", "DequantizeLinear", "Cast")


@dataclass(frozen=True, slots=True)
class OnnxExporter:
    """Exports through ``torchscript`` (seconds, needs only onnx) or ``dynamo`` (10 to 30 times slower).

    torch calls the first deprecated and the second current; both give graphs of equal outputs.
    """

    path: ExportPath = "torchscript"

    @property
    def format(self) -> Format:
        """``onnx``."""
        return "onnx"

    @property
    def producer(self) -> str:
        """What decides the graph: torch's version, the path and the opset."""
        return f"torch-{metadata.version('torch')}/{self.path}/opset{OPSET[self.path]}"

    def export(self, module: nn.Module, inputs: GraphInputs, path: Path, *, precision: str = "fp32") -> Artifact:
        """Write ``module`` to ``path``, with ``PATH.npz`` (reference) and ``PATH.json`` (sidecar).

        The inputs' tensors are the reference inputs; the reference outputs are the module's in
        eval and inference mode. Modules in ``inputs.precisions`` are in theirs; the artifact's precision is then
        ``fp32+int8-dynamic``. Raises :class:`ExportError` if the precision is not supported,
        torch cannot export the module, an input is not used by it, two of its weight matrices
        hold equal values, or the disk is full.
        """
        if precision not in PRECISIONS:
            raise ExportError(
                f"{path.name}: precision {precision!r} is not supported; supported: {', '.join(PRECISIONS)}"
            )
        if inputs.precisions and precision != "fp32":
            raise ExportError(
                f"{path.name}: modules have precisions of their own, so the graph's is fp32: not {precision}"
            )
        module.eval()
        refuse_twins(module, path.name)
        reference = reference_of(module, inputs, path.name)
        with whole(path) as (graph, npz):
            self._write(module, inputs, graph, path.name)
            if precision != "fp32":
                _quantise(graph, inputs, precision, path.name)
            elif inputs.precisions:
                with _quantiser(path.name, onnx_quantise.MIXED):
                    onnx_quantise.quantise_modules(graph, inputs.precisions)
            given, returned, streamed_bytes = _check(graph, inputs, path.name)
            np.savez(npz, **reference)  # type: ignore[arg-type]
            artifact = Artifact(
                path=path,
                format=self.format,
                precision=onnx_quantise.MIXED if inputs.precisions else precision,
                inputs=given,
                outputs=returned,
                sha256=sha256_of(graph),
                size_bytes=graph.stat().st_size,
                producer=self.producer,
                reference=path.with_name(path.name + ".npz"),
                tolerance=tolerance_of(reference, "int8-dynamic" if inputs.precisions else precision),
                streamed_bytes=streamed_bytes,
            )
            artifact.sidecar.unlink(missing_ok=True)
            npz.replace(artifact.reference)
            graph.replace(path)
            artifact.save()
        return artifact

    def _write(self, module: nn.Module, inputs: GraphInputs, graph: Path, name: str) -> None:
        try:
            with _quiet():
                if self.path == "torchscript":
                    _by_torchscript(module, inputs, graph)
                else:
                    _by_dynamo(module, inputs, graph)
        except ImportError as exc:
            raise ExportError(f"{name}: exporting needs {exc.name}; pip install 'hwnas[all]'") from exc
        except OSError as exc:
            raise ExportError(f"cannot write {name}: {exc.strerror}") from exc
        except Exception as exc:
            first = (str(exc).strip() or type(exc).__name__).splitlines()[0]
            raise ExportError(f"{name}: torch cannot export {type(module).__name__} ({self.path}): {first}") from exc


def _by_torchscript(module: nn.Module, inputs: GraphInputs, graph: Path) -> None:
    import torch

    with torch.no_grad():
        torch.onnx.export(
            module,
            tuple(inputs.tensors.values()),
            str(graph),
            input_names=list(inputs.tensors),
            output_names=list(inputs.outputs),
            dynamic_axes={name: dict(axes) for name, axes in inputs.dynamic.items()},
            opset_version=OPSET["torchscript"],
            dynamo=False,
        )


def _by_dynamo(module: nn.Module, inputs: GraphInputs, graph: Path) -> None:
    import onnx
    import torch

    symbols = sorted({symbol for axes in inputs.dynamic.values() for symbol in axes.values()})
    dimensions = {symbol: torch.export.Dim(symbol) for symbol in symbols}
    shapes = tuple(
        {axis: dimensions[symbol] for axis, symbol in inputs.dynamic.get(name, {}).items()} for name in inputs.tensors
    )
    with torch.no_grad():
        program = torch.onnx.export(
            module,
            tuple(inputs.tensors.values()),
            input_names=list(inputs.tensors),
            output_names=list(inputs.outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET["dynamo"],
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch returned no program")
    program.save(str(graph))
    model = onnx.load(graph)
    for node in model.graph.node:  # stack traces name this machine's files, and change with them
        kept = [entry for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, graph)


def _quantise(graph: Path, inputs: GraphInputs, precision: str, name: str) -> None:
    samples = [arrays_of(sample) for sample in (inputs.tensors, *inputs.representative)]
    for sample in samples:
        missing = sorted(set(inputs.tensors) - set(sample))
        if missing:
            raise ExportError(f"{name}: a representative input lacks {', '.join(missing)}")
    with _quantiser(name, precision):
        onnx_quantise.quantise(graph, precision, samples)


@contextmanager
def _quantiser(name: str, precision: str) -> Iterator[None]:
    """Its errors as the exporter's."""
    try:
        yield
    except ImportError as exc:
        raise ExportError(f"{name}: precision {precision} needs {exc.name}; pip install 'hwnas[onnx]'") from exc
    except OSError:
        raise
    except Exception as exc:
        first = (str(exc).strip() or type(exc).__name__).splitlines()[0]
        raise ExportError(f"{name}: not quantised to {precision}: {first}") from exc


def _check(graph: Path, inputs: GraphInputs, name: str) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...], int]:
    import onnx

    try:
        onnx.checker.check_model(str(graph))
    except onnx.checker.ValidationError as exc:
        raise ExportError(f"{name}: the exported graph is not valid ONNX: {str(exc).splitlines()[0]}") from exc
    model = onnx.load(graph, load_external_data=False).graph
    given = tuple(_tensor_info(value) for value in model.input)
    returned = tuple(_tensor_info(value) for value in model.output)
    unused = [wanted for wanted in inputs.tensors if wanted not in {info.name for info in given}]
    if unused:
        raise ExportError(f"{name}: forward does not use input {', '.join(unused)}; leave it out of the inputs")
    if tuple(info.name for info in returned) != inputs.outputs:
        raise ExportError(f"{name}: the graph returns {[i.name for i in returned]}, wanted is {list(inputs.outputs)}")
    return given, returned, _streamed_bytes(model)


def _streamed_bytes(graph: Any) -> int:
    """Bytes of the weights that some node reads in whole, and not only looks rows up in."""
    import onnx

    source = {node.output[0]: node.input[0] for node in graph.node if node.op_type in _PASSED_ON}

    def origin(name: str) -> str:
        while name in source:
            name = source[name]
        return name

    read = {
        origin(name)
        for node in graph.node
        if node.op_type not in _PASSED_ON
        for position, name in enumerate(node.input)
        if not (node.op_type == "Gather" and position == 0)
    }
    return sum(
        math.prod(weight.dims) * onnx.helper.tensor_dtype_to_np_dtype(weight.data_type).itemsize
        for weight in graph.initializer
        if weight.name in read
    )


def _tensor_info(value: Any) -> TensorInfo:
    import onnx

    tensor = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return TensorInfo(value.name, dtype, tuple(d.dim_param or d.dim_value for d in tensor.shape.dim))


@contextmanager
def _quiet() -> Iterator[None]:
    """torch deprecates the one path, traces with warnings, and logs about torchvision on the other."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


if TYPE_CHECKING:
    _: type[Exporter] = OnnxExporter
