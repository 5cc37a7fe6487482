"""Register tiles of TVM's schedules: they fit, cover, and are the ones that measured best."""

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import profiler.toolchain

SCRIPT = Path(profiler.toolchain.__file__).with_name("tools") / "tvm_isa.py"
spec = importlib.util.spec_from_file_location("tvm_isa", SCRIPT)
isa = importlib.util.module_from_spec(spec)
sys.modules["tvm_isa"] = isa
spec.loader.exec_module(isa)

AVX512, AVX2, NEON, SSE = isa.Isa(16, 32), isa.Isa(8, 16), isa.Isa(4, 32), isa.Isa(4, 16)
processors = st.sampled_from([AVX512, AVX2, NEON, SSE])


@given(st.integers(1, 200), st.integers(1, 5000), processors)
def test_every_tile_leaves_registers_for_the_operands(rows: int, columns: int, processor) -> None:
    found = isa.tiles(rows, columns, processor)
    assert found
    for tile in found:
        operands = tile.vectors + 1 if tile.rows > 1 else 1  # of a panel that is used once, straight from memory
        assert tile.rows * tile.vectors + operands <= processor.registers
        assert tile.rows <= rows
        assert tile.columns < columns + processor.lanes


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 15, 23, 29, 30, 31, 64, 97])
@pytest.mark.parametrize("processor", [AVX512, AVX2, NEON])
def test_the_first_tile_wastes_little(rows: int, processor) -> None:
    tile = isa.tiles(rows, 2048, processor)[0]
    computed = -(-rows // tile.rows) * tile.rows * -(-2048 // tile.columns) * tile.columns
    assert computed <= 1.12 * rows * 2048


@pytest.mark.parametrize(("rows", "good"), [(30, {(6, 4), (5, 4), (10, 2), (5, 5)}), (5, {(5, 4), (5, 5)})])
def test_the_first_tile_is_one_that_measured_best(rows: int, good: set[tuple[int, int]]) -> None:
    """On a Zen 5, (30, 512) by (512, 2048): 6 x 4, 5 x 4 and 10 x 2 reach 250 GFLOP/s, 15 x 1 130, 14 x 2 109."""
    tile = isa.tiles(rows, 2048, AVX512)[0]
    assert (tile.rows, tile.vectors) in good


@given(st.integers(1, 10_000), processors)
def test_a_width_divides(extent: int, processor) -> None:
    width = isa.width_of(extent, processor)
    assert extent % width == 0
    assert width <= processor.lanes
    assert width == processor.lanes or extent % (2 * width)
