"""Runs in the toolchain vela: compiles one TFLite file for an Ethos-U and returns Vela's own figures."""

from __future__ import annotations

import csv
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from ethosu.vela import vela
from ethosu.vela.tflite.BuiltinOperator import BuiltinOperator
from ethosu.vela.tflite.Model import Model
from ethosu.vela.tflite.TensorType import TensorType

_OPERATORS = {code: name for name, code in vars(BuiltinOperator).items() if isinstance(code, int)}
_DTYPES = {code: name.lower() for name, code in vars(TensorType).items() if isinstance(code, int)}


def check() -> dict[str, object]:
    """Version; that the compiler itself can be imported is the proof."""
    return {"ethos-u-vela": metadata.version("ethos-u-vela")}


def compile(path: str, accelerator: str, system_config: str, memory_mode: str) -> dict[str, Any]:
    """Vela's estimate of the file at ``path``.

    ``summary``: the columns of its summary (``cycles_total``, ``core_clock`` in Hz, ``inference_time``
    in s, memory in KiB); ``layers``: those of its per-layer table, one a scheduled operator; ``cpu``:
    the operators it leaves to the CPU, which it costs nothing, with their tensors, by output name.
    """
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        arguments = [path, "--config", "Arm/vela.ini", "--output-dir", folder, "--verbose-performance"]
        arguments += ["--accelerator-config", accelerator]
        arguments += ["--system-config", system_config, "--memory-mode", memory_mode]
        status = vela.main(arguments)
        if status:
            raise RuntimeError(f"Vela ended with {status}")
        (summary,) = _rows(folder, "*_summary_*.csv")
        layers = [
            {key: value if key in _WORDS else float(value) for key, value in row.items()}
            for row in _rows(folder, "*_per-layer.csv")
        ]
    names = {str(layer["Name"]) for layer in layers if layer["Target"] == "CPU"}
    return {"summary": summary, "layers": layers, "cpu": _operators(path, names)}


_WORDS = {"Original Operator", "NNG Operator", "Target", "Name"}


def _rows(folder: str, pattern: str) -> list[dict[str, str]]:
    (path,) = Path(folder).glob(pattern)
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _operators(path: str, names: set[str]) -> dict[str, Any]:
    """Operators of the file by the name of their first output, for the names given."""
    model = Model.GetRootAs(Path(path).read_bytes(), 0)
    graph = model.Subgraphs(0)
    found = {}
    for position in range(graph.OperatorsLength()):
        operator = graph.Operators(position)
        output = graph.Tensors(operator.Outputs(0)).Name().decode()
        if output in names:
            code = model.OperatorCodes(operator.OpcodeIndex())
            found[output] = {
                "operator": _OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())],
                "inputs": [_tensor(model, graph, operator.Inputs(i)) for i in range(operator.InputsLength())],
                "outputs": [_tensor(model, graph, operator.Outputs(i)) for i in range(operator.OutputsLength())],
            }
    return found


def _tensor(model: Any, graph: Any, index: int) -> dict[str, Any]:
    tensor = graph.Tensors(index)
    return {
        "name": tensor.Name().decode(),
        "shape": [int(tensor.Shape(i)) for i in range(tensor.ShapeLength())],
        "dtype": _DTYPES[tensor.Type()],
        "constant": model.Buffers(tensor.Buffer()).DataLength() > 0,
    }
