"""Engine ``shiftadd``: matrix products by multiplications, additions or shifts on an Eyeriss-like array.

The cost model is ShiftAddNAS's (You et al., ICML 2022), see :mod:`profiler.simulators.shiftadd_tiling`;
what it assumes of the operators is a preset, see :func:`profiler.simulators.shiftadd_presets.unit_costs`.
The model knows no bandwidth: a layer takes as long as its arithmetic.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from profiler.errors import SimulationError
from profiler.simulators.estimate import Fidelity, Primitive, Provenance
from profiler.simulators.graph import MatrixProduct, Node, matrix_product
from profiler.simulators.nodewise import NodeEngine, NodewiseEstimator
from profiler.simulators.shiftadd_presets import Bits, Preset, array_limits, unit_costs
from profiler.simulators.shiftadd_tiling import LEVELS, Layer, Operator, TiledCost, best_tiling

VERSION = "1"
MS_PER_S = 1e3


class Parameters(BaseModel):
    """``operator`` is what layers with weights are made of; products of two activations are multiplied.

    Graphs of the precisions in ``takes`` stand for their quantisation: their shapes, words of ``bits``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    preset: Preset = "consistent"
    operator: Operator = "multiply"
    bits: Bits = 32
    takes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShiftAddEngine:
    """A :class:`profiler.simulators.nodewise.NodeEngine` for matrix products and convolutions."""

    parameters: Parameters
    configuration: str

    @property
    def provenance(self) -> Provenance:
        """Equal to the published records, which are of 32 bits; nothing else was compared with anything."""
        published = self.parameters.preset == "shiftaddnas2022" and self.parameters.bits == 32
        fidelity: Fidelity = "exact-to-reference" if published else "uncalibrated"
        return Provenance("shiftadd", VERSION, self.configuration, fidelity)

    @property
    def precisions(self) -> Collection[str]:
        """The one that its words have, and those it is told to take for it."""
        return ({32: "fp32", 8: "int8"}[self.parameters.bits], *self.parameters.takes)

    def primitive(self, node: Node) -> Primitive | None:
        """The cost of a matrix product or convolution; a bias starts the sums and costs nothing more."""
        product = matrix_product(node)
        if product is None:
            return None
        operator = self.parameters.operator if product.weights else "multiply"
        count, layer = self._layers(node, product, operator)
        try:
            cost = layer_cost(layer, self.parameters.preset, self.parameters.bits)
        except SimulationError as exc:
            raise SimulationError(f"{node}: {exc}") from exc
        return Primitive(
            node.name,
            node.op,
            count * cost.latency_s * MS_PER_S,
            count * cost.energy_mj,
            {
                "operations": count * layer.operations,
                "compute_mj": count * cost.compute_mj,
                **{f"{level}_mj": count * cost.level_mj(level) for level in LEVELS},
            },
        )

    def _layers(self, node: Node, product: MatrixProduct, operator: Operator) -> tuple[int, Layer]:
        """How often which layer. The heads of a product of activations are one layer in ShiftAddNAS's records."""
        if node.op == "Conv":
            return product.batch, _convolution(node, operator)
        if self.parameters.preset == "shiftaddnas2022":
            return 1, Layer(operator, product.batch * product.m, product.k, product.n)
        return product.batch, Layer(operator, product.m, product.k, product.n)


@functools.cache
def layer_cost(layer: Layer, preset: Preset, bits: Bits) -> TiledCost:
    """The cost of a layer under a preset; raises :class:`SimulationError` if it fits the array in no way."""
    return best_tiling(layer, array_limits(preset, bits), unit_costs(preset, layer.operator, bits))


def open_engine(parameters: Parameters, configuration: str, host: NodeEngine | None) -> NodewiseEstimator:
    """The estimator of a device with these parameters."""
    return NodewiseEstimator(ShiftAddEngine(parameters, configuration), host)


def _convolution(node: Node, operator: Operator) -> Layer:
    """One group of a convolution. One of a single dimension is laid along the rows, which spread over PEs."""
    data, weight, output = node.inputs[0].shape, node.inputs[1].shape, node.outputs[0].shape
    height, width = _plane(data[2:])
    out_height, out_width = _plane(output[2:])
    kernel_height, kernel_width = _plane(weight[2:])
    strides = node.attributes.get("strides", (1,))
    dilations = node.attributes.get("dilations", (1,))
    assert isinstance(strides, tuple) and isinstance(dilations, tuple)
    if len(set(strides)) > 1 or set(dilations) != {1}:
        raise SimulationError(f"shiftadd cannot map {node}: strides that differ, or dilations; export without them")
    group = data[1] // weight[1]
    return Layer(
        operator,
        data[0],
        weight[1],
        weight[0] // group,
        height,
        width,
        out_height,
        out_width,
        kernel_height,
        kernel_width,
        int(strides[0]),
    )


def _plane(shape: Sequence[int]) -> tuple[int, int]:
    if len(shape) not in (1, 2):
        raise SimulationError(f"shiftadd cannot map a convolution over {len(shape)} dimensions; it has one or two")
    return shape[0], shape[1] if len(shape) == 2 else 1
