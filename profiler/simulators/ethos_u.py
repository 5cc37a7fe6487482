"""Engine ``ethos-u``: what Arm's compiler Vela says an int8 TFLite file takes on an Ethos-U.

Vela's figures are its own static model (compiled operators one after another, cycles at the clock of
the system configuration): the vendor's estimate, made for Vela's scheduler, and no cycle-accurate
simulation. It costs an operator that it leaves to the CPU nothing; here a declared host pays for
it, or the artifact is refused.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, model_validator

from exporters import Artifact
from profiler.errors import SimulationError, ToolchainError, ToolRefusalError
from profiler.simulators.estimate import Estimate, Estimator, Primitive, Provenance, total
from profiler.simulators.graph import Node, Tensor
from profiler.simulators.nodewise import NodeEngine
from profiler.toolchain import ToolProcess, get_toolchain

MS = 1e3

Accelerator = Literal[
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512",
    "ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048",
]  # fmt: skip
MemoryMode = Literal["Sram_Only", "Shared_Sram", "Dedicated_Sram", "Dedicated_Sram_384KB", "Dedicated_Sram_512KB"]

_AS_ONNX: Mapping[str, str] = {
    "EMBEDDING_LOOKUP": "Gather", "GATHER": "Gather", "QUANTIZE": "Cast", "DEQUANTIZE": "Cast", "CAST": "Cast",
    "EQUAL": "Equal", "LESS": "Less", "LESS_EQUAL": "Less", "GREATER": "Greater", "GREATER_EQUAL": "Greater",
    "LOGICAL_AND": "And", "LOGICAL_OR": "Or", "LOGICAL_NOT": "Not", "SELECT": "Where", "SELECT_V2": "Where",
    "ADD": "Add", "SUB": "Sub", "MUL": "Mul", "SOFTMAX": "Softmax", "CONCATENATION": "Concat", "SLICE": "Slice",
    "TRANSPOSE": "Transpose", "RESHAPE": "Transpose",  # a copy
}  # fmt: skip
"""TFLite operators under the names by which the host knows their work."""

_DETAIL: Mapping[str, str] = {
    "Op Cycles": "cycles", "NPU": "npu_cycles", "SRAM AC": "sram_cycles", "DRAM AC": "dram_cycles",
    "OnFlash AC": "on_chip_flash_cycles", "OffFlash AC": "off_chip_flash_cycles", "MAC Count": "macs",
    "Staging Usage": "staging_bytes",
}  # fmt: skip
"""Columns of Vela's per-layer table, and what they are called in a primitive's detail."""


class Parameters(BaseModel):
    """Vela's three options, always given: its defaults differ from chip to chip."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    accelerator: Accelerator
    system_config: str
    memory_mode: MemoryMode

    @model_validator(mode="after")
    def _of_one_chip(self) -> Parameters:
        chip = self.accelerator.rpartition("-")[0].replace("ethos-u", "Ethos_U")
        if not self.system_config.startswith(chip + "_"):
            raise ValueError(f"system_config {self.system_config!r} is not one of {self.accelerator}: {chip}_...")
        return self


def open_engine(parameters: BaseModel, configuration: str, host: NodeEngine | None) -> Estimator:
    """The estimator; Vela is started at the first estimate."""
    version = get_toolchain("vela").versions["ethos-u-vela"]
    provenance = Provenance("ethos-u", version, configuration, "vendor-estimate").with_host(host)
    return EthosU(cast(Parameters, parameters), provenance, host)


class Vela:
    """The compiler in its toolchain, started at the first use and ended with this object."""

    def __init__(self) -> None:
        self._process: ToolProcess | None = None

    def compile(self, path: Path, parameters: Parameters) -> Mapping[str, Any]:
        """See ``vela_tool.compile``; raises :class:`ToolchainError`."""
        if self._process is None:
            self._process = ToolProcess.open("vela")
            weakref.finalize(self, self._process.close)
        try:
            return cast("Mapping[str, Any]", self._process.call("compile", path=str(path), **parameters.model_dump()))
        except ToolchainError:
            process, self._process = self._process, None
            process.close()
            raise


@dataclass(frozen=True, slots=True)
class EthosU:
    """An :class:`Estimator` that compiles the artifact and reads off what the compiler expects."""

    parameters: Parameters
    provenance: Provenance
    host: NodeEngine | None
    vela: Vela = field(default_factory=Vela, compare=False)

    def estimate(self, artifact: Artifact) -> Estimate:
        """See :class:`Estimator`; raises :class:`ToolchainError` if Vela is not installed, or dies."""
        if (artifact.format, artifact.precision) != ("tflite", "int8"):
            raise SimulationError(
                f"{artifact.path.name} is {artifact.format} in {artifact.precision}; ethos-u takes tflite in int8"
            )
        try:
            compiled = self.vela.compile(artifact.path.absolute(), self.parameters)
        except ToolRefusalError as exc:
            raise SimulationError(f"{artifact.path.name}: {exc}") from exc
        clock_hz = float(compiled["summary"]["core_clock"])
        return total(
            tuple(
                self._on_host(layer, compiled["cpu"]) if layer["Target"] == "CPU" else _on_npu(layer, clock_hz)
                for layer in compiled["layers"]
            ),
            self.provenance,
        )

    def _on_host(self, layer: Mapping[str, Any], operators: Mapping[str, Any]) -> Primitive:
        name = str(layer["Name"])
        operator = operators.get(name)
        kind = str(layer["Original Operator"]) if operator is None else str(operator["operator"])
        if self.host is None:
            raise SimulationError(
                f"ethos-u leaves {kind} ({name}) to the CPU; declare a host for it in the device, or export without it"
            )
        found = None if operator is None else self.host.primitive(_node(name, operator))
        if found is None:
            raise SimulationError(f"ethos-u leaves {kind} ({name}) to the CPU, and the host does not know its work")
        return Primitive(name, kind, found.latency_ms, None, found.detail)


def _on_npu(layer: Mapping[str, Any], clock_hz: float) -> Primitive:
    detail = {ours: float(layer[theirs]) for theirs, ours in _DETAIL.items()}
    detail["utilisation"] = float(layer["Util% (MAC)"]) / 100
    kind = str(layer["Original Operator"])
    return Primitive(str(layer["Name"]), kind, MS * detail["cycles"] / clock_hz, None, detail)


def _node(name: str, operator: Mapping[str, Any]) -> Node:
    kind = str(operator["operator"])
    inputs = _tensors(operator["inputs"])
    if kind == "EMBEDDING_LOOKUP":  # its rows come before its table
        inputs = inputs[::-1]
    return Node(name, _AS_ONNX.get(kind, kind), inputs, _tensors(operator["outputs"]), {})


def _tensors(entries: Sequence[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(e["name"], tuple(e["shape"]), e["dtype"], e["constant"]) for e in entries)


if TYPE_CHECKING:
    _: type[Estimator] = EthosU
