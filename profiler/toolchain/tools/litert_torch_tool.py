"""Runs in the toolchain litert-torch: a program of torch.export to a TFLite file, quantised if asked."""

from __future__ import annotations

import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import flatbuffers  # noqa: E402
import litert_torch  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from ai_edge_litert import schema_py_generated as schema  # noqa: E402
from ai_edge_litert.interpreter import Interpreter  # noqa: E402
from ai_edge_quantizer import qtyping, quantizer, recipe, recipe_manager  # noqa: E402
from ai_edge_quantizer.algorithm_manager import AlgorithmName  # noqa: E402
from ai_edge_quantizer.utils import qsv_utils  # noqa: E402
from native_output import printing_to  # noqa: E402


def _half_weights() -> Any:
    """Weights kept in float16; the runtime makes them float32 again when it loads them."""
    recipes = recipe_manager.RecipeManager()
    recipes.add_weight_only_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        num_bits=16,
        algorithm_key=AlgorithmName.FLOAT_CASTING,
    )
    return recipes.get_quantization_recipe()


def _dynamic_by_tensor() -> Any:
    """One scale for all of a weight: TensorFlow Lite 2.14 takes the first channel's for all, and is wrong."""
    recipes = recipe_manager.RecipeManager()
    recipes.add_dynamic_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        num_bits=8,
        granularity=qtyping.QuantGranularity.TENSORWISE,
    )
    return recipes.get_quantization_recipe()


_RECIPES = {
    "int8": recipe.static_wi8_ai8,
    "int8-dynamic": recipe.dynamic_wi8_afp32,
    "int8-dynamic-by-tensor": _dynamic_by_tensor,
    "fp16": _half_weights,
}
_LOOKED_UP = {"EMBEDDING_LOOKUP": 1, "GATHER": 0}
"""Operators that read some rows of a table, and which input that is."""

_OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
_DTYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.INT8: "int8",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT64: "int64",
    schema.TensorType.BOOL: "bool",
}


def check() -> dict[str, object]:
    """Versions; proves that a module can be converted and quantised."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        program, target, log = (str(Path(folder) / name) for name in ("m.pt2", "m.tflite", "log"))
        torch.export.save(torch.export.export(torch.nn.Linear(4, 3).eval(), (torch.ones(1, 4),)), program)
        np.savez(Path(folder) / "inputs.npz", **{"0/x": np.ones((1, 4), np.float32)})  # type: ignore[arg-type]
        convert(program, str(Path(folder) / "inputs.npz"), ["x"], ["y"], "int8", target, log)
    packages = ("litert-torch", "litert-converter", "ai-edge-quantizer", "ai-edge-litert", "torch")
    return {package: metadata.version(package) for package in packages}


def convert(
    program: str, representative: str, inputs: list[str], outputs: list[str], precision: str, target: str, log: str
) -> dict[str, object]:
    """Convert the saved program to a file at ``target`` whose tensors have the names given.

    ``representative``: an .npz of ``NUMBER/NAME`` arrays to choose the ranges of int8 by. What the
    converters print goes to ``log``, which is left only if they fail.
    Returns ``inputs`` and ``outputs`` (name, dtype, shape), ``operators`` (name -> how many) and ``streamed_bytes``.
    """
    with printing_to(log):
        exported = torch.export.load(program)
        graph = litert_torch.convert(exported.module(), *_example(exported))
        model = bytes(graph.model_content())
        places = _places(model, inputs, outputs)
        if precision != "fp32":
            model = _quantised(model, precision, _samples(representative, inputs))
        content, facts = _named(model, places)
    Path(target).write_bytes(content)
    Path(log).unlink()
    return facts


def _example(exported: Any) -> tuple[Any]:
    arguments, keywords = exported.example_inputs
    assert not keywords, "programs are exported with positional arguments"
    return (tuple(arguments),)


def _quantised(model: bytes, precision: str, samples: list[dict[str, Any]]) -> bytes:
    given = Interpreter(model_content=bytes(model)).get_signature_runner().get_input_details()
    feeds = [{name: value.astype(given[name]["dtype"]) for name, value in sample.items()} for sample in samples]
    tool = quantizer.Quantizer(bytes(model), _RECIPES[precision]())
    if not tool.need_calibration:
        return bytes(tool.quantize().quantized_model)
    ranges: dict[str, Any] = {}  # of each tensor the widest; the tool's own average depends on the samples' order
    for feed in feeds:
        for name, seen in tool.calibrate({"serving_default": [feed]}).items():
            ranges[name] = qsv_utils.min_max_update(ranges.get(name, {}), seen) if seen else ranges.get(name, {})
    return bytes(tool.quantize(ranges).quantized_model)


def _samples(path: str, names: list[str]) -> list[dict[str, Any]]:
    with np.load(path, allow_pickle=False) as stored:
        count = 1 + max(int(key.partition("/")[0]) for key in stored.files)
        return [{f"args_{i}": stored[f"{number}/{name}"] for i, name in enumerate(names)} for number in range(count)]


Places = tuple[dict[str, int], dict[str, int]]
"""Name -> place among the graph's inputs, and among its outputs."""


def _places(content: bytes, inputs: list[str], outputs: list[str]) -> Places:
    """Where our inputs and outputs are in the converted graph, which calls them ``args_0`` and ``output_0``."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph, signature = model.subgraphs[0], model.signatureDefs[0]

    def find(entries: Any, tensors: Any, prefix: str, names: list[str]) -> dict[str, int]:
        index = {entry.name.decode(): entry.tensorIndex for entry in entries}
        places: dict[str, int] = {}
        for number, name in enumerate(names):
            if f"{prefix}{number}" not in index:
                raise ValueError(f"the converted graph has no {name}; forward does not use it")
            place = list(tensors).index(index[f"{prefix}{number}"])
            twin = next((other for other, taken in places.items() if taken == place), None)
            if twin is not None:
                raise ValueError(f"{twin} and {name} are one tensor; return it once")
            places[name] = place
        return places

    passed = set(graph.inputs) & set(graph.outputs)
    if passed:
        raise ValueError("an input is returned as it is, which this graph has no operator for; leave it out")
    return (
        find(signature.inputs, graph.inputs, "args_", inputs),
        find(signature.outputs, graph.outputs, "output_", outputs),
    )


def _named(content: bytes, places: Places) -> tuple[bytes, dict[str, object]]:
    """The file with our names for its inputs and outputs, and what is in it.

    Quantising keeps the places of inputs and outputs, but may leave the signature at tensors that are others now.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:  # the quantiser puts large ones behind the flatbuffer
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    sides = []
    for tensors, named in ((graph.inputs, places[0]), (graph.outputs, places[1])):
        side, entries = [], []
        for name, place in named.items():
            tensor = graph.tensors[tensors[place]]
            tensor.name = name.encode()
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name.encode(), int(tensors[place])
            entries.append(entry)
            shape = [] if tensor.shape is None else [int(size) for size in tensor.shape]
            side.append({"name": name, "dtype": _DTYPES[tensor.type], "shape": shape})
        sides.append((side, entries))
    signature.inputs, signature.outputs = (entries for _, entries in sides)
    operators: dict[str, int] = {}
    for operator in graph.operators:
        name = _name_of(model, operator)
        operators[name] = operators.get(name, 0) + 1
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    facts = {
        "inputs": sides[0][0],
        "outputs": sides[1][0],
        "operators": operators,
        "streamed_bytes": _streamed_bytes(model),
    }
    return bytes(builder.Output()), facts


def _streamed_bytes(model: Any) -> int:
    """Bytes of the constants that some operator reads in whole, and not only looks rows up in."""
    graph = model.subgraphs[0]
    read = {
        graph.tensors[index].buffer
        for operator in graph.operators
        for position, index in enumerate(operator.inputs)
        if index >= 0 and _LOOKED_UP.get(_name_of(model, operator)) != position
    }
    return sum(len(model.buffers[buffer].data) for buffer in read if model.buffers[buffer].data is not None)


def _name_of(model: Any, operator: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    if code.customCode:
        return f"custom {code.customCode.decode()}"
    name: str = _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
    return name
