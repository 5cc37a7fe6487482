"""The engine gpu-roofline: what fits, what it says of itself, and laws it cannot break."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulators.roofline_checks import GPU

from profiler.devices import SHIPPED, load_devices
from profiler.errors import SimulationError
from profiler.simulators.graph import MatrixProduct
from profiler.simulators.host import HostParameters
from profiler.simulators.registry import open_estimator
from profiler.simulators.roofline import Parameters, product_latency_s
from profiler.simulators.roofline_fit import MeasuredProduct, fit

SIZES = st.integers(1, 5000)
PRODUCTS = st.builds(MatrixProduct, st.integers(1, 16), SIZES, SIZES, SIZES, st.booleans())
A100 = load_devices(SHIPPED).get("a100").engine_parameters


def measured_on(gpu, *, count, noise, seed):
    """Products of all kinds of sizes, and how long a device that is ``gpu`` and a little noisy would take."""
    rng = random.Random(seed)
    for _ in range(count):
        m, k, n = (int(2 ** rng.uniform(0, 13)) for _ in range(3))
        product = MatrixProduct(rng.choice([1, 1, 8]), m, k, n, weights=True)
        yield MeasuredProduct(product, 1e3 * product_latency_s(gpu, product) * 2 ** rng.gauss(0, noise))


@given(PRODUCTS)
def test_it_is_never_above_a_roof(product):
    latency_s = product_latency_s(A100, product)
    assert latency_s >= 2 * product.macs / A100.matrix_operations_per_s * (1 - 1e-12)
    assert latency_s >= 2 * product.batch * product.m * product.n / A100.memory_bytes_per_s
    assert latency_s >= A100.launch_us * 1e-6


@given(PRODUCTS, st.sampled_from(["memory_bytes_per_s", "matrix_operations_per_s", "vector_operations_per_s"]))
def test_more_of_anything_is_never_slower(product, what):
    more = A100.model_copy(update={what: 2 * getattr(A100, what)})
    assert product_latency_s(more, product) <= product_latency_s(A100, product)


@given(PRODUCTS)
def test_a_larger_product_is_never_faster(product):
    for more in ("batch", "m", "k", "n"):
        sizes = {name: getattr(product, name) + (name == more) for name in ("batch", "m", "k", "n")}
        assert product_latency_s(A100, MatrixProduct(**sizes, weights=True)) >= product_latency_s(A100, product)


def test_a_fit_finds_the_device_that_the_points_are_of():
    truth = Parameters(**GPU | {"launch_us": 7.5, "compute_efficiency": 0.62, "memory_efficiency": 0.81})
    found = fit(Parameters(**GPU), list(measured_on(truth, count=60, noise=0, seed=1)), "a made-up device")
    for name in ("launch_us", "compute_efficiency", "memory_efficiency"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=1e-3)
    assert found.calibration.points == 60
    assert found.calibration.held_out_error < 1e-3


def test_what_a_fit_is_worth_is_told_by_points_it_has_not_seen():
    truth = Parameters(**GPU | {"launch_us": 7.5, "compute_efficiency": 0.3, "memory_efficiency": 0.5})
    points = list(measured_on(truth, count=80, noise=0.2, seed=2))
    found = fit(Parameters(**GPU), points, "a noisy made-up device")
    assert 0.08 < found.calibration.held_out_error < 0.16  # a normal spread of 0.2 octaves is 11 % on the mean
    unfitted = [product_latency_s(Parameters(**GPU), p.product) * 1e3 / p.latency_ms - 1 for p in points]
    assert sum(map(abs, unfitted)) / len(points) > 3 * found.calibration.held_out_error


def test_a_device_says_uncalibrated_until_it_was_fitted():
    gpus = {name: device for name, device in load_devices(SHIPPED).by_name.items() if device.runtime == "gpu-roofline"}
    assert {"a100", "h100", "t4"} <= set(gpus)
    for device in gpus.values():
        assert open_estimator(device).provenance.fidelity == "uncalibrated"
        points = list(measured_on(device.engine_parameters, count=20, noise=0.1, seed=3))
        fitted = fit(device.engine_parameters, points, "made up")
        again = device.model_copy(update={"parameters": fitted.model_dump(mode="json")})
        assert open_estimator(again).provenance.fidelity == "calibrated"
        same, other = again.varied({"launch_us": fitted.launch_us}), again.varied({"multiprocessors": 7})
        assert open_estimator(same).provenance.fidelity == "calibrated"
        assert open_estimator(other).provenance.fidelity == "uncalibrated"
        assert other.engine_parameters.multiprocessors == 7
        hosted = again.model_copy(update={"host": HostParameters(operations_per_s=1, transfer_bytes_per_s=1)})
        assert open_estimator(hosted).provenance.fidelity == "uncalibrated"


def test_too_few_points_or_impossible_ones_are_refused():
    points = list(measured_on(Parameters(**GPU), count=10, noise=0, seed=4))
    with pytest.raises(SimulationError, match="9 measured products are too few to fit; give 10 or more"):
        fit(Parameters(**GPU), points[:9], "x")
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(SimulationError, match="cannot be; measure it again"):
            fit(Parameters(**GPU), [*points[:9], MeasuredProduct(points[9].product, wrong)], "x")
