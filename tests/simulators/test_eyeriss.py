"""The engine eyeriss: the chip's published figures through nn-dataflow, in a toolchain installed for the test."""

import os
from dataclasses import replace

import pytest
from contracts.estimator import EstimatorContract
from simulators.eyeriss_checks import ALEXNET, conv, fully_connected, tensor
from simulators.onnx_graphs import feed_forward

from profiler.devices import SHIPPED, load_devices
from profiler.errors import SimulationError, ToolchainError, ToolRefusalError
from profiler.simulators.device import checked_parameters
from profiler.simulators.eyeriss import Parameters, open_engine
from profiler.simulators.graph import Node
from profiler.simulators.host import HostEngine
from profiler.simulators.registry import open_estimator
from profiler.toolchain import get_toolchain, install

DEVICE = load_devices(SHIPPED).get("eyeriss")
PARAMETERS = DEVICE.engine_parameters
RELATIVE = {"mac_pj": 1, "dram_pj": 200, "buffer_pj": 6, "array_pj": 2, "register_pj": 1, "idle_mw": 0}


@pytest.fixture(scope="module")
def toolchain(tmp_path_factory):
    """nn-dataflow in a folder of this test; it is fetched from pip's registry."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    try:
        yield install(get_toolchain("nn-dataflow"))
    finally:
        del os.environ["XDG_CACHE_HOME"]
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="module")
def chip(toolchain):
    return open_engine(PARAMETERS, DEVICE.configuration, None).engine


@pytest.mark.slow
@pytest.mark.parametrize("name", ALEXNET)
def test_alexnet_on_the_chip(chip, name):
    """JSSC 2017, Table V: batch 4 at 200 MHz. The ratio covers what the chip spends beside the schedule."""
    layer = ALEXNET[name]
    found = chip.primitive(layer.node(batch=4))
    assert 0.80 <= found.latency_ms / layer.chip_ms <= 1.00
    assert int(found.detail["active_pes"]) == layer.active_pes
    assert found.detail["macs"] == pytest.approx(layer.macs(batch=4), rel=1e-12)
    # no factor on the latency can hide: elements busy all the time do exactly the work
    busy = found.detail["cycles"] * found.detail["active_pes"]
    assert busy == pytest.approx(found.detail["macs"], rel=1e-9)
    assert found.latency_ms == pytest.approx(found.detail["cycles"] / 200e3, rel=1e-12)


@pytest.mark.slow
def test_alexnet_in_sum(chip):
    found = sum(chip.primitive(layer.node(batch=4)).latency_ms for layer in ALEXNET.values())
    assert found / sum(layer.chip_ms for layer in ALEXNET.values()) == pytest.approx(0.87, abs=0.02)


@pytest.mark.slow
def test_energies_of_isca_2016(toolchain):
    """Fig. 10, batch 16, in energies of one MAC: arithmetic and registers; AlexNet in its two halves.

    DRAM is left out: the figure's buffer holds every operand, while here one may pass it by, which saves DRAM.
    """
    published = {
        "CONV1": (1.69, 6.75), "CONV2": (3.58, 14.33), "CONV3": (2.39, 9.57), "CONV4": (1.79, 7.18),
        "CONV5": (1.20, 4.78),
    }  # fmt: skip
    wide = {"rows": 16, "columns": 16, "buffer_kib": 128, "register_words": 256, "dram_bytes_per_s": None}
    engine = open_engine(Parameters(**PARAMETERS.model_dump() | wide | RELATIVE), "c", None).engine
    for name, parts in published.items():
        inputs, outputs, *rest, groups = ALEXNET[name].shape
        half = engine.primitive(conv(16, inputs // groups, outputs // 2, *rest)).detail
        found = [2 * half[f"{part}_mj"] for part in ("mac", "register")]  # pJ of 1e9 MACs are mJ
        assert found == pytest.approx(parts, abs=0.1), name


@pytest.mark.slow
def test_a_transformer_layer_and_what_it_is_made_of(chip):
    """Energy is the sum of its parts; slow DRAM makes a single row of activations wait for its weights."""
    found = chip.primitive(fully_connected(128, 512, 512))
    assert found.detail["cycles"] >= 128 * 512 * 512 / 168
    parts = [value for name, value in found.detail.items() if name.endswith("_mj")]
    assert sum(parts) == pytest.approx(found.energy_mj, rel=1e-9)
    row = fully_connected(1, 768, 768)
    assert chip.primitive(row).detail["cycles"] == pytest.approx((768 * 768 + 2 * 768) / 1.8, rel=1e-3)
    unlimited = open_engine(PARAMETERS.model_copy(update={"dram_bytes_per_s": None}), "c", None).engine
    assert unlimited.primitive(row).detail["cycles"] == 3520
    assert unlimited.primitive(fully_connected(128, 512, 512)).detail["cycles"] == 218880


@pytest.mark.slow
def test_heads_and_groups_are_layers_each(chip):
    heads = Node("h", "MatMul", (tensor(4, 30, 64), tensor(4, 64, 30)), (tensor(4, 30, 30),), {})
    head = Node("h", "MatMul", (tensor(30, 64), tensor(64, 30)), (tensor(30, 30),), {})
    four, one = chip.primitive(heads), chip.primitive(head)
    assert four.latency_ms == pytest.approx(4 * one.latency_ms, rel=1e-12)
    assert four.energy_mj == pytest.approx(4 * one.energy_mj, rel=1e-12)
    assert four.detail["active_pes"] == one.detail["active_pes"]
    grouped, single = conv(1, 8, 8, 10, 3, groups=2), conv(1, 4, 4, 10, 3)
    assert chip.primitive(grouped).latency_ms == pytest.approx(2 * chip.primitive(single).latency_ms, rel=1e-12)


@pytest.mark.slow
class TestEyerissWithHost(EstimatorContract):
    @pytest.fixture
    def estimator(self, toolchain):
        return open_estimator(DEVICE)

    def test_the_device_that_ships_has_energy(self, estimator, tmp_path):
        estimate = estimator.estimate(feed_forward(tmp_path / "a.onnx"))
        assert estimate.energy_mj > 0
        assert estimate.provenance.fidelity == "uncalibrated"


@pytest.mark.slow
def test_a_layer_that_fits_nowhere_is_named(toolchain):
    small = open_engine(PARAMETERS.model_copy(update={"register_words": 1}), "c", None)
    with pytest.raises(SimulationError, match=r"eyeriss cannot map MatMul 'p': .*no schedule fits.*; give larger ones"):
        small.engine.primitive(fully_connected(8, 8, 8))


def test_other_operators_are_for_the_host():
    engine = open_engine(PARAMETERS, "c", None)
    softmax = Node("s", "Softmax", (tensor(3, 4),), (tensor(3, 4),), {})
    assert engine.engine.primitive(softmax) is None
    assert engine.engine.precisions == ("int16", "fp32")
    assert engine.provenance.version == "nn-dataflow-2.1"
    host = HostEngine(DEVICE.host, "c")
    fidelities = [open_engine(PARAMETERS, "c", of).provenance.fidelity for of in (None, host)]
    assert fidelities == ["exact-to-reference", "uncalibrated"]


class Failing:
    """In the tool's place."""

    def __init__(self, error):
        self.error = error

    def call(self, function, **arguments):
        raise self.error


def test_a_tool_that_dies_is_no_layer_that_fits_nowhere():
    engine = open_engine(PARAMETERS, "c", None).engine
    for error, told in ((ToolchainError("died"), ToolchainError), (ToolRefusalError("no schedule"), SimulationError)):
        engine._tool = Failing(error)
        with pytest.raises(told, match=str(error)):
            engine.primitive(fully_connected(8, 8, 8))


def test_what_it_has_no_layer_for_is_refused():
    engine = open_engine(PARAMETERS, "c", None).engine
    for node in (
        replace(conv(1, 8, 8, 10, 3), attributes={"dilations": (2, 2)}),
        Node("v", "Conv", (tensor(1, 2, 5, 5, 5), tensor(2, 2, 1, 1, 1)), (tensor(1, 2, 5, 5, 5),), {}),
    ):
        with pytest.raises(SimulationError, match="over one or two dimensions, undilated"):
            engine.primitive(node)


def test_without_the_toolchain_it_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ToolchainError, match="run: hwnas toolchain install nn-dataflow"):
        open_engine(PARAMETERS, "c", None).engine.primitive(fully_connected(8, 8, 8))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rows": 0}, "eyeriss.rows: Input should be greater than or equal to 1, not 0"),
        ({"dram_bytes_per_s": 100e6}, "0.25 words of 16 bits a cycle; at least one"),
        ({"volts": 1}, "unknown parameter 'volts'"),
    ],
)
def test_impossible_parameters(wrong, words):
    with pytest.raises(SimulationError, match=words):
        checked_parameters("eyeriss", dict(DEVICE.parameters) | wrong)
