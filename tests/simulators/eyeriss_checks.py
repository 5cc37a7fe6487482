"""AlexNet's layers with the chip's figures, and known figures of eyeriss's own arithmetic (it has no tool at hand)."""

from dataclasses import dataclass

import pytest

from profiler.simulators.graph import Node, Tensor


def tensor(*shape, constant=False):
    return Tensor(f"t{shape}", shape, "float32", constant)


def fully_connected(m, k, n):
    return Node("p", "MatMul", (tensor(m, k), tensor(k, n, constant=True)), (tensor(m, n),), {})


def conv(batch, inputs, outputs, out, kernel, stride=1, groups=1):
    side = (out - 1) * stride + kernel
    data, weight = tensor(batch, inputs, side, side), tensor(outputs, inputs // groups, kernel, kernel, constant=True)
    attributes = {"strides": (stride, stride), "group": groups}
    return Node("c", "Conv", (data, weight), (tensor(batch, outputs, out, out),), attributes)


@dataclass(frozen=True)
class AlexNetLayer:
    """A convolution, and what the chip did with it: JSSC 2017, Table V (for CONV1 nn-dataflow's 151, not its 154)."""

    shape: tuple[int, ...]
    chip_ms: float
    active_pes: int

    def node(self, batch):
        return conv(batch, *self.shape)

    def macs(self, batch):
        inputs, outputs, out, kernel, _, groups = self.shape
        return batch * outputs * out**2 * inputs // groups * kernel**2


ALEXNET = {
    "CONV1": AlexNetLayer((3, 96, 55, 11, 4, 1), 16.5, 151),
    "CONV2": AlexNetLayer((96, 256, 27, 5, 1, 2), 39.2, 135),
    "CONV3": AlexNetLayer((256, 384, 13, 3, 1, 1), 21.8, 156),
    "CONV4": AlexNetLayer((384, 384, 13, 3, 1, 2), 16.0, 156),
    "CONV5": AlexNetLayer((384, 256, 13, 3, 1, 2), 10.0, 156),
}

CHIP = {
    "rows": 12, "columns": 14, "buffer_kib": 108, "register_words": 261, "clock_hz": 200e6, "dram_bytes_per_s": 720e6,
    "mac_pj": 2, "dram_pj": 460, "buffer_pj": 15, "array_pj": 4, "register_pj": 1, "idle_mw": 30,
}  # fmt: skip


class Tool:
    """Stands for nn-dataflow: answers a layer with numbers that are easy to follow."""

    def __init__(self):
        self.asked = []

    def call(self, function, **arguments):
        self.asked.append((function, arguments))
        parts = {"mac": 1.0, "dram": 2.0, "buffer": 4.0, "array": 8.0, "register": 16.0, "idle": 32.0}
        energies = {f"{name}_energy": 1e6 * value for name, value in parts.items()}
        return {"cycles": 1000.0, "macs": 5000.0, "active_pes": 5.0, "energy": 63e6, **energies}


def check_engine(module):
    chip = module.Parameters(**CHIP)
    assert chip.dram_words_per_cycle == pytest.approx(1.8, rel=1e-12)
    assert chip.hardware == {
        "rows": 12, "columns": 14, "buffer_words": 55296, "register_words": 261,
        "dram_words_per_cycle": pytest.approx(1.8),
    }  # fmt: skip
    costs = {"mac": 2, "dram": 460, "buffer": 15, "array": 4, "register": 1, "idle": 150}
    assert chip.costs == pytest.approx(costs, rel=1e-12)
    assert module.Parameters(**CHIP | {"word_bits": 8}).dram_words_per_cycle == pytest.approx(3.6, rel=1e-12)
    assert module.Parameters(**CHIP | {"word_bits": 8}).hardware["buffer_words"] == 110592
    assert module.Parameters(**CHIP | {"dram_bytes_per_s": None}).dram_words_per_cycle is None
    assert module.Parameters(**CHIP | {"dram_bytes_per_s": 400e6}).dram_words_per_cycle == 1
    assert module.Parameters(**{key: value for key, value in CHIP.items() if key != "idle_mw"}).costs["idle"] == 0

    engine = module.open_engine(chip, "c", None).engine
    engine._tool = tool = Tool()
    found = engine.primitive(conv(4, 96, 256, 27, 5, 1, groups=2))
    assert found.latency_ms == pytest.approx(2 * 1000 / 200e3, rel=1e-12)
    assert found.energy_mj == pytest.approx(2 * 0.063, rel=1e-12)
    assert found.detail == pytest.approx(
        {
            "cycles": 2000, "macs": 10000, "active_pes": 5, "mac_mj": 0.002, "dram_mj": 0.004, "buffer_mj": 0.008,
            "array_mj": 0.016, "register_mj": 0.032, "idle_mj": 0.064,
        },
        rel=1e-12,
    )  # fmt: skip
    function, arguments = tool.asked[0]
    assert function == "schedule"
    assert arguments["layer"] == {
        "kind": "conv", "inputs": 48, "outputs": 128, "batch": 4, "height": 27, "width": 27, "kernel_height": 5,
        "kernel_width": 5, "stride_height": 1, "stride_width": 1,
    }  # fmt: skip
    assert (arguments["hardware"], arguments["costs"]) == (chip.hardware, chip.costs)
    engine.primitive(conv(4, 96, 256, 27, 5, 1, groups=2))
    assert len(tool.asked) == 1  # known by now
    line = (tensor(2, 6, 31), tensor(8, 3, 5)), (tensor(2, 8, 14),)
    engine.primitive(Node("l", "Conv", *line, {"strides": (2,)}))
    assert tool.asked[-1][1]["layer"] == {
        "kind": "conv", "inputs": 3, "outputs": 4, "batch": 2, "height": 14, "width": 1, "kernel_height": 5,
        "kernel_width": 1, "stride_height": 2, "stride_width": 2,
    }  # fmt: skip
    engine.primitive(Node("l", "Conv", *line, {}))
    assert tool.asked[-1][1]["layer"]["stride_height"] == 1
    engine.primitive(fully_connected(30, 512, 2048))
    assert tool.asked[-1][1]["layer"] == {"kind": "fc", "inputs": 512, "outputs": 2048, "batch": 30}


def check_parameters(module):
    assert module.Parameters(**CHIP).word_bits == 16
    bound = {"rows": 1, "columns": 1, "register_words": 1, "word_bits": 1, "mac_pj": 0, "dram_pj": 0, "buffer_pj": 0}
    module.Parameters(**CHIP | bound | {"array_pj": 0, "register_pj": 0, "idle_mw": 0, "buffer_kib": 0.004})
    module.Parameters(**CHIP | {"word_bits": 64, "clock_hz": 0.004, "dram_bytes_per_s": 0.5})
    for wrong in (
        {"rows": 0}, {"columns": 0}, {"register_words": 0}, {"word_bits": 0}, {"buffer_kib": 0.0},
        {"word_bits": 65, "dram_bytes_per_s": None}, {"clock_hz": 0.0},
        {"mac_pj": -0.001}, {"dram_pj": -0.001}, {"buffer_pj": -0.001}, {"array_pj": -0.001},
        {"register_pj": -0.001}, {"idle_mw": -0.001}, {"dram_bytes_per_s": 399e6}, {"dram_bytes_per_s": 0.0},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            module.Parameters(**CHIP | wrong)


def check_eyeriss(module):
    check_engine(module)
    check_parameters(module)


CHECKS = {"profiler.simulators.eyeriss": check_eyeriss}
