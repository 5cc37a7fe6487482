"""``hwnas accelerator fit`` as a user types it."""

import pytest
from cli.shell import Shell

from profiler.devices import SHIPPED, load_devices
from profiler.simulators.graph import MatrixProduct
from profiler.simulators.roofline import product_latency_s

HEADER = "batch,M,K,N,latency_ms\n"


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path, tmp_path / "cache")


@pytest.fixture
def points(tmp_path):
    """Products as long as an A100 would take that reaches half its arithmetic and three quarters of its bandwidth."""
    real = {"launch_us": 5.0, "compute_efficiency": 0.5, "memory_efficiency": 0.75}
    gpu = load_devices(SHIPPED).get("a100").engine_parameters.model_copy(update=real)
    lines = []
    for m in (1, 256, 4096, 8192):
        for k, n in ((64, 64), (1024, 4096), (4096, 1024), (8192, 8192)):
            latency_ms = 1e3 * product_latency_s(gpu, MatrixProduct(1, m, k, n, weights=True))
            lines.append(f"1,{m},{k},{n},{latency_ms!r}\n")
    (tmp_path / "gemms.csv").write_text(HEADER + "".join(lines))
    return "gemms.csv"


def test_a_fitted_device_is_registered_and_says_calibrated(shell, points, tmp_path):
    fit = ("accelerator", "fit", "a100", "--devices", str(SHIPPED), "--points", points, "--name", "mine")
    told = shell(*fit)
    assert "launch 5 us, 50 % of its arithmetic and 75 % of its bandwidth" in told.out, told
    made = load_devices(tmp_path / "devices.yaml")
    assert set(made.by_name) == {*load_devices(SHIPPED).by_name, "mine"}
    device = made.get("mine")
    assert device.engine_parameters.calibration.points == 16
    assert device.engine_parameters.calibration.source == points
    assert "fitted to 16 products" in device.description
    assert shell(*fit).refusal.startswith("hwnas: 'mine' is in")


@pytest.mark.parametrize(
    ("device", "content", "words"),
    [
        ("tpu-v1", HEADER, "'tpu-v1' runs systolic; only devices of the engine gpu-roofline can be fitted"),
        ("x86", HEADER, "'x86' runs onnxruntime; only"),
        ("a100", "M,K,N\n", "lacks the column batch, latency_ms; needed: batch,M,K,N,latency_ms"),
        ("a100", HEADER + "1,2,3,4,1\n", "1 measured products are too few to fit; give 10 or more"),
        ("a100", HEADER + "1,2,x,4,1\n", "gemms.csv, line 2: whole numbers batch,M,K,N and a latency are needed"),
        ("a100", HEADER + "1,2,0,4,1\n", "must be at least 1, not 1,2,0,4"),
        ("a100", HEADER + "1,2,3\n", "line 2: whole numbers"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(shell, tmp_path, device, content, words):
    (tmp_path / "gemms.csv").write_text(content)
    ran = shell("accelerator", "fit", device, "--devices", str(SHIPPED), "--points", "gemms.csv", "--name", "mine")
    assert words in ran.refusal
    assert not (tmp_path / "devices.yaml").exists()
