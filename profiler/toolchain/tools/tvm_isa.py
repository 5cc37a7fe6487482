"""What the schedules need to know of a processor: its vectors, and which register tile suits a matrix product."""

from __future__ import annotations

from dataclasses import dataclass

_FLOAT_BYTES = 4
_FMA_LATENCY = 4.0
_STREAM_BYTES_PER_CYCLE = 32.0
_FMA_PER_CYCLE = 2.0
"""Cycles of a dependent multiply-add, bytes a core takes from its second cache, multiply-adds it starts a cycle:
about those of Zen 3 to 5, Skylake-X and after (A. Fog, Instruction tables); a smaller core has the same optimum."""


@dataclass(frozen=True, slots=True)
class Isa:
    """``lanes``: fp32 values in a vector register; ``registers``: how many there are.

    ``dot``: its instruction, if it has one, that sums the products of a word into every lane (``vpdpbusd``,
    ``pmaddwd``, ``sdot``).
    """

    lanes: int
    registers: int
    dot: str = ""


def width_of(extent: int, isa: Isa) -> int:
    """The widest vector, of at most ``isa.lanes``, that divides an axis."""
    width = isa.lanes
    while extent % width:
        width //= 2
    return width


@dataclass(frozen=True, slots=True)
class Tile:
    """A block of accumulators: ``rows`` by ``vectors`` of ``lanes`` columns."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        """Columns of a tile, which is a panel of packed weights."""
        return self.vectors * self.lanes


def tiles(rows: int, columns: int, isa: Isa) -> list[Tile]:
    """The tiles that fit the registers, the one by which a product (rows, columns) should take least time first.

    A step of the inner loop loads ``vectors`` of the panel and one value of each row, and multiplies all with
    all. Its cycles are those of the multiply-adds, of the loads (two a cycle), of the latency that too few
    accumulators leave open, and of streaming the panel; rows and columns beyond the matrix are computed in vain.
    """
    fitting = [
        Tile(height, vectors, isa.lanes)
        for height in range(1, min(rows, isa.registers) + 1)
        for vectors in range(1, min(-(-columns // isa.lanes), isa.registers) + 1)
        if _fits(height, vectors, isa)
    ]
    return sorted(fitting, key=lambda tile: (_cycles(tile, rows, columns), -tile.rows * tile.vectors, tile.vectors))


def _fits(height: int, vectors: int, isa: Isa) -> bool:
    """A row's value and the panel's vectors need registers beside the accumulators; compilers spill earlier."""
    operands = vectors + 1 if height > 1 else 1  # a single row takes the panel straight from memory
    return height * vectors <= min(isa.registers * 4 // 5, isa.registers - operands)


def _cycles(tile: Tile, rows: int, columns: int) -> float:
    work = tile.rows * tile.vectors
    step = max(
        work / _FMA_PER_CYCLE,
        (tile.rows + tile.vectors) / 2,
        _FMA_LATENCY,
        tile.columns * _FLOAT_BYTES / _STREAM_BYTES_PER_CYCLE,
    )
    return step * -(-rows // tile.rows) * -(-columns // tile.columns)
