"""Unit energies and areas, as versioned tables with their sources: what a count of actions is multiplied by.

Counted are arithmetic, buffer and memory accesses. Not counted, for want of a published figure: registers and wires
inside the array, clock tree, control and leakage; so these energies are a lower bound of a chip's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiler.errors import SimulationError

KIB = 1024


@dataclass(frozen=True, slots=True)
class Sram:
    """One size of buffer: energy of a byte read and written (pJ), area (mm2) where it is known."""

    size_bytes: int
    read_pj: float
    write_pj: float
    area_mm2: float | None = None


@dataclass(frozen=True, slots=True)
class EnergyTable:
    """Unit energies of one process; ``mac_pj`` and ``mac_um2`` by precision (int8 and int4 add up in 32 bits)."""

    name: str
    source: str
    mac_pj: Mapping[str, float]
    mac_um2: Mapping[str, float]
    srams: Sequence[Sram]
    dram_pj_per_byte: float

    def read_pj_per_byte(self, size_bytes: float) -> float:
        """Of a buffer of ``size_bytes``: on the line through its neighbours in the table, both axes in logs."""
        return self._between(size_bytes, [sram.read_pj for sram in self.srams])

    def write_pj_per_byte(self, size_bytes: float) -> float:
        """As :meth:`read_pj_per_byte`."""
        return self._between(size_bytes, [sram.write_pj for sram in self.srams])

    def _between(self, size_bytes: float, values: Sequence[float]) -> float:
        return _log_line(size_bytes, [sram.size_bytes for sram in self.srams], values)


def _log_line(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """The polygon through the points in logs; its first and last pieces go on beyond the ends."""
    upper = next((i for i, known in enumerate(xs) if i > 0 and x <= known), len(xs) - 1)
    slope = math.log(ys[upper] / ys[upper - 1]) / math.log(xs[upper] / xs[upper - 1])
    return ys[upper] * math.exp(slope * math.log(x / xs[upper]))


_MAC_45NM = {"fp32": 3.7 + 0.9, "fp16": 1.1 + 0.4, "int8": 0.2 + 0.1, "int4": 0.2 / 4 + 0.1}
"""Multiplier plus adder; int8 adds in 32 bits. int4 is derived: a multiplier goes with the square of the bits."""
_AREA_45NM = {"fp32": 7700 + 4184, "fp16": 1640 + 1360, "int8": 282 + 137, "int4": 282 / 4 + 137}

_CACTI_45NM = (
    Sram(16 * KIB, 10.5 / 16, 21.6 / 16, 0.057),
    Sram(64 * KIB, 38.4 / 16, 33.4 / 16, 0.212),
    Sram(256 * KIB, 62.3 / 16, 57.3 / 16, 0.977),
    Sram(1024 * KIB, 120.7 / 16, 115.6 / 16, 3.89),
)

TABLES: Mapping[str, EnergyTable] = {
    table.name: table
    for table in (
        EnergyTable(
            name="horowitz2014-45nm/1",
            source="M. Horowitz, Computing's energy problem, ISSCC 2014, figure 1.1.9: 45 nm, 0.9 V; a 64-bit access of"
            " 8 KiB 10 pJ, 32 KiB 20 pJ, 1 MiB 100 pJ, 32 bits of DRAM 640 pJ; areas: W. Dally, NIPS 2015 tutorial",
            mac_pj=_MAC_45NM,
            mac_um2=_AREA_45NM,
            srams=(
                Sram(8 * KIB, 10 / 8, 10 / 8),
                Sram(32 * KIB, 20 / 8, 20 / 8),
                Sram(1024 * KIB, 100 / 8, 100 / 8),
            ),
            dram_pj_per_byte=640 / 4,
        ),
        EnergyTable(
            name="cacti7-45nm/1",
            source="buffers: CACTI 7 at 45 nm, one 128-bit read-write port; arithmetic and DRAM as horowitz2014-45nm/1",
            mac_pj=_MAC_45NM,
            mac_um2=_AREA_45NM,
            srams=_CACTI_45NM,
            dram_pj_per_byte=640 / 4,
        ),
    )
}


def energy_table(name: str) -> EnergyTable:
    """The table called ``name``; raises :class:`SimulationError` naming those there are."""
    if name not in TABLES:
        raise SimulationError(f"energy table {name!r} is unknown; known: {', '.join(TABLES)}")
    return TABLES[name]


def area_mm2(elements: int, precision: str, buffers_bytes: Sequence[float]) -> float:
    """A proxy for the area: arithmetic (Dally's 45 nm) plus buffers (CACTI 7, 45 nm); no wires, no control."""
    known = [sram.area_mm2 for sram in _CACTI_45NM if sram.area_mm2 is not None]
    sizes = [sram.size_bytes for sram in _CACTI_45NM]
    return elements * _AREA_45NM[precision] / 1e6 + sum(_log_line(size, sizes, known) for size in buffers_bytes)
