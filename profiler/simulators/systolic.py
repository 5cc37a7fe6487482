"""Engine ``systolic``: matrix products on an array in closed form, everything else on a vector unit beside it.

Nodes run one after another, with nothing fused. The array's cycles are those of SCALE-Sim 3.0.0 (see
:mod:`profiler.simulators.systolic_array`); memory, vector unit and energy are our own model, fitted to nothing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from profiler.errors import SimulationError
from profiler.simulators.energy import KIB, EnergyTable, area_mm2, energy_table
from profiler.simulators.estimate import Primitive, Provenance
from profiler.simulators.graph import MatrixProduct, Node, Tensor, matrix_product
from profiler.simulators.nodewise import NodeEngine, NodewiseEstimator
from profiler.simulators.systolic_array import Array, Dataflow, ceil_div, run
from profiler.simulators.systolic_memory import Buffers, traffic, with_transfers
from profiler.simulators.vector import bytes_of, operations_of, read_elements

VERSION = "1"
MS, MJ_PER_PJ = 1e3, 1e-9

Precision = Literal["fp32", "fp16", "int8", "int4"]
WORD_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "int4": 0.5}
ACCUMULATOR_BYTES = 4.0
"""A partial sum: fp32 for floats, int32 for integers."""


class Parameters(BaseModel):
    """An accelerator. The switches are off as in SCALE-Sim 3.0.0; a real one has most of them on."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rows: int = Field(strict=True)
    cols: int = Field(strict=True)
    dataflow: Dataflow
    clock_hz: float = Field(gt=0)
    dram_bytes_per_s: float | None = Field(default=None, description="none: no transfer takes time")
    ifmap_kib: float = 1024
    filter_kib: float = 1024
    ofmap_kib: float = 1024
    precision: Precision = "int8"
    takes: tuple[str, ...] = Field(default=(), description="precisions of graphs it runs at its own; else only that")
    overlapped_folds: bool = False
    double_buffered: bool = True
    accumulates: bool = Field(default=False, description="else all partial sums go to DRAM and come back")
    keeps_activations: bool = Field(
        default=False, description="operands that fit the ifmap buffer never leave the chip"
    )
    vector_lanes: int = Field(default=1, ge=0, strict=True, description="none: the host must take the rest")
    energy: str | None = Field(default="horowitz2014-45nm/1", description="table of unit energies; none: no energy")

    @model_validator(mode="after")
    def _possible(self) -> Parameters:
        per_cycle = self.dram_bytes_per_cycle
        if per_cycle < self.word_bytes:
            raise ValueError(
                f"dram_bytes_per_s {self.dram_bytes_per_s:g} at clock_hz {self.clock_hz:g} is {per_cycle:.3g} bytes a"
                f" cycle, less than a word ({self.word_bytes:g} bytes of {self.precision})"
            )
        try:
            self.buffers.require_tile(self.array)
            _ = self.energy_table
        except SimulationError as exc:
            raise ValueError(str(exc)) from exc
        return self

    @property
    def array(self) -> Array:
        """The array in it."""
        return Array(self.dataflow, self.rows, self.cols, self.overlapped_folds)

    @property
    def word_bytes(self) -> float:
        """Bytes of a value that is no partial sum."""
        return WORD_BYTES[self.precision]

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Infinite if no bandwidth is given."""
        return math.inf if self.dram_bytes_per_s is None else self.dram_bytes_per_s / self.clock_hz

    @property
    def buffers(self) -> Buffers:
        """What can be used of the buffers: half of them if the other half is being filled."""
        halves = 2 if self.double_buffered else 1
        return Buffers(
            ifmap_words=int(self.ifmap_kib * KIB / halves / self.word_bytes),
            filter_words=int(self.filter_kib * KIB / halves / self.word_bytes),
            ofmap_words=int(self.ofmap_kib * KIB / halves / ACCUMULATOR_BYTES),
            accumulates=self.accumulates,
        )

    @property
    def energy_table(self) -> EnergyTable | None:
        """The unit energies, if any."""
        return None if self.energy is None else energy_table(self.energy)

    @property
    def area_mm2(self) -> float:
        """See :func:`profiler.simulators.energy.area_mm2`."""
        kib = (self.ifmap_kib, self.filter_kib, self.ofmap_kib)
        return area_mm2(self.rows * self.cols, self.precision, [KIB * size for size in kib])


@dataclass(frozen=True, slots=True)
class ProductCost:
    """One matrix product, all of its batch. SRAM accesses and DRAM traffic in words, energy in mJ if there is a table.

    ``dram_ofmap_reads`` and all but the last of ``dram_ofmap_writes`` are partial sums that found no room.
    """

    macs: int
    elements: int
    cycles: int
    compute_cycles: int
    ifmap_sram_reads: int
    filter_sram_reads: int
    ofmap_sram_reads: int
    ofmap_sram_writes: int
    dram_ifmap_reads: int
    dram_filter_reads: int
    dram_ofmap_reads: int
    dram_ofmap_writes: int
    dram_read_bytes: float
    dram_write_bytes: float
    energy_mj: float | None

    @property
    def utilisation(self) -> float:
        """Share of the array's multiply-accumulates that were the product's, stalls included."""
        return self.macs / (self.cycles * self.elements)

    def then(self, other: ProductCost) -> ProductCost:
        """Both, one after the other, on the same array."""
        energies = self.energy_mj, other.energy_mj
        return ProductCost(
            macs=self.macs + other.macs,
            elements=self.elements,
            cycles=self.cycles + other.cycles,
            compute_cycles=self.compute_cycles + other.compute_cycles,
            ifmap_sram_reads=self.ifmap_sram_reads + other.ifmap_sram_reads,
            filter_sram_reads=self.filter_sram_reads + other.filter_sram_reads,
            ofmap_sram_reads=self.ofmap_sram_reads + other.ofmap_sram_reads,
            ofmap_sram_writes=self.ofmap_sram_writes + other.ofmap_sram_writes,
            dram_ifmap_reads=self.dram_ifmap_reads + other.dram_ifmap_reads,
            dram_filter_reads=self.dram_filter_reads + other.dram_filter_reads,
            dram_ofmap_reads=self.dram_ofmap_reads + other.dram_ofmap_reads,
            dram_ofmap_writes=self.dram_ofmap_writes + other.dram_ofmap_writes,
            dram_read_bytes=self.dram_read_bytes + other.dram_read_bytes,
            dram_write_bytes=self.dram_write_bytes + other.dram_write_bytes,
            energy_mj=None if energies[0] is None or energies[1] is None else energies[0] + energies[1],
        )


@dataclass(frozen=True)
class SystolicEngine:
    """A :class:`NodeEngine`; matrix products on the array, the rest on the vector unit."""

    parameters: Parameters
    configuration: str = ""

    @property
    def provenance(self) -> Provenance:
        """The cycles of the array are SCALE-Sim's; a whole graph was never compared with anything."""
        return Provenance("systolic", VERSION, self.configuration, "uncalibrated")

    @cached_property
    def precisions(self) -> Collection[str]:
        """The array's own, and those it is declared to stand in for."""
        return {self.parameters.precision, *self.parameters.takes}

    def primitive(self, node: Node) -> Primitive | None:
        """``None`` for an operator that neither the array nor the vector unit knows."""
        product = matrix_product(node)
        return self._vector(node) if product is None else self._array(node, product)

    def _array(self, node: Node, product: MatrixProduct) -> Primitive:
        kept = [self._on_chip(tensor) for tensor in (*node.inputs[:2], node.outputs[0])]
        if node.inputs[0].constant and not node.inputs[1].constant:  # the product is the transposed one
            kept = [kept[1], kept[0], kept[2]]
        cost = product_cost(self.parameters, product, on_chip=(kept[0], kept[1], kept[2]))
        detail = {
            "cycles": float(cost.cycles),
            "compute_cycles": float(cost.compute_cycles),
            "utilisation": cost.utilisation,
            "dram_read_bytes": cost.dram_read_bytes,
            "dram_write_bytes": cost.dram_write_bytes,
            "macs": float(product.macs),
        }
        return Primitive(node.name, node.op, MS * cost.cycles / self.parameters.clock_hz, cost.energy_mj, detail)

    def _on_chip(self, tensor: Tensor) -> bool:
        """Whether an activation stays in the ifmap buffer from the operator before to the one after."""
        fits = tensor.elements <= self.parameters.buffers.ifmap_words
        return self.parameters.keeps_activations and not tensor.constant and fits

    def _vector(self, node: Node) -> Primitive | None:
        """An operation a lane and cycle; values come through the ifmap buffer and go through the ofmap buffer."""
        operations = operations_of(node)
        if operations is None or not self.parameters.vector_lanes:
            return None
        given, word = self.parameters, self.parameters.word_bytes
        reads = [(tensor, bytes_of(tensor, elements, word)) for tensor, elements in read_elements(node)]
        writes = [(tensor, bytes_of(tensor, tensor.elements, word)) for tensor in node.outputs]
        dram_read = sum(size for tensor, size in reads if not self._on_chip(tensor))
        dram_write = sum(size for tensor, size in writes if not self._on_chip(tensor))
        compute = math.ceil(operations / given.vector_lanes)
        transfer = math.ceil((dram_read + dram_write) / given.dram_bytes_per_cycle)
        cycles = max(compute, transfer) if given.double_buffered else compute + transfer
        energy, table = None, given.energy_table
        if table is not None:  # a lane's operation is taken to cost what a multiply-accumulate does
            read, written = (sum(size for _, size in moved) for moved in (reads, writes))
            sram_pj = _sram_pj(table, given.ifmap_kib, read, dram_read) + _sram_pj(
                table, given.ofmap_kib, dram_write, written
            )
            dram_pj = table.dram_pj_per_byte * (dram_read + dram_write)
            energy = MJ_PER_PJ * (operations * table.mac_pj[given.precision] + sram_pj + dram_pj)
        detail = {
            "cycles": float(cycles),
            "compute_cycles": float(compute),
            "operations": operations,
            "dram_read_bytes": dram_read,
            "dram_write_bytes": dram_write,
        }
        return Primitive(node.name, node.op, MS * cycles / given.clock_hz, energy, detail)


def product_cost(
    given: Parameters,
    product: MatrixProduct,
    *,
    on_chip: tuple[bool, bool, bool] = (False, False, False),
    scalesim: bool = False,
) -> ProductCost:
    """What ``product`` takes; ``on_chip`` says which of first operand, second and result never go to DRAM.

    A bias is read from DRAM into the accumulators. The products of a batch run one after another. Where the
    sums of all that streams through the array are more than the accumulators hold, the stream is cut into
    parts that fit, if that is faster than to spill: the stationary operand is then loaded for each part.
    A partial sum that was spilled comes back into the array, whose adders then have it for free; ``scalesim`` leaves
    that out where nothing ``accumulates``, and counts surplus output writes for os, as SCALE-Sim 3.0.0 does.
    """
    whole = _whole(given, product, on_chip, scalesim)
    if not given.accumulates or given.dataflow == "os":
        return whole
    stream, held = (product.m, product.n) if given.dataflow == "ws" else (product.n, product.m)
    parts = ceil_div(stream, given.buffers.ofmap_words // min(given.cols, held))
    size = ceil_div(stream, parts)
    costs = []
    for start in range(0, stream, size):
        here = min(size, stream - start)
        part = replace(product, m=here) if given.dataflow == "ws" else replace(product, n=here)
        costs.append(_whole(given, part, on_chip, scalesim))
    cut = functools.reduce(ProductCost.then, costs)
    return min(whole, cut, key=lambda cost: cost.cycles)


def _whole(given: Parameters, product: MatrixProduct, on_chip: tuple[bool, bool, bool], scalesim: bool) -> ProductCost:
    array, word, batch = given.array, given.word_bytes, product.batch
    once = run(array, product.m, product.k, product.n, scalesim_surplus=scalesim)
    moved = traffic(array, once, given.buffers)
    ifmap_on_chip, filter_on_chip, ofmap_on_chip = on_chip
    ifmap_in = 0 if ifmap_on_chip else batch * moved.ifmap_reads
    filter_in = 0 if filter_on_chip else batch * moved.filter_reads
    bias_in = batch * product.n if product.bias else 0
    ofmap_out = 0 if ofmap_on_chip else batch * moved.ofmap_writes
    comes_back = given.accumulates or not scalesim
    spilled = batch * moved.partial_writes
    refilled = spilled if comes_back else 0
    sums = batch * once.ofmap_sram_writes
    added = sums - batch * product.m * product.n if comes_back and given.dataflow != "os" else 0
    dram_read = word * (ifmap_in + filter_in + bias_in) + ACCUMULATOR_BYTES * refilled
    dram_write = word * ofmap_out + ACCUMULATOR_BYTES * spilled
    compute = batch * once.cycles
    transfer = math.ceil((dram_read + dram_write) / given.dram_bytes_per_cycle)
    energy, table = None, given.energy_table
    if table is not None:
        ofmap_read = ACCUMULATOR_BYTES * (added + spilled) + word * ofmap_out
        pj = (
            product.macs * table.mac_pj[given.precision]
            + _sram_pj(table, given.ifmap_kib, word * batch * once.ifmap_sram_reads, word * ifmap_in)
            + _sram_pj(table, given.filter_kib, word * batch * once.filter_sram_reads, word * filter_in)
            + _sram_pj(table, given.ofmap_kib, ofmap_read, ACCUMULATOR_BYTES * (sums + refilled))
            + table.dram_pj_per_byte * (dram_read + dram_write)
        )
        energy = MJ_PER_PJ * pj
    return ProductCost(
        macs=product.macs,
        elements=given.rows * given.cols,
        cycles=with_transfers(compute, transfer, batch * once.folds, double_buffered=given.double_buffered),
        compute_cycles=compute,
        ifmap_sram_reads=batch * once.ifmap_sram_reads,
        filter_sram_reads=batch * once.filter_sram_reads,
        ofmap_sram_reads=added,
        ofmap_sram_writes=sums,
        dram_ifmap_reads=ifmap_in,
        dram_filter_reads=filter_in,
        dram_ofmap_reads=refilled,
        dram_ofmap_writes=ofmap_out + spilled,
        dram_read_bytes=dram_read,
        dram_write_bytes=dram_write,
        energy_mj=energy,
    )


def _sram_pj(table: EnergyTable, kib: float, read_bytes: float, written_bytes: float) -> float:
    """Energy of the accesses to one buffer."""
    size = KIB * kib
    return read_bytes * table.read_pj_per_byte(size) + written_bytes * table.write_pj_per_byte(size)


def open_engine(parameters: BaseModel, configuration: str, host: NodeEngine | None) -> NodewiseEstimator:
    """See :data:`profiler.simulators.registry.ENGINES`."""
    assert isinstance(parameters, Parameters)
    return NodewiseEstimator(SystolicEngine(parameters, configuration), host)
