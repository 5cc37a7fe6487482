"""Known figures of the engine shiftadd's modules; a check takes the module, so that a mutated one can be given."""

import csv
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.errors import SimulationError
from profiler.simulators.graph import Node, Tensor
from profiler.simulators.shiftadd_presets import array_limits, unit_costs

GOLDEN = Path(__file__).parents[1] / "golden" / "shiftaddnas" / "records.csv"
SHAPE = ("batch", "inputs", "outputs", "height", "width", "out_height", "out_width", "kernel", "stride")
ENERGIES = ("dram", "buffer", "noc", "register", "input", "weight", "output")

QUICK = (
    ("conv", "7"), ("linear", "1"), ("conv", "62"), ("conv", "58"), ("shift", "3"), ("add", "4"), ("matmul", "3"),
    ("conv", "4"), ("conv", "1"), ("conv", "17"),
)  # fmt: skip
"""Records that are found fast and that need every constant."""


def records():
    """The rows of the published records, numbers as numbers; no shape where it is not known."""
    with GOLDEN.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            shape = None if row["unknown"] else tuple(int(row[name]) for name in SHAPE)
            yield row | {"shape": shape} | {name: float(row[name]) for name in row if name.endswith(("_mj", "_s"))}


def layer_of(module, row):
    *sizes, kernel, stride = row["shape"]
    return module.Layer(row["operator"], *sizes, kernel, kernel, stride)


def differing(module, row):
    """The figures in which the model differs from a record by more than 1e-9 of it."""
    layer = layer_of(module, row)
    found = module.best_tiling(
        layer, array_limits("shiftaddnas2022", 32), unit_costs("shiftaddnas2022", layer.operator, 32)
    )
    figures = {
        "energy_mj": found.energy_mj,
        "latency_s": found.latency_s,
        "compute_mj": found.compute_mj,
        **{f"{level}_mj": found.level_mj(level) for level in ENERGIES[:4]},
        **{f"{operand}_mj": found.operand_mj(operand) for operand in ENERGIES[4:]},
    }
    return [name for name, value in figures.items() if abs(value - row[name]) > 1e-9 * abs(row[name])]


def naive(layer, limits, costs):
    """Energy in pJ and steps of the best tiling, loop by loop, written from the paper's loop nest."""
    found = []
    n, c, m, e = layer.batch, layer.inputs, layer.outputs, layer.out_height
    splits = [
        [parts for parts in itertools.product(*(range(1, size + 1) for _ in range(count))) if prod(parts) == size]
        for size, count in ((n, 2), (m, 4), (c, 3), (e, 2))
    ]
    for (n0, n3), (m0, m1, m2, m3), (c0, c1, c2), (e1, e3) in itertools.product(*splits):
        r, s, f = layer.kernel_height, layer.kernel_width, layer.out_width
        rows_held, columns_held = (e1 - 1) * layer.stride + r, (f - 1) * layer.stride + s
        if (
            m1 * c1 * e1 * r > limits.pes
            or c0 * s > limits.input_register
            or m0 * c0 * s > limits.weight_register
            or m0 > limits.output_register
            or n0 * c1 * c0 * rows_held * columns_held + n0 * m2 * m1 * m0 * e1 * f > limits.buffer
            or (limits.spread_rows and e1 == 1 and (layer.height, layer.width, e, f) != (1, 1, 1, 1))
        ):
            continue
        ifmap, weights, ofmap = n * layer.height * layer.width * c, r * s * c * m, n * e * f * m
        accesses = {
            ("dram", "input"): ifmap * m3,
            ("dram", "weight"): weights * n3 * e3,
            ("dram", "output"): ofmap,
            ("buffer", "input"): ifmap * m3 * m2,
            ("buffer", "output"): ofmap * max(1, 2 * (c2 - 1)),
            ("noc", "input"): ifmap * m3 * m2 * m1 * r * e / layer.height,
            ("noc", "weight"): weights * n3 * e3 * e1,
            ("noc", "output"): ofmap * max(1, c2 * (c1 * r - 1)),
            ("register", "input"): ifmap * m3 * m2 * m1 * r * e / layer.height * m0 * s * f / layer.width,
            ("register", "weight"): weights * n3 * e3 * e1 * f * n0,
            ("register", "output"): ofmap * max(1, c2 * c1 * r * (c0 * s - 1) * 2),
        }
        energy = layer.operations * costs.compute_pj + sum(
            accesses[key] * costs.access_pj[key] for key in accesses if key in costs.access_pj
        )
        steps = n3 * n0 * m3 * m2 * m0 * c2 * c0 * e3 * f * s
        found.append((energy, steps))
    energies, latencies = zip(*found, strict=True)

    def normalised(pair):
        return (pair[0] - min(energies)) / max(energies) + (pair[1] - min(latencies)) / max(latencies)

    return min(found, key=normalised), normalised


def prod(numbers):
    result = 1
    for number in numbers:
        result *= number
    return result


def check_tiling(module):
    wanted = {key: row for row in records() for key in [(row["file"].split("_")[-1][:-4], row["idx"])] if key in QUICK}
    for key in QUICK:
        assert not differing(module, wanted[key]), key
    assert module.Layer("multiply", 2, 3, 5) == module.Layer("multiply", 2, 3, 5, 1, 1, 1, 1, 1, 1, 1)
    # one access at a time counts, so that none can hide behind another
    small = module.ArrayLimits(12, 4, 12, 3, 200, spread_rows=False)
    spread = module.ArrayLimits(12, 4, 12, 3, 200, spread_rows=True)
    keys = [(level, operand) for level in module.LEVELS for operand in ("input", "weight", "output")]
    keys.remove(("buffer", "weight"))
    cases = [
        (module.Layer("multiply", 4, 6, 6), small),
        (module.Layer("multiply", 2, 2, 4, 6, 5, 4, 3, 3, 3, 1), small),
        (module.Layer("multiply", 1, 3, 4, 9, 7, 4, 3, 2, 3, 2), spread),
        (module.Layer("multiply", 2, 4, 3, 1, 6, 1, 4, 1, 3, 1), small),
    ]
    for layer, limits in cases:
        for key in keys:
            costs = module.UnitCosts(0.25, 2.0, {other: float(other == key) for other in keys})
            found = module.best_tiling(layer, limits, costs)
            best, normalised = naive(layer, limits, costs)
            chosen = found.energy_mj * 1e9, found.latency_s / 2
            assert normalised(chosen) == pytest.approx(normalised(best), rel=1e-9, abs=1e-12), (layer, key)
            assert found.compute_mj == pytest.approx(layer.operations * 0.25e-9, rel=1e-12)
    for changed in ("pes", "input_register", "weight_register", "output_register", "buffer"):
        most = {name: 0 if name == changed else 10**6 for name in module.ArrayLimits.__slots__[:-1]}
        with pytest.raises(SimulationError, match="no tiling of Layer"):
            module.best_tiling(cases[0][0], module.ArrayLimits(**most, spread_rows=False), costs)
    # two rows of outputs at stride 2 need (1 * 2 + 2) rows of (2 * 2 + 3) inputs, and hold 2 * 3 outputs
    fitting = module.ArrayLimits(12, 4, 12, 3, 4 * 7 + 2 * 3, spread_rows=True)
    module.best_tiling(cases[2][0], fitting, costs)
    with pytest.raises(SimulationError, match="no tiling of Layer"):
        module.best_tiling(cases[2][0], replace(fitting, buffer=4 * 7 + 2 * 3 - 1), costs)
    with pytest.raises(SimulationError, match="no tiling of Layer"):  # one row cannot be spread
        module.best_tiling(cases[3][0], spread, costs)


def check_presets(module):
    """Every figure written out: from ShiftAddNAS's code, from Eyeriss's Table IV and from Horowitz's table."""
    operands = ("input", "weight", "output")
    compute = {32: {"multiply": 3.7, "add": 0.9, "shift": 0.13}, 8: {"multiply": 0.2, "add": 0.03, "shift": 0.024}}
    for bits, words in ((32, 1), (8, 2)):
        limits = module.array_limits("shiftaddnas2022", bits)
        assert limits.pes == {32: 167, 8: 671}[bits]
        assert (limits.input_register, limits.weight_register) == (12 * words - 1, 960 * words - 1)
        assert (limits.output_register, limits.buffer, limits.spread_rows) == (16 * words, 65536 * words - 1, True)
        limits = module.array_limits("consistent", bits)
        assert limits.pes == {32: 168, 8: 672}[bits]
        more = 32 // bits
        assert (limits.input_register, limits.weight_register) == (12 * more, 960 * more)
        assert (limits.output_register, limits.buffer, limits.spread_rows) == (16 * more, 65536 * more, False)
        for operator in ("multiply", "add", "shift"):
            costs = module.unit_costs("shiftaddnas2022", operator, bits)
            width = 10 if operator == "shift" else bits
            assert costs.compute_pj == compute[bits][operator]
            assert costs.step_s == pytest.approx(4e-9 * (10 / 32 if operator == "shift" else 1), rel=1e-12)
            level = {"dram": 200.0, "buffer": 22.2, "noc": 7.4} if operator != "add" else dict.fromkeys(LEVELS[:3], 0.0)
            pj = {(name, operand): each for name, each in level.items() for operand in operands}
            pj |= {("noc", "output"): 3.7, **{("register", operand): 3.7 for operand in operands}}
            pj |= {("register", "weight"): 7.4}
            del pj["buffer", "weight"]
            assert dict(costs.access_pj) == pytest.approx({key: each * width / 16 for key, each in pj.items()})

            costs = module.unit_costs("consistent", operator, bits)
            assert (costs.compute_pj, costs.step_s) == (compute[bits][operator], 4e-9)
            pj = {
                (name, operand): each * 3.7 * (5 if (operator, operand) == ("shift", "weight") else bits) / 16
                for name, each in (("dram", 200), ("buffer", 6), ("noc", 2), ("register", 1))
                for operand in operands
            }
            del pj["buffer", "weight"]
            assert dict(costs.access_pj) == pytest.approx(pj)


def tensor(*shape, constant=False):
    return Tensor(f"t{shape}", shape, "float32", constant)


def convolution(data, weight, output, **attributes):
    return Node("conv", "Conv", (tensor(*data), tensor(*weight, constant=True)), (tensor(*output),), attributes)


def cost(module, parameters, node):
    return module.open_engine(parameters, "c", None).engine.primitive(node)


def check_published(module):
    fully_connected = Node("fc", "MatMul", (tensor(1, 2048), tensor(2048, 1000, constant=True)), (tensor(1, 1000),), {})
    published = module.Parameters(preset="shiftaddnas2022")
    found = cost(module, published, fully_connected)
    assert found.energy_mj == pytest.approx(0.928905864, rel=1e-9)
    assert found.latency_ms == pytest.approx(0.0512, rel=1e-9)
    assert found.detail["operations"] == 2048000
    assert found.detail["compute_mj"] == pytest.approx(0.0075776, rel=1e-9)
    assert found.detail["dram_mj"] == pytest.approx(0.8204192, rel=1e-9)
    parts = [value for name, value in found.detail.items() if name.endswith("_mj")]
    assert sum(parts) == pytest.approx(found.energy_mj, rel=1e-9)

    seven = convolution((1, 3, 224, 224), (64, 3, 7, 7), (1, 64, 112, 112), strides=(2, 2), dilations=(1, 1))
    assert cost(module, published, seven).energy_mj == pytest.approx(5.2231811072, rel=1e-9)
    assert cost(module, published, seven).latency_ms == pytest.approx(3.211264, rel=1e-9)
    three = convolution((1, 64, 56, 56), (64, 64, 3, 3), (1, 64, 56, 56))
    assert cost(module, published, three).energy_mj == pytest.approx(5.0017042432, rel=1e-9)
    adding = module.Parameters(preset="shiftaddnas2022", operator="add")
    assert cost(module, adding, three).energy_mj == pytest.approx(4.001234944, rel=1e-9)
    shifting = module.Parameters(preset="shiftaddnas2022", operator="shift")
    one = convolution((1, 512, 14, 14), (1024, 512, 1, 1), (1, 1024, 14, 14))
    assert cost(module, shifting, one).energy_mj == pytest.approx(1.45617306624, rel=1e-9)
    squeezed = convolution((1, 256, 1, 1), (16, 256, 1, 1), (1, 16, 1, 1))  # a fully connected layer
    assert cost(module, published, squeezed).energy_mj == pytest.approx(0.0019606752, rel=1e-9)
    groups = convolution((1, 128, 56, 56), (128, 64, 3, 3), (1, 128, 56, 56), group=2)
    assert cost(module, published, groups).energy_mj == pytest.approx(2 * 5.0017042432, rel=1e-9)
    assert cost(module, published, groups).latency_ms == pytest.approx(2 * 4.816896, rel=1e-9)
    assert cost(module, published, groups).detail["operations"] == 2 * 115605504


def check_consistent(module):
    consistent = module.Parameters()
    row = convolution((1, 8, 30), (8, 8, 3), (1, 8, 30))  # the one dimension lies along the rows
    plane = convolution((1, 8, 30, 1), (8, 8, 3, 1), (1, 8, 30, 1))
    across = convolution((1, 8, 1, 30), (8, 8, 1, 3), (1, 8, 1, 30))
    assert (
        cost(module, consistent, row).energy_mj
        == cost(module, consistent, plane).energy_mj
        != cost(module, consistent, across).energy_mj
    )
    stepped = convolution((1, 8, 30), (8, 8, 3), (1, 8, 30), strides=(1,))
    assert cost(module, consistent, stepped) == cost(module, consistent, row)
    assert module._convolution(row, "multiply").stride == 1
    single = convolution((1, 8, 1, 1), (8, 8, 3, 3), (1, 8, 1, 1))  # a kernel on one value is still a convolution
    assert cost(module, consistent, single).detail["operations"] == 576

    # the heads of a product of activations: one layer in the records, a layer each otherwise
    heads = Node("scores", "MatMul", (tensor(1, 4, 196, 64), tensor(1, 4, 64, 196)), (tensor(1, 4, 196, 196),), {})
    assert cost(module, module.Parameters(preset="shiftaddnas2022", operator="add"), heads).energy_mj == pytest.approx(
        0.4626515712, rel=1e-9
    )  # multiplied, whatever weights do
    head = Node("score", "MatMul", (tensor(196, 64), tensor(64, 196)), (tensor(196, 196),), {})
    assert cost(module, consistent, heads).energy_mj == pytest.approx(
        4 * cost(module, consistent, head).energy_mj, rel=1e-12
    )
    assert cost(module, consistent, heads).latency_ms == pytest.approx(
        4 * cost(module, consistent, head).latency_ms, rel=1e-12
    )


def check_identity(module):
    published = module.Parameters(preset="shiftaddnas2022")
    head = Node("score", "MatMul", (tensor(196, 64), tensor(64, 196)), (tensor(196, 196),), {})
    engine = module.open_engine(published, "c", None)
    assert (engine.provenance.engine, engine.provenance.version) == ("shiftadd", "1")
    fidelity = {
        (preset, bits): module.open_engine(module.Parameters(preset=preset, bits=bits), "c", None).provenance.fidelity
        for preset in ("shiftaddnas2022", "consistent")
        for bits in (32, 8)
    }
    assert {key for key, value in fidelity.items() if value == "exact-to-reference"} == {("shiftaddnas2022", 32)}
    assert engine.engine.precisions == ("fp32",)
    eight = module.Parameters(bits=8, takes=("fp32",))
    assert module.open_engine(eight, "c", None).engine.precisions == ("int8", "fp32")
    assert cost(module, eight, head).energy_mj < cost(module, module.Parameters(), head).energy_mj
    assert cost(module, module.Parameters(), Node("s", "Softmax", (tensor(3, 4),), (tensor(3, 4),), {})) is None
    for refused, words in (
        (convolution((1, 8, 9, 9), (8, 8, 3, 3), (1, 8, 9, 5), strides=(1, 2)), "strides that differ"),
        (convolution((1, 8, 9, 9), (8, 8, 3, 3), (1, 8, 9, 9), dilations=(2, 2)), "dilations"),
        (convolution((1, 8, 9, 9, 9), (8, 8, 3, 3, 3), (1, 8, 9, 9, 9)), "over 3 dimensions"),
        (convolution((1, 8, 1, 30), (8, 8, 1, 3), (1, 8, 1, 30)), "Conv 'conv': no tiling"),
    ):
        with pytest.raises(SimulationError, match=words):
            cost(module, published, refused)


def check_engine(module):
    check_published(module)
    check_consistent(module)
    check_identity(module)


LEVELS = ("dram", "buffer", "noc", "register")
CHECKS = {
    "profiler.simulators.shiftadd_tiling": check_tiling,
    "profiler.simulators.shiftadd_presets": check_presets,
    "profiler.simulators.shiftadd": check_engine,
}
