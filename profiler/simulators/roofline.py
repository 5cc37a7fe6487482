"""Engine ``gpu-roofline``: kernels one after another, each as long as its arithmetic or its memory traffic takes.

latency = launch + max(waves * one tile on one multiprocessor, bytes / bandwidth)

A matrix product is cut into tiles of the output, one to a multiprocessor (SM) at a time: a part of a
tile costs a whole one, and a part of a wave of tiles a whole wave (NVIDIA, Matrix Multiplication
Background User's Guide, sections 3.1 and 3.2). Other operators are spread evenly. Nothing is fused,
nothing stays in a cache. It has no energy. Until it is fitted to measured kernels
(:mod:`profiler.simulators.roofline_fit`), expect its figures to be off by a factor.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from profiler.simulators.estimate import Fidelity, Primitive, Provenance
from profiler.simulators.graph import MatrixProduct, Node, matrix_product
from profiler.simulators.nodewise import NodeEngine, NodewiseEstimator
from profiler.simulators.vector import node_bytes, operations_of

VERSION = "1"
MS_PER_S, S_PER_US = 1e3, 1e-6
OPERATIONS_PER_MAC = 2

Precision = Literal["fp32", "fp16", "int8"]
VALUE_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0}


class Calibration(BaseModel):
    """That the device was fitted: to how many measured kernels, and how far off it was on ones it had not seen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    points: int = Field(ge=1, strict=True)
    held_out_error: float = Field(ge=0, description="mean absolute relative error")
    source: str = Field(min_length=1, description="where the measurements are from")


class Parameters(BaseModel):
    """A GPU by its data sheet, at one precision; the efficiencies are the shares of the peaks that kernels reach."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    multiprocessors: int = Field(ge=1, strict=True)
    matrix_operations_per_s: float = Field(gt=0, description="of matrix products, dense; a MAC is two operations")
    vector_operations_per_s: float = Field(gt=0, description="of everything else")
    memory_bytes_per_s: float = Field(gt=0)
    tile_m: int = Field(ge=1, strict=True)
    tile_n: int = Field(ge=1, strict=True)
    launch_us: float = Field(ge=0, description="from one kernel's end to the next one's work")
    compute_efficiency: float = Field(default=1.0, gt=0, le=1)
    memory_efficiency: float = Field(default=1.0, gt=0, le=1)
    precision: Precision = "fp16"
    takes: tuple[str, ...] = Field(default=(), description="precisions of graphs it runs at its own; else only that")
    calibration: Calibration | None = None


def product_latency_s(parameters: Parameters, product: MatrixProduct) -> float:
    """Seconds of one matrix product with its launch."""
    gpu, word = parameters, VALUE_BYTES[parameters.precision]
    operands = product.m * product.k + product.k * product.n + product.m * product.n
    return _latency_s(gpu, _product_compute_s(gpu, product), product.batch * operands * word)


@dataclass(frozen=True, slots=True)
class RooflineEngine:
    """A :class:`profiler.simulators.nodewise.NodeEngine` for every operator whose work is known."""

    parameters: Parameters
    configuration: str

    @property
    def provenance(self) -> Provenance:
        """``uncalibrated`` until it was fitted."""
        fidelity: Fidelity = "uncalibrated" if self.parameters.calibration is None else "calibrated"
        return Provenance("gpu-roofline", VERSION, self.configuration, fidelity)

    @property
    def precisions(self) -> Collection[str]:
        """Its own, and those it is told to take for it."""
        return (self.parameters.precision, *self.parameters.takes)

    def primitive(self, node: Node) -> Primitive | None:
        """One kernel; ``None`` if nothing is known of the work of such an operator."""
        operations = operations_of(node)
        if operations is None:
            return None
        gpu, product = self.parameters, matrix_product(node)
        moved = node_bytes(node, VALUE_BYTES[gpu.precision])
        if product is not None:
            compute_s = _product_compute_s(gpu, product)
        else:
            compute_s = operations / gpu.vector_operations_per_s  # no efficiency was fitted to these
        memory_s = moved / (gpu.memory_bytes_per_s * gpu.memory_efficiency)
        detail = {
            "operations": operations,
            "bytes": moved,
            "launch_ms": gpu.launch_us * S_PER_US * MS_PER_S,
            "compute_ms": compute_s * MS_PER_S,
            "memory_ms": memory_s * MS_PER_S,
        }
        return Primitive(node.name, node.op, _latency_s(gpu, compute_s, moved) * MS_PER_S, None, detail)


def open_engine(parameters: Parameters, configuration: str, host: NodeEngine | None) -> NodewiseEstimator:
    """The estimator of a device with these parameters."""
    return NodewiseEstimator(RooflineEngine(parameters, configuration), host)


def _latency_s(gpu: Parameters, compute_s: float, moved: float) -> float:
    return gpu.launch_us * S_PER_US + max(compute_s, moved / (gpu.memory_bytes_per_s * gpu.memory_efficiency))


def _product_compute_s(gpu: Parameters, product: MatrixProduct) -> float:
    tiles = product.batch * math.ceil(product.m / gpu.tile_m) * math.ceil(product.n / gpu.tile_n)
    waves = math.ceil(tiles / gpu.multiprocessors)
    per_sm = gpu.matrix_operations_per_s * gpu.compute_efficiency / gpu.multiprocessors
    return waves * OPERATIONS_PER_MAC * gpu.tile_m * gpu.tile_n * product.k / per_sm
