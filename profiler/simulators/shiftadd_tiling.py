"""The best tiling of one layer on an Eyeriss-like array, as ShiftAddNAS searches it.

You et al., "ShiftAddNAS: Hardware-Inspired Search for More Accurate and Efficient Neural Networks",
ICML 2022, use an analytical model of a row-stationary array (Chen et al., Eyeriss, ISCA 2016; Zhao et
al., DNN-Chip Predictor, ICASSP 2020): every loop is split over the levels of the memory hierarchy,
accesses follow from the split, and among all splits that fit the one is taken with the least
normalised energy plus latency. A dimension's factors are named by level: 0 within a processing
element (PE), 1 across PEs, 2 in the global buffer, 3 in DRAM.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from profiler.errors import SimulationError

Operator = Literal["multiply", "add", "shift"]
Level = Literal["dram", "buffer", "noc", "register"]
Operand = Literal["input", "weight", "output"]
Array = npt.NDArray[np.float64]

LEVELS: tuple[Level, ...] = ("dram", "buffer", "noc", "register")


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution in the loop names of Eyeriss; a fully connected layer has all heights and widths 1.

    N = ``batch``, C = ``inputs``, M = ``outputs`` (channels), H x W = ``height`` x ``width`` of the
    input, E x F of the output, R x S = ``kernel_height`` x ``kernel_width``.
    """

    operator: Operator
    batch: int
    inputs: int
    outputs: int
    height: int = 1
    width: int = 1
    out_height: int = 1
    out_width: int = 1
    kernel_height: int = 1
    kernel_width: int = 1
    stride: int = 1

    @property
    def fully_connected(self) -> bool:
        """Whether there is nothing to slide over."""
        return self.height == self.width == self.out_height == self.out_width == 1

    @property
    def operations(self) -> int:
        """Multiplications (or additions, or shifts), each with its accumulation."""
        positions = self.batch * self.out_height * self.out_width
        return positions * self.outputs * self.inputs * self.kernel_height * self.kernel_width


@dataclass(frozen=True, slots=True)
class ArrayLimits:
    """The most a tiling may use: PEs, and words of a PE's registers and of the global buffer.

    ``spread_rows``: whether a layer with a height must have its output rows spread over PEs.
    """

    pes: int
    input_register: int
    weight_register: int
    output_register: int
    buffer: int
    spread_rows: bool


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """What one operation of an operator costs: pJ each, seconds a step; and one access of a word, in pJ."""

    compute_pj: float
    step_s: float
    access_pj: Mapping[tuple[Level, Operand], float]


@dataclass(frozen=True, slots=True)
class TiledCost:
    """The cost of the chosen tiling: energy by level and by operand (compute is in neither operand)."""

    latency_s: float
    compute_mj: float
    access_mj: Mapping[tuple[Level, Operand], float]
    accesses: Mapping[tuple[Level, Operand], float]

    @property
    def energy_mj(self) -> float:
        """All of it."""
        return self.compute_mj + sum(self.access_mj.values())

    def level_mj(self, level: Level) -> float:
        """Energy of one level of the memory hierarchy."""
        return sum(energy for (at, _), energy in self.access_mj.items() if at == level)

    def operand_mj(self, operand: Operand) -> float:
        """Energy of moving one operand."""
        return sum(energy for (_, of), energy in self.access_mj.items() if of == operand)


MJ_PER_PJ = 1e-9


def best_tiling(layer: Layer, limits: ArrayLimits, costs: UnitCosts) -> TiledCost:
    """The tiling with the least (E - min E) / max E + (L - min L) / max L over all that fit.

    Of equal ones the first in the order of the enumeration. Raises :class:`SimulationError` if
    none fits.
    """
    tiles = _fitting(layer, limits)
    accesses = _accesses(layer, tiles)
    energy = np.full(len(tiles["E3"]), layer.operations * costs.compute_pj * MJ_PER_PJ)
    for key, count in accesses.items():
        energy = energy + count * (costs.access_pj[key] * MJ_PER_PJ)
    latency = _steps(layer, tiles) * costs.step_s
    best = int(np.argmin((energy - energy.min()) / energy.max() + (latency - latency.min()) / latency.max()))
    chosen = {key: float(count[best]) for key, count in accesses.items()}
    return TiledCost(
        latency_s=float(latency[best]),
        compute_mj=layer.operations * costs.compute_pj * MJ_PER_PJ,
        access_mj={key: count * costs.access_pj[key] * MJ_PER_PJ for key, count in chosen.items()},
        accesses=chosen,
    )


def _steps(layer: Layer, tiles: Mapping[str, Array]) -> Array:
    """Steps of the array: every factor that is not spread over PEs."""
    temporal = ("N3", "N0", "M3", "M2", "M0", "C2", "C0", "E3")
    steps = np.full_like(tiles["N3"], layer.out_width * layer.kernel_width)
    for name in temporal:
        steps = steps * tiles[name]
    return steps


def _accesses(layer: Layer, tiles: Mapping[str, Array]) -> dict[tuple[Level, Operand], Array]:
    """Accesses of words by level and operand, for every tiling."""
    inputs = layer.batch * layer.height * layer.width * layer.inputs
    weights = layer.kernel_height * layer.kernel_width * layer.inputs * layer.outputs
    outputs = layer.batch * layer.out_height * layer.out_width * layer.outputs
    rows, columns = layer.kernel_height, layer.kernel_width
    m3, m2, m1, m0 = (tiles[name] for name in ("M3", "M2", "M1", "M0"))
    c2, c1, c0 = (tiles[name] for name in ("C2", "C1", "C0"))
    n3, n0, e3, e1 = (tiles[name] for name in ("N3", "N0", "E3", "E1"))
    # how often a row, and then a value in it, is used: diagonally over PEs, and along the row within one
    row_uses = rows * layer.out_height / layer.height
    value_uses = columns * layer.out_width / layer.width
    return {
        ("dram", "input"): inputs * m3,
        ("dram", "weight"): weights * n3 * e3,
        ("dram", "output"): np.full_like(m3, outputs),
        ("buffer", "input"): inputs * m3 * m2,
        # weights pass by the global buffer
        ("buffer", "output"): outputs * np.maximum(2 * (c2 - 1), 1),  # out and in again between its C tiles
        ("noc", "input"): inputs * m3 * m2 * m1 * row_uses,
        ("noc", "weight"): weights * n3 * e3 * e1,
        ("noc", "output"): outputs * np.maximum(c2 * (c1 * rows - 1), 1),  # partial sums go from PE to PE
        ("register", "input"): inputs * m3 * m2 * m1 * row_uses * m0 * value_uses,
        ("register", "weight"): weights * n3 * e3 * e1 * layer.out_width * n0,
        ("register", "output"): outputs * np.maximum(2 * c2 * c1 * rows * (c0 * columns - 1), 1),
    }


def _fitting(layer: Layer, limits: ArrayLimits) -> dict[str, Array]:
    """The factors of every tiling that fits, in the order of the enumeration."""
    batch = _splits(layer.batch, 2)  # N0, N3
    outputs = _splits(layer.outputs, 4)  # M0, M1, M2, M3
    outputs = outputs[outputs[:, 0] <= limits.output_register]
    inputs = _splits(layer.inputs, 3)  # C0, C1, C2: sums are never left unfinished in DRAM
    inputs = inputs[inputs[:, 0] * layer.kernel_width <= limits.input_register]
    rows = _splits(layer.out_height, 2)  # E1, E3
    if limits.spread_rows and not layer.fully_connected:
        rows = rows[rows[:, 0] != 1]
    found = []
    for n in batch:
        for m in outputs:  # the inner two together: that bounds the memory
            c, e = np.repeat(inputs, len(rows), axis=0), np.tile(rows, (len(inputs), 1))
            window = ((e[:, 0] - 1) * layer.stride + layer.kernel_height) * (
                (layer.out_width - 1) * layer.stride + layer.kernel_width
            )
            held = n[0] * (c[:, 1] * c[:, 0] * window + m[2] * m[1] * m[0] * e[:, 0] * layer.out_width)
            fits = (
                (m[1] * c[:, 1] * e[:, 0] * layer.kernel_height <= limits.pes)
                & (m[0] * c[:, 0] * layer.kernel_width <= limits.weight_register)
                & (held <= limits.buffer)
            )
            count = int(fits.sum())
            if count:
                head = np.broadcast_to(np.concatenate([n, m]), (count, 6))
                found.append(np.hstack([head, c[fits], e[fits]]))
    if not found:
        raise SimulationError(f"no tiling of {layer} fits {limits.pes} PEs and these memories")
    table = np.vstack(found).astype(np.float64)
    return dict(zip(("N0", "N3", "M0", "M1", "M2", "M3", "C0", "C1", "C2", "E1", "E3"), table.T, strict=True))


@functools.cache
def _splits(number: int, parts: int) -> npt.NDArray[np.int64]:
    """Every ordered split of ``number`` into ``parts`` factors, a row each."""
    if parts == 1:
        return np.array([[number]])
    rows = []
    for first in (size for size in range(number, 0, -1) if number % size == 0):
        rest = _splits(number // first, parts - 1)
        rows.append(np.hstack([np.full((len(rest), 1), first), rest]))
    return np.vstack(rows)
