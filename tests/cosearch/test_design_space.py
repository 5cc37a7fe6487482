"""Design spaces: read, refused in one line, and turned into devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.design_space import PREFIX, DesignSpace, load_designs
from hwnas.errors import AcceleratorError
from profiler import load_devices
from profiler.devices import SHIPPED
from profiler.errors import DeviceError, SimulationError
from profiler.simulators.registry import open_estimator

DEVICES = load_devices(SHIPPED)
GOOD = "device: edge-16x16\nparameters: {rows: [8, 16], dataflow: [ws, os], filter_kib: {from: 1, to: 8, times: 2}}\n"


def designs(tmp_path: Path, text: str = GOOD):
    path = tmp_path / "design.yaml"
    path.write_text(text)
    return load_designs(path, DEVICES)


def test_a_design_has_the_chosen_parameters_and_else_those_of_its_device(tmp_path):
    space = designs(tmp_path)
    assert space.size == 2 * 2 * 4
    assert [choice.name for choice in space.choices] == [PREFIX + name for name in ("rows", "dataflow", "filter_kib")]
    design = space.design((1, 1, 3))
    assert dict(design.chosen) == {"rows": 16, "dataflow": "os", "filter_kib": 8}
    base = DEVICES.get("edge-16x16")
    assert {**design.device.parameters} == {**base.parameters, "dataflow": "os", "filter_kib": 8}
    assert design.device.configuration != base.configuration
    assert design.name == f"edge-16x16-{design.device.configuration[:8]}"
    assert design.area_mm2 == design.device.engine_parameters.area_mm2 > 0


def test_the_devices_own_parameters_are_the_device_itself(tmp_path):
    space = designs(tmp_path, "device: edge-16x16\nparameters: {rows: [16]}\n")
    assert space.design((0,)).device.configuration == DEVICES.get("edge-16x16").configuration


def test_a_design_of_a_calibrated_device_is_not_calibrated_itself(tmp_path):
    gpu, measured = DEVICES.get("t4"), {"points": 10, "held_out_error": 0.1, "source": "here"}
    fitted = gpu.model_copy(update={"parameters": {**gpu.parameters, "calibration": measured}})
    space = DesignSpace(fitted, {"multiprocessors": (40, 80)})
    fidelities = [open_estimator(space.design((at,)).device).provenance.fidelity for at in (0, 1)]
    assert fidelities == ["calibrated", "uncalibrated"]


def test_ranges_hold_both_ends(tmp_path):
    ranges = "{rows: {from: 8, to: 20, step: 4}, clock_hz: {from: 1.0e+8, to: 1.0e+9, times: 10}}"
    space = designs(tmp_path, f"device: edge-16x16\nparameters: {ranges}\n")
    assert space.values == {"rows": (8, 12, 16, 20), "clock_hz": (100_000_000, 1_000_000_000)}
    assert all(isinstance(value, int) for value in space.values["rows"])


def test_an_impossible_design_and_one_too_large(tmp_path):
    small = designs(
        tmp_path, "device: edge-16x16\nparameters: {rows: [16, 256], filter_kib: [0.25, 64]}\narea_mm2: 1\n"
    )
    assert small.design((0, 1)).area_mm2 < 1
    with pytest.raises(SimulationError, match="the filter buffer holds"):
        small.design((0, 0))
    with pytest.raises(SimulationError, match="mm2 are more than 1"):
        small.design((1, 1))


def test_the_fingerprint_follows_what_a_search_follows_from(tmp_path):
    variants = [
        GOOD,
        GOOD.replace("[8, 16]", "[8, 32]"),
        GOOD.replace("edge-16x16", "tpu-v1"),
        GOOD + "area_mm2: 5\n",
        GOOD + "objectives: [loss, latency_ms]\n",
    ]
    found = [designs(tmp_path, text).fingerprint for text in variants]
    assert len(set(found)) == len(variants)
    assert found[0] == designs(tmp_path, GOOD + "# a remark\n").fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a mapping with device and parameters is expected"),
        ("[1]", "a mapping with device and parameters is expected"),
        ("device: [", "is not YAML"),
        ("parameters: {rows: [8]}", "device: Field required"),
        ("device: edge-16x16", "parameters: Field required"),
        ("device: edge-16x16\nparameters: {}", "parameters: .*at least 1"),
        ("device: edge-16x16\nparameters: {rows: []}", r"parameters\.rows: "),
        ("device: edge-16x16\nparameters: {rows: 8}", r"parameters\.rows: "),
        ("device: edge-16x16\nparameters: {rows: [8, 8]}", r"parameters\.rows: repeated values"),
        ("device: edge-16x16\nparameters: {side: [8]}", "unknown parameter 'side'; known: rows, cols"),
        ("device: edge-16x16\nparameters: {rows: {from: 8, to: 4, step: 1}}", "from 8 to 4 goes nowhere"),
        ("device: edge-16x16\nparameters: {rows: {from: 0, to: 4, times: 2}}", "from 0 to 4 goes nowhere"),
        ("device: edge-16x16\nparameters: {rows: {from: 1, to: 4}}", "by step or by times; give one"),
        ("device: edge-16x16\nparameters: {clock_hz: {from: 1, to: 1.0e+9, step: 1}}", "more than 1000"),
        ("device: edge-16x16\nparameters: {rows: [8]}\nsize: 1", "size: Extra inputs"),
        ("device: edge-16x16\nparameters: {rows: [8]}\narea_mm2: 0", "area_mm2: .*greater than 0"),
        ("device: edge-16x16\nparameters: {rows: [8]}\nobjectives: [loss]", "objectives: .*at least 2"),
        ("device: edge-16x16\nparameters: {rows: [8]}\nobjectives: [loss, time]", "objectives"),
        ("device: edge-16x16\nparameters: {rows: [8]}\nobjectives: [loss, loss]", "objectives: one is named twice"),
        ("device: a100\nparameters: {launch_us: [1, 2]}\narea_mm2: 3", "the engine gpu-roofline knows no area"),
        ("device: x86\nparameters: {threads: [1]}", "'x86' is local: only a simulated device has designs"),
    ],
)
def test_refusals_are_one_line_that_names_file_and_place(tmp_path, text, message):
    with pytest.raises(AcceleratorError, match=message) as error:
        designs(tmp_path, text)
    assert "\n" not in str(error.value)
    assert "design.yaml" in str(error.value)


def test_an_unknown_device_and_a_file_that_is_no_text(tmp_path):
    with pytest.raises(DeviceError, match="'nowhere' is not in"):
        designs(tmp_path, "device: nowhere\nparameters: {rows: [8]}")
    (tmp_path / "design.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AcceleratorError, match="not a text file"):
        load_designs(tmp_path / "design.yaml", DEVICES)
