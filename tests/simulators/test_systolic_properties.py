"""What must hold of the systolic engine whatever is asked, and the published bounds of the first TPU."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import load_devices
from profiler.simulators.device import SimulatedDevice
from profiler.simulators.energy import energy_table
from profiler.simulators.graph import MatrixProduct
from profiler.simulators.systolic import Parameters, ProductCost, product_cost

SIZE = st.integers(1, 400)
PRODUCTS = st.builds(
    MatrixProduct, batch=st.integers(1, 8), m=SIZE, k=SIZE, n=SIZE, weights=st.just(True), bias=st.booleans()
)
ARRAYS = st.fixed_dictionaries(
    {
        "rows": st.integers(1, 64),
        "cols": st.integers(1, 64),
        "dataflow": st.sampled_from(["os", "ws", "is"]),
        "clock_hz": st.just(1e6),
        "dram_bytes_per_s": st.floats(4e6, 1e9),
        "ifmap_kib": st.sampled_from([64, 1024]),
        "filter_kib": st.sampled_from([64, 1024]),
        "ofmap_kib": st.sampled_from([64, 1024]),
        "precision": st.sampled_from(["fp32", "fp16", "int8", "int4"]),
        "overlapped_folds": st.booleans(),
        "double_buffered": st.booleans(),
        "accumulates": st.booleans(),
    }
)


def cost(array: dict[str, object], product: MatrixProduct, **changes: object) -> ProductCost:
    return product_cost(Parameters(**array | changes), product)


@given(array=ARRAYS, product=PRODUCTS)
def test_no_product_is_faster_than_its_work_or_its_bytes(array: dict[str, object], product: MatrixProduct) -> None:
    found = cost(array, product)
    given_ = Parameters(**array)
    assert found.cycles * given_.rows * given_.cols >= product.macs
    moved = found.dram_read_bytes + found.dram_write_bytes
    assert found.cycles >= moved / given_.dram_bytes_per_cycle - 1e-6
    assert moved >= given_.word_bytes * product.batch * (product.m * product.k + product.k * product.n)
    assert found.energy_mj is not None
    assert found.energy_mj >= product.macs * energy_table("horowitz2014-45nm/1").mac_pj[given_.precision] * 1e-9


@given(array=ARRAYS, product=PRODUCTS)
def test_more_of_anything_is_never_slower(array: dict[str, object], product: MatrixProduct) -> None:
    found = cost(array, product)
    assert cost(array, product, dram_bytes_per_s=None).cycles <= found.cycles
    assert cost(array, product, dram_bytes_per_s=2e9).cycles <= found.cycles
    assert cost(array, product, overlapped_folds=True).cycles <= cost(array, product, overlapped_folds=False).cycles
    big = cost(array, product, ifmap_kib=4096, filter_kib=4096, ofmap_kib=4096)
    words = [c.dram_ifmap_reads + c.dram_filter_reads + c.dram_ofmap_reads + c.dram_ofmap_writes for c in (big, found)]
    assert words[0] <= words[1]
    narrow = cost(array, product, precision="int8")
    assert narrow.dram_read_bytes <= cost(array, product, precision="fp32").dram_read_bytes


@given(array=ARRAYS, product=PRODUCTS)
def test_a_batch_is_so_many_products(array: dict[str, object], product: MatrixProduct) -> None:
    once = MatrixProduct(1, product.m, product.k, product.n, product.weights, product.bias)
    alone, together = cost(array, once), cost(array, product)
    assert together.energy_mj == pytest.approx(product.batch * alone.energy_mj)
    assert together.compute_cycles == product.batch * alone.compute_cycles
    assert together.cycles <= product.batch * alone.cycles


# N. Jouppi et al., ISCA 2017, figure 5 and table 3: multiply-accumulates per byte of weights, and measured TOPS.
ROOFLINE = {"MLP0": (200, 12.3), "MLP1": (168, 9.7), "LSTM0": (64, 3.7), "CNN0": (2888, 86.0)}


@pytest.mark.parametrize("name", ROOFLINE)
def test_the_first_tpu_is_bound_as_published(name: str) -> None:
    """At a network's intensity the modelled TOPS reach what was measured, and not the roofline beyond a rounding."""
    intensity, measured_tops = ROOFLINE[name]
    device = load_devices().get("tpu-v1")
    assert isinstance(device, SimulatedDevice)
    given_ = device.engine_parameters
    assert isinstance(given_, Parameters)
    product = MatrixProduct(1, intensity, 4096, 4096, weights=True)  # so many rows use each byte of weights
    found = product_cost(given_, product, on_chip=(True, False, True))
    tops = 2 * product.macs / (found.cycles / given_.clock_hz) / 1e12
    bound = min(2 * 256 * 256 * 700e6, 2 * intensity * 34e9) / 1e12
    assert measured_tops <= tops <= bound
    assert tops == pytest.approx(bound, rel=0.1)
