"""Engine ``eyeriss``: matrix products and convolutions on a row-stationary array, scheduled by nn-dataflow.

Row stationary: Chen et al., ISCA 2016; the chip: Chen et al., JSSC 2017. nn-dataflow (Gao et al., ASPLOS
2017) searches each layer's loop blocking for the least energy and counts cycles and accesses; it runs
in its own toolchain. It schedules layers with weights: a product of two activations is one per head,
the second operand counted as weights. Everything else is for the device's host.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from profiler.errors import SimulationError, ToolRefusalError
from profiler.simulators.estimate import Primitive, Provenance
from profiler.simulators.graph import MatrixProduct, Node, matrix_product
from profiler.simulators.nodewise import NodeEngine, NodewiseEstimator
from profiler.toolchain import ToolProcess, get_toolchain

TOOLCHAIN = "nn-dataflow"
MS_PER_S, MJ_PER_PJ, PJ_PER_MJ = 1e3, 1e-9, 1e9
BYTE_BITS, KIB = 8, 1024

Layer = tuple[tuple[str, int | str], ...]
"""A layer as the tool takes it, in a form that can be a key."""


class Parameters(BaseModel):
    """An array like Eyeriss; words are ``word_bits`` wide everywhere.

    Energies are pJ of one multiply-accumulate and of one word at each level; ``idle_mw`` is what
    clocks and memories draw while a layer runs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rows: int = Field(ge=1, strict=True)
    columns: int = Field(ge=1, strict=True)
    buffer_kib: float = Field(gt=0, description="the global buffer")
    register_words: int = Field(ge=1, strict=True, description="of one processing element, all operands together")
    word_bits: int = Field(default=16, ge=1, le=64, strict=True)
    clock_hz: float = Field(gt=0)
    dram_bytes_per_s: float | None = Field(description="null: no transfer takes time")
    mac_pj: float = Field(ge=0)
    dram_pj: float = Field(ge=0)
    buffer_pj: float = Field(ge=0)
    array_pj: float = Field(ge=0, description="from processing element to processing element")
    register_pj: float = Field(ge=0)
    idle_mw: float = Field(default=0.0, ge=0)
    takes: tuple[str, ...] = Field(default=(), description="precisions of graphs it runs in its words")

    @model_validator(mode="after")
    def _possible(self) -> Parameters:
        per_cycle = self.dram_words_per_cycle
        if per_cycle is not None and per_cycle < 1:
            raise ValueError(
                f"dram_bytes_per_s {self.dram_bytes_per_s:g} at clock_hz {self.clock_hz:g} is {per_cycle:.3g} words of"
                f" {self.word_bits} bits a cycle; at least one is needed"
            )
        return self

    @property
    def dram_words_per_cycle(self) -> float | None:
        """Words that DRAM gives or takes in a cycle; ``None`` if no transfer takes time."""
        if self.dram_bytes_per_s is None:
            return None
        return self.dram_bytes_per_s * BYTE_BITS / self.word_bits / self.clock_hz

    @property
    def hardware(self) -> dict[str, float | None]:
        """What the tool's ``schedule`` takes as hardware."""
        return {
            "rows": self.rows,
            "columns": self.columns,
            "buffer_words": int(self.buffer_kib * KIB * BYTE_BITS / self.word_bits),
            "register_words": self.register_words,
            "dram_words_per_cycle": self.dram_words_per_cycle,
        }

    @property
    def costs(self) -> dict[str, float]:
        """What the tool's ``schedule`` takes as costs, in pJ; ``idle`` for a cycle."""
        levels = {"dram": self.dram_pj, "buffer": self.buffer_pj, "array": self.array_pj, "register": self.register_pj}
        return {"mac": self.mac_pj, **levels, "idle": self.idle_mw * PJ_PER_MJ / self.clock_hz}


@dataclass(slots=True, weakref_slot=True)
class EyerissEngine:
    """A :class:`profiler.simulators.nodewise.NodeEngine`; its tool is started when it is first needed.

    It ends with this object. Layers that were asked for before are not scheduled again.
    """

    parameters: Parameters
    configuration: str
    _tool: ToolProcess | None = None
    _known: dict[Layer, Mapping[str, float]] = field(default_factory=dict)

    @property
    def provenance(self) -> Provenance:
        """The pinned version of nn-dataflow, whose figures these are."""
        version = get_toolchain(TOOLCHAIN).versions[TOOLCHAIN]
        return Provenance("eyeriss", f"nn-dataflow-{version}", self.configuration, "exact-to-reference")

    @property
    def precisions(self) -> Collection[str]:
        """Integers of its words, and those it is told to take for them."""
        return (f"int{self.parameters.word_bits}", *self.parameters.takes)

    def primitive(self, node: Node) -> Primitive | None:
        """The cost of a matrix product or convolution; a bias starts the sums and costs nothing more."""
        product = matrix_product(node)
        if product is None:
            return None
        count, layer = (product.batch, _convolution(node)) if node.op == "Conv" else _fully_connected(product)
        try:
            found = self.schedule(layer)
        except ToolRefusalError as exc:
            raise SimulationError(f"eyeriss cannot map {node}: {exc}") from exc
        detail = {"cycles": count * found["cycles"], "macs": count * found["macs"], "active_pes": found["active_pes"]}
        parts = ("mac", "dram", "buffer", "array", "register", "idle")
        return Primitive(
            node.name,
            node.op,
            count * found["cycles"] / self.parameters.clock_hz * MS_PER_S,
            count * found["energy"] * MJ_PER_PJ,
            detail | {f"{part}_mj": count * found[f"{part}_energy"] * MJ_PER_PJ for part in parts},
        )

    def schedule(self, layer: Mapping[str, int | str]) -> Mapping[str, float]:
        """What the tool says of one layer; see ``profiler/toolchain/tools/nn_dataflow_tool.py``.

        Raises :class:`profiler.errors.ToolchainError`.
        """
        key = tuple(sorted(layer.items()))
        if key not in self._known:
            if self._tool is None:
                self._tool = ToolProcess.open(TOOLCHAIN)
                weakref.finalize(self, self._tool.close)
            asked: dict[str, Any] = {"hardware": self.parameters.hardware, "costs": self.parameters.costs}
            self._known[key] = self._tool.call("schedule", layer=dict(layer), **asked)
        return self._known[key]


def open_engine(parameters: Parameters, configuration: str, host: NodeEngine | None) -> NodewiseEstimator:
    """The estimator of a device with these parameters."""
    return NodewiseEstimator(EyerissEngine(parameters, configuration), host)


def _fully_connected(product: MatrixProduct) -> tuple[int, dict[str, int | str]]:
    return product.batch, {"kind": "fc", "inputs": product.k, "outputs": product.n, "batch": product.m}


def _convolution(node: Node) -> dict[str, int | str]:
    """One group; one of a single dimension is laid along the rows."""
    data, weight, output = node.inputs[0].shape, node.inputs[1].shape, node.outputs[0].shape
    strides, dilations = node.attributes.get("strides", (1,)), node.attributes.get("dilations", (1,))
    assert isinstance(strides, tuple) and isinstance(dilations, tuple)
    if len(data) not in (3, 4) or set(dilations) != {1}:
        raise SimulationError(f"eyeriss cannot map {node}: it has convolutions over one or two dimensions, undilated")
    return {
        "kind": "conv",
        "inputs": weight[1],
        "outputs": weight[0] * weight[1] // data[1],
        "batch": data[0],
        "height": output[2],
        "width": (*output, 1)[3],
        "kernel_height": weight[2],
        "kernel_width": (*weight, 1)[3],
        "stride_height": int(strides[0]),
        "stride_width": int(strides[-1]),
    }
