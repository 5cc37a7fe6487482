import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulators.pe_array import multiply
from simulators.systolic_checks import scalesim_rows

from profiler.simulators.systolic_array import Array, run

DATAFLOWS = ("os", "ws", "is")
SIZE, SIDE = st.integers(1, 500), st.integers(1, 64)


def cases(seed: int, number: int) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return [(*(rng.randint(1, 12) for _ in range(3)), *(rng.randint(1, 6) for _ in range(2))) for _ in range(number)]


def test_the_reference_has_every_dataflow_and_arrays_that_are_not_square() -> None:
    rows = list(scalesim_rows())
    assert len(rows) == 90
    assert {row["dataflow"] for row in rows} == set(DATAFLOWS)
    assert sum(row["rows"] != row["cols"] for row in rows) == 4


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(("m", "k", "n", "rows", "cols"), [*cases(0, 40), (1, 1, 1, 1, 1), (1, 12, 1, 6, 5)])
def test_processing_elements_need_these_cycles_for_the_right_product(
    dataflow: str, m: int, k: int, n: int, rows: int, cols: int
) -> None:
    draw = np.random.default_rng(m + k + n)
    a, b = draw.standard_normal((m, k)), draw.standard_normal((k, n))
    product, cycles = multiply(dataflow, a, b, rows, cols)
    np.testing.assert_allclose(product, a @ b, atol=1e-12)
    assert run(Array(dataflow, rows, cols), m, k, n).cycles == cycles


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(("m", "k", "n", "rows", "cols"), cases(1, 30))
def test_overlapped_folds_follow_as_closely_as_processing_elements_can(
    dataflow: str, m: int, k: int, n: int, rows: int, cols: int
) -> None:
    draw = np.random.default_rng(m + k + n)
    a, b = draw.standard_normal((m, k)), draw.standard_normal((k, n))
    found = run(Array(dataflow, rows, cols, overlapped_folds=True), m, k, n)
    serial = run(Array(dataflow, rows, cols), m, k, n)
    gap = (found.cycles - serial.fold_cycles) // (found.folds - 1) if found.folds > 1 else 0
    product, cycles = multiply(dataflow, a, b, rows, cols, gap)
    np.testing.assert_allclose(product, a @ b, atol=1e-12)
    assert found.cycles == cycles <= serial.cycles
    if found.folds > 1:  # a cycle less, and values overtake each other
        closer, _ = multiply(dataflow, a, b, rows, cols, gap - 1)
        assert not np.allclose(closer, a @ b, atol=1e-12)


@given(m=SIZE, k=SIZE, n=SIZE, rows=SIDE, cols=SIDE, overlapped=st.booleans())
def test_what_holds_for_every_product(m: int, k: int, n: int, rows: int, cols: int, overlapped: bool) -> None:
    for dataflow in DATAFLOWS:
        found = run(Array(dataflow, rows, cols, overlapped), m, k, n)
        assert found.cycles * rows * cols >= m * k * n
        assert 0 < found.utilisation <= 1
        assert found.ifmap_sram_reads >= m * k
        assert found.filter_sram_reads >= k * n
        assert found.ofmap_sram_writes >= m * n
    ours = run(Array("ws", rows, cols, overlapped), m, k, n)
    transposed = run(Array("is", rows, cols, overlapped), n, k, m)
    assert (ours.cycles, ours.ifmap_sram_reads, ours.filter_sram_reads, ours.ofmap_sram_writes) == (
        *(transposed.cycles, transposed.filter_sram_reads, transposed.ifmap_sram_reads),
        transposed.ofmap_sram_writes,
    )
