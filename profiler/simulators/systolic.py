"""Engine ``systolic``: matrix products on an array in closed form, everything else on a vector unit beside it.

Nodes run one after another, with nothing fused. The array's cycles are those of SCALE-Sim 3.0.0 (see
:mod:`profiler.simulators.systolic_array`); memory, vector unit and energy are our own model, fitted to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from profiler.errors import SimulationError
from profiler.simulators.energy import KIB, EnergyTable, area_mm2, energy_table
from profiler.simulators.estimate import Primitive, Provenance
from profiler.simulators.graph import MatrixProduct, Node, Tensor, matrix_product
from profiler.simulators.nodewise import NodeEngine, NodewiseEstimator
from profiler.simulators.systolic_array import Array, ArrayRun, Dataflow, run
from profiler.simulators.systolic_memory import Buffers, Traffic, traffic, with_transfers
from profiler.simulators.vector import bytes_of, operations_of, read_elements

VERSION = "1"
MS, MJ_PER_PJ = 1e3, 1e-9

Precision = Literal["fp32", "fp16", "int8", "int4"]
WORD_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "int4": 0.5}
ACCUMULATOR_BYTES = 4.0
"""A partial sum: fp32 for floats, int32 for integers."""


class Parameters(BaseModel):
    """An accelerator. The switches are off as in SCALE-Sim 3.0.0; a real one has most of them on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    accumulates: bool = False
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
    """One matrix product (all of its batch). Accesses in words, traffic in words and bytes, energy in mJ."""

    run: ArrayRun
    traffic: Traffic
    batch: int
    cycles: int
    compute_cycles: int
    dram_read_bytes: float
    dram_write_bytes: float
    ofmap_sram_reads: int
    energy_mj: float | None

    @property
    def utilisation(self) -> float:
        """Share of the array's multiply-accumulates that were the product's, stalls included."""
        return self.run.utilisation * self.compute_cycles / self.cycles


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
    scalesim_surplus: bool = False,
) -> ProductCost:
    """What ``product`` takes; ``on_chip`` says which of first operand, second and result never go to DRAM.

    A bias is read from DRAM into the accumulators. The products of a batch run one after another.
    """
    array, word = given.array, given.word_bytes
    once = run(array, product.m, product.k, product.n, scalesim_surplus=scalesim_surplus)
    moved = traffic(array, once, given.buffers)
    ifmap_on_chip, filter_on_chip, ofmap_on_chip = on_chip
    words_in = (0 if ifmap_on_chip else moved.ifmap_reads) + (0 if filter_on_chip else moved.filter_reads)
    words_in += product.n if product.bias else 0
    words_out = 0 if ofmap_on_chip else moved.ofmap_writes
    dram_read = product.batch * (words_in * word + moved.partial_reads * ACCUMULATOR_BYTES)
    dram_write = product.batch * (words_out * word + moved.partial_writes * ACCUMULATOR_BYTES)
    compute = product.batch * once.cycles
    transfer = math.ceil((dram_read + dram_write) / given.dram_bytes_per_cycle)
    cycles = with_transfers(compute, transfer, product.batch * once.folds, double_buffered=given.double_buffered)
    sum_reads = once.ofmap_sram_writes - product.m * product.n if given.accumulates and given.dataflow != "os" else 0
    energy, table = None, given.energy_table
    if table is not None:
        accumulator_bytes = product.batch * ACCUMULATOR_BYTES
        ifmap_in, filter_in = (
            product.batch * word * (0 if kept else words)
            for kept, words in ((ifmap_on_chip, moved.ifmap_reads), (filter_on_chip, moved.filter_reads))
        )
        pj = (
            product.macs * table.mac_pj[given.precision]
            + _sram_pj(table, given.ifmap_kib, product.batch * word * once.ifmap_sram_reads, ifmap_in)
            + _sram_pj(table, given.filter_kib, product.batch * word * once.filter_sram_reads, filter_in)
            + _sram_pj(
                table,
                given.ofmap_kib,
                accumulator_bytes * (sum_reads + moved.partial_writes) + product.batch * word * words_out,
                accumulator_bytes * (once.ofmap_sram_writes + moved.partial_reads),
            )
            + table.dram_pj_per_byte * (dram_read + dram_write)
        )
        energy = MJ_PER_PJ * pj
    return ProductCost(
        run=once,
        traffic=moved,
        batch=product.batch,
        cycles=cycles,
        compute_cycles=compute,
        dram_read_bytes=dram_read,
        dram_write_bytes=dram_write,
        ofmap_sram_reads=sum_reads,
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
