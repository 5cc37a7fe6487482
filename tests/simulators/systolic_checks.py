"""Known figures of the systolic engine's modules; a check takes the module, so that a mutated one can be given."""

import csv
import math
from itertools import product as grid
from pathlib import Path

import pytest

from profiler.errors import SimulationError
from profiler.simulators.graph import MatrixProduct, Node, Tensor
from profiler.simulators.systolic_array import Array, run

GOLDEN = Path(__file__).parents[1] / "golden" / "scalesim" / "gemm_cycles.csv"
SIZES = ("rows", "cols", "M", "K", "N")


def scalesim_rows():
    """The rows of the reference, numbers as integers."""
    lines = [line for line in GOLDEN.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for row in csv.DictReader(lines):
        yield {name: value if name == "dataflow" else int(float(value)) for name, value in row.items()}


def check_array(module):
    for row in scalesim_rows():
        rows, cols, m, k, n = (row[name] for name in SIZES)
        array = module.Array(row["dataflow"], rows, cols)
        ran = module.run(array, m, k, n, scalesim_surplus=True)
        assert ran.cycles == row["reported_total_cycles"] + 1, row
        counts = ran.ifmap_sram_reads, ran.filter_sram_reads, ran.ofmap_sram_writes
        assert counts == (row["ifmap_sram_reads"], row["filter_sram_reads"], row["ofmap_sram_writes"]), row
        plain = module.run(array, m, k, n)
        surplus = ran.folds * (rows + cols) if row["dataflow"] == "os" else 0
        assert ran.ofmap_sram_writes - plain.ofmap_sram_writes == surplus
        assert plain.utilisation == m * k * n / ((row["reported_total_cycles"] + 1) * rows * cols)
        assert plain.macs == m * k * n
    for dataflow in ("os", "ws", "is"):
        # 4 x 3 array, (8,10) x (10,12): a whole fold, then what each of the others adds
        folds = {"os": 2 * 4, "ws": 3 * 4, "is": 3 * 3}[dataflow]
        stream = {"os": 10, "ws": 8, "is": 12}[dataflow]
        first = {"os": 10 + 5, "ws": 4 + 8 + 5, "is": 4 + 12 + 5}[dataflow]
        found = module.run(module.Array(dataflow, 4, 3, overlapped_folds=True), 8, 10, 12)
        assert found.cycles == first + (folds - 1) * stream
    assert module.run(module.Array("os", 4, 3, overlapped_folds=True), 8, 2, 12).cycles == 7 + 7 * 4
    assert module.run(module.Array("ws", 1, 1), 1, 1, 1).cycles == 2
    for zero in ({"rows": 0, "cols": 1}, {"rows": 1, "cols": 0}):
        with pytest.raises(SimulationError, match="must be at least 1"):
            module.Array("ws", **zero)
    with pytest.raises(SimulationError, match="'rs' is unknown"):
        module.Array("rs", 1, 1)
    for sizes in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(SimulationError, match="each must be at least 1"):
            module.run(module.Array("ws", 1, 1), *sizes)


def check_memory(module):
    def found(dataflow, m, k, n, ifmap, weights, ofmap, accumulates, cols=4):
        array = Array(dataflow, 4, cols)
        moved = module.traffic(array, run(array, m, k, n), module.Buffers(ifmap, weights, ofmap, accumulates))
        partial = moved.partial_writes, moved.partial_reads
        return (moved.ifmap_reads, moved.filter_reads, moved.ofmap_writes, *partial)

    # (8,10) x (10,12) on 4 x 4: 80 and 120 operands, 96 results; os has 2 x 3 folds, strips of 40 words
    assert found("os", 8, 10, 12, 80, 120, 0, False) == (80, 120, 96, 0, 0)
    assert found("os", 8, 10, 12, 40, 40, 0, False) == (80, 240, 96, 0, 0)
    assert found("os", 8, 10, 12, 39, 40, 0, False) == (240, 120, 96, 0, 0)
    assert found("os", 8, 10, 12, 39, 39, 0, False) == (240, 240, 96, 0, 0)
    assert found("os", 2, 10, 12, 20, 0, 0, False) == (20, 120, 24, 0, 0)
    assert found("os", 8, 10, 3, 0, 30, 0, False) == (80, 30, 24, 0, 0)
    # ws: 3 x 3 folds over (k, n); 192 of the sums are not final
    assert found("ws", 8, 10, 12, 32, 0, 0, False) == (80, 120, 96, 192, 0)
    assert found("ws", 8, 10, 12, 31, 0, 0, False) == (240, 120, 96, 192, 0)
    assert found("ws", 8, 10, 12, 32, 0, 96, True) == (80, 120, 96, 0, 0)
    assert found("ws", 8, 10, 12, 80, 0, 95, True) == (80, 120, 96, 0, 0)
    assert found("ws", 8, 10, 12, 79, 0, 95, True) == (240, 120, 96, 0, 0)
    assert found("ws", 8, 10, 12, 79, 0, 31, True) == (80, 120, 96, 192, 192)
    assert found("ws", 8, 10, 40, 79, 0, 95, True) == (800, 400, 320, 0, 0)  # 80 + 2 x 640 words against 800
    assert found("ws", 8, 10, 12, 32, 0, 32, True) == (240, 120, 96, 0, 0)
    assert found("ws", 8, 10, 40, 79, 0, 0, True) == (80, 400, 320, 640, 640)
    assert found("ws", 3, 8, 52, 12, 0, 12, True) == (24 * 13, 416, 156, 0, 0)  # 24 + 2 x 156 against 312
    assert found("ws", 3, 8, 51, 12, 0, 12, True, cols=3) == (24, 408, 153, 153, 153)  # 24 + 2 x 153 against 408
    # is: the transposed product of ws
    assert found("is", 12, 10, 8, 0, 79, 95, True) == (120, 240, 96, 0, 0)
    assert found("is", 12, 10, 8, 0, 31, 0, False) == (120, 240, 96, 192, 0)

    assert module.with_transfers(100, 40, 4, double_buffered=True) == 110
    assert module.with_transfers(40, 100, 4, double_buffered=True) == 110
    assert module.with_transfers(100, 40, 1, double_buffered=True) == 140
    assert module.with_transfers(10, 5, 3, double_buffered=True) == 12
    assert module.with_transfers(100, 40, 4, double_buffered=False) == 140

    for dataflow, needs in {"os": (3, 5, 15), "ws": (3, 15, 5), "is": (15, 3, 5)}.items():
        array = Array(dataflow, 3, 5)
        module.Buffers(*needs, accumulates=False).require_tile(array)
        for short in range(3):
            words = [need - (position == short) for position, need in enumerate(needs)]
            with pytest.raises(SimulationError, match=f"less than a tile of {needs[short]} for {dataflow} on 3 x 5"):
                module.Buffers(*words, accumulates=False).require_tile(array)


def check_energy(module):
    horowitz, cacti = module.energy_table("horowitz2014-45nm/1"), module.energy_table("cacti7-45nm/1")
    # multiplier + adder in pJ (ISSCC 2014); int4 from int8: a quarter of the multiplier, the same 32-bit adder
    macs = {"fp32": 4.6, "fp16": 1.5, "int8": 0.3, "int4": 0.15}
    for table in (horowitz, cacti):
        assert table.mac_pj == pytest.approx(macs, rel=1e-12)
        assert table.mac_um2 == pytest.approx({"fp32": 11884, "fp16": 3000, "int8": 419, "int4": 207.5}, rel=1e-12)
        assert table.dram_pj_per_byte == 160
    for size, pj in {8: 1.25, 32: 2.5, 1024: 12.5}.items():
        assert horowitz.read_pj_per_byte(1024 * size) == pytest.approx(pj, rel=1e-12)
        assert horowitz.write_pj_per_byte(1024 * size) == pytest.approx(pj, rel=1e-12)
    # between two sizes the energy goes with a power of the size; so does it beyond the ends
    assert horowitz.read_pj_per_byte(16 * 1024) == pytest.approx(1.25 * math.sqrt(2), rel=1e-12)
    assert horowitz.read_pj_per_byte(2 * 1024) == pytest.approx(1.25 / 2, rel=1e-12)
    assert horowitz.read_pj_per_byte(1024 * 1024 * 32) == pytest.approx(12.5 * 5, rel=1e-12)
    published = {16: (0.0105, 0.0216, 0.057), 64: (0.0384, 0.0334, 0.212), 256: (0.0623, 0.0573, 0.977)}
    for size, (read, write, area) in (published | {1024: (0.1207, 0.1156, 3.89)}).items():  # nJ a 16-byte access, mm2
        assert cacti.read_pj_per_byte(1024 * size) == pytest.approx(1e3 * read / 16, rel=1e-12)
        assert cacti.write_pj_per_byte(1024 * size) == pytest.approx(1e3 * write / 16, rel=1e-12)
        assert module.area_mm2(0, "int8", [1024 * size]) == pytest.approx(area, rel=1e-12)
    for precision, um2 in {"fp32": 11884, "fp16": 3000, "int8": 419, "int4": 207.5}.items():
        assert module.area_mm2(2000, precision, []) == pytest.approx(um2 / 500, rel=1e-12)
    with pytest.raises(SimulationError, match="'mine' is unknown; known: horowitz"):
        module.energy_table("mine")


def tensor(*shape, constant=False, dtype="float32", name="t"):
    return Tensor(f"{name}{shape}{constant}", shape, dtype, constant)


def node(op, inputs, *outputs, **attributes):
    return Node(f"/{op}", op, tuple(inputs), outputs, attributes)


ONCE = """
    Abs Add And Cast Clip Div Equal Erf Exp Floor Greater Less Log Max Min Mul Neg Not Or Pow Reciprocal Relu Round
    Sigmoid Sqrt Sub Tanh Where Concat Expand Gather Pad Slice Split Tile Transpose
"""


def check_vector(module):
    x = tensor(2, 3, 4)
    for op in ONCE.split():
        assert module.operations_of(node(op, [x], x)) == 24, op
    for op, each in {"Gelu": 5, "Softmax": 5, "LayerNormalization": 7}.items():
        assert module.operations_of(node(op, [x], x)) == 24 * each
    assert module.operations_of(node("Split", [x], tensor(2, 3, 1), tensor(2, 3, 3))) == 24
    assert module.operations_of(node("Loop", [x], x)) is None
    matmul = node("MatMul", [tensor(5, 6), tensor(6, 7)], tensor(5, 7))
    assert module.operations_of(matmul) == 2 * 5 * 6 * 7
    gemm = node("Gemm", [tensor(5, 6), tensor(6, 7), tensor(7)], tensor(5, 7))
    assert module.operations_of(gemm) == 2 * 5 * 6 * 7 + 5 * 7
    rows = tensor(9, dtype="int64", name="rows")
    gather = node("Gather", [tensor(100, 8, constant=True), rows], tensor(9, 8))
    assert module.node_bytes(gather, 2.0) == 9 * 8 * 2 + 9 * 8 + 9 * 8 * 2
    axes = tensor(3, constant=True, dtype="int64", name="axes")
    assert module.node_bytes(node("Split", [x, axes], x), 0.5) == 24
    mask = tensor(2, 3, dtype="bool")
    assert module.node_bytes(node("Not", [mask], mask), 4.0) == 12


def check_host(module):
    given = module.HostParameters(operations_per_s=1e9, transfer_bytes_per_s=1e8, launch_us=5)
    add = node("Add", [tensor(10, 100), tensor(100, constant=True)], tensor(10, 100))
    moved = 4 * (1000 + 100 + 1000)
    found = module.HostEngine(given, "c").primitive(add)
    assert found.latency_ms == pytest.approx(1e3 * (5e-6 + moved / 1e8 + 1000 / 1e9), rel=1e-12)
    assert found.energy_mj is None
    assert found.detail == {"host": 1, "operations": 1000, "transfer_bytes": moved}
    energies = given.model_copy(update={"pj_per_operation": 2.0, "pj_per_byte": 3.0})
    assert module.HostEngine(energies, "c").primitive(add).energy_mj == pytest.approx((2000 + 3 * moved) * 1e-9)
    for half in ({"pj_per_operation": 2.0}, {"pj_per_byte": 3.0}):
        with pytest.raises(ValueError, match="both"):
            module.HostParameters(operations_per_s=1, transfer_bytes_per_s=1, **half)
    free = module.HostParameters(operations_per_s=0.5, transfer_bytes_per_s=0.5, bytes_per_value=0.5, launch_us=0)
    assert free.launch_us == module.HostParameters(operations_per_s=1, transfer_bytes_per_s=1).launch_us == 0
    zeros = {"pj_per_operation": 0, "pj_per_byte": 0}
    assert module.HostEngine(free.model_copy(update=zeros), "c").primitive(add).energy_mj == 0
    for name, least in {
        "operations_per_s": 0,
        "transfer_bytes_per_s": 0,
        "bytes_per_value": 0,
        "launch_us": -0.5,
    }.items():
        with pytest.raises(ValueError, match=name):
            module.HostParameters(**{"operations_per_s": 1, "transfer_bytes_per_s": 1, name: least})
    for name in zeros:
        module.HostParameters(operations_per_s=1, transfer_bytes_per_s=1, **zeros)
        with pytest.raises(ValueError, match=name):
            module.HostParameters(operations_per_s=1, transfer_bytes_per_s=1, **zeros | {name: -0.5})
    assert module.HostEngine(given, "c").primitive(node("Loop", [tensor(1)], tensor(1))) is None
    assert (module.HostEngine(given, "c").provenance.fidelity, given.bytes_per_value) == ("uncalibrated", 4)


PRODUCT = MatrixProduct(batch=2, m=8, k=10, n=12, weights=True, bias=True)
SMALL = {
    "rows": 4,
    "cols": 4,
    "dataflow": "ws",
    "clock_hz": 1e6,
    "dram_bytes_per_s": 2e6,
    "ifmap_kib": 8,
    "filter_kib": 32,
    "ofmap_kib": 1024,
    "accumulates": True,
}
PJ = {"ifmap": 1.25, "filter": 2.5, "ofmap": 12.5, "dram": 160, "mac": 0.3}


def check_systolic(module):
    given = module.Parameters(**SMALL)
    cost = module.product_cost(given, PRODUCT)
    # 3 x 3 folds of 18 cycles, twice; 80 + 120 operands, 12 biases and 96 results, twice, at 2 bytes a cycle
    assert (cost.compute_cycles, cost.dram_read_bytes, cost.dram_write_bytes) == (324, 424, 192)
    assert cost.cycles == math.ceil((324 + 308 + 17 * 324) / 18)
    assert cost.utilisation == pytest.approx(1920 / (16 * cost.cycles), rel=1e-12)
    assert (cost.ofmap_sram_reads, cost.ofmap_sram_writes) == (2 * 2 * 96, 2 * 3 * 96)
    assert (cost.ifmap_sram_reads, cost.filter_sram_reads) == (2 * 3 * 80, 2 * 120)
    assert (cost.dram_ifmap_reads, cost.dram_filter_reads, cost.dram_ofmap_writes) == (160, 240, 192)
    pj = (
        1920 * PJ["mac"]
        + 2 * PJ["ifmap"] * (3 * 80 + 80)
        + 2 * PJ["filter"] * (120 + 120)
        + 2 * PJ["ofmap"] * (4 * 3 * 96 + 4 * 2 * 96 + 96)
        + PJ["dram"] * 616
    )
    assert cost.energy_mj == pytest.approx(1e-9 * pj, rel=1e-12)
    serial = module.product_cost(module.Parameters(**SMALL | {"double_buffered": False}), PRODUCT)
    assert serial.cycles == 324 + 308
    free = module.product_cost(module.Parameters(**SMALL | {"dram_bytes_per_s": None}), PRODUCT)
    assert free.cycles == 324
    kept = module.product_cost(given, PRODUCT, on_chip=(True, False, True))
    assert (kept.dram_read_bytes, kept.dram_write_bytes) == (2 * (120 + 12), 0)
    assert kept.energy_mj == pytest.approx(
        cost.energy_mj - 1e-9 * 2 * (80 * PJ["ifmap"] + 96 * PJ["ofmap"] + (80 + 96) * PJ["dram"]), rel=1e-12
    )
    swapped = module.product_cost(given, PRODUCT, on_chip=(False, True, False))
    assert swapped.dram_read_bytes == 2 * (80 + 12)
    few = {"ofmap_kib": 60 / 1024, "ifmap_kib": 150 / 1024, "double_buffered": False, "energy": "cacti7-45nm/1"}
    cut = module.product_cost(module.Parameters(**SMALL | few), PRODUCT)  # 15 sums fit: 3, 3 and 2 rows at a time
    assert cut.compute_cycles == 2 * 9 * (13 + 13 + 12)
    assert (cut.dram_ifmap_reads, cut.dram_filter_reads, cut.dram_ofmap_reads) == (160, 3 * 240, 0)
    assert (cut.dram_read_bytes, cut.dram_write_bytes) == (160 + 3 * 264, 192)
    assert cut.cycles == cut.compute_cycles + (cut.dram_read_bytes + cut.dram_write_bytes) / 2
    assert cut.utilisation == pytest.approx(1920 / (16 * cut.cycles), rel=1e-12)
    assert (cut.ifmap_sram_reads, cut.filter_sram_reads) == (2 * 3 * 80, 3 * 240)
    assert (cut.ofmap_sram_reads, cut.ofmap_sram_writes) == (2 * 192, 2 * 288)
    transposed = module.product_cost(
        module.Parameters(**SMALL | few | {"dataflow": "is", "filter_kib": 150 / 1024, "ifmap_kib": 32}),
        MatrixProduct(2, 12, 10, 8, weights=True),
    )
    assert transposed.cycles == cut.cycles - 3 * 24 / 2  # which has a bias, loaded for each part
    # where transfers take no time, spilling is as good, and loads nothing again
    spilled = module.product_cost(module.Parameters(**SMALL | few | {"dram_bytes_per_s": None}), PRODUCT)
    assert spilled.cycles == 324
    assert (spilled.dram_ofmap_writes, spilled.dram_ofmap_reads) == (2 * (96 + 192), 2 * 192)
    assert (spilled.dram_read_bytes, spilled.dram_write_bytes) == (424 + 2 * 4 * 192, 192 + 2 * 4 * 192)
    table = module.energy_table("cacti7-45nm/1")
    ifmap, weights, ofmap = (
        (table.read_pj_per_byte(size), table.write_pj_per_byte(size)) for size in (150, 32 * 1024, 60)
    )
    pj = (
        1920 * 0.3
        + 2 * (3 * 80 * ifmap[0] + 80 * ifmap[1] + 120 * weights[0] + 120 * weights[1])
        + 2 * ((4 * 2 * 96 + 4 * 192 + 96) * ofmap[0] + (4 * 3 * 96 + 4 * 192) * ofmap[1])
        + 160 * (616 + 4 * 4 * 192)
    )
    assert spilled.energy_mj == pytest.approx(1e-9 * pj, rel=1e-12)
    raw = module.product_cost(module.Parameters(**SMALL | {"accumulates": False}), PRODUCT, scalesim=True)
    assert (raw.ofmap_sram_reads, raw.dram_ofmap_reads, raw.dram_write_bytes) == (0, 0, 192 + 2 * 4 * 192)
    # else what was spilled comes back, and costs what it does where sums find no room
    apart = module.Parameters(**SMALL | few | {"dram_bytes_per_s": None, "accumulates": False})
    assert module.product_cost(apart, PRODUCT) == spilled
    for dataflow in ("os", "ws", "is"):
        for precision, word in {"fp32": 4, "fp16": 2, "int8": 1, "int4": 0.5}.items():
            other = module.product_cost(
                module.Parameters(**SMALL | {"precision": precision, "dataflow": dataflow, "dram_bytes_per_s": 4e6}),
                PRODUCT,
            )
            assert other.dram_read_bytes == 424 * word
    assert module.product_cost(module.Parameters(**SMALL | {"dataflow": "os"}), PRODUCT).ofmap_sram_reads == 0
    _check_engine(module, given)
    _check_parameters(module)


def _check_engine(module, given):
    engine = module.SystolicEngine(given, "c")
    x, w, bias, y = tensor(8, 10), tensor(10, 12, constant=True), tensor(12, constant=True), tensor(8, 12)
    gemm = engine.primitive(node("Gemm", [x, w, bias], y))
    # one product: 9 folds of 18 cycles, 308 bytes
    assert gemm.detail["cycles"] == math.ceil((162 + 154 + 8 * 162) / 9)
    assert gemm.latency_ms == pytest.approx(gemm.detail["cycles"] / 1e3, rel=1e-12)
    keeping = module.SystolicEngine(given.model_copy(update={"keeps_activations": True}), "c")
    assert keeping.primitive(node("Gemm", [x, w, bias], y)).detail["dram_read_bytes"] == 132
    other_way = node("Gemm", [tensor(12, 10, constant=True), tensor(10, 8)], tensor(12, 8))
    assert keeping.primitive(other_way).detail["dram_read_bytes"] == 120
    both = node("MatMul", [x, tensor(10, 12)], y)
    assert keeping.primitive(both).detail["dram_read_bytes"] == 0
    wide = tensor(4097)  # half of 8 KiB holds 4096 words
    assert keeping.primitive(node("Relu", [wide], wide)).detail["dram_write_bytes"] == 4097
    fits = tensor(4096)
    assert keeping.primitive(node("Relu", [fits], fits)).detail["dram_read_bytes"] == 0

    add = node("Add", [tensor(30, 7), tensor(7, constant=True)], tensor(30, 7))
    lanes = module.SystolicEngine(given.model_copy(update={"vector_lanes": 4}), "c")
    found = lanes.primitive(add)
    assert (found.detail["compute_cycles"], found.detail["cycles"]) == (53, 214)  # 427 bytes at 2 a cycle
    pj = 210 * 0.3 + 1.25 * (217 + 217) + 12.5 * (210 + 210) + 160 * 427
    assert found.energy_mj == pytest.approx(1e-9 * pj, rel=1e-12)
    assert found.detail["dram_read_bytes"] + found.detail["dram_write_bytes"] == 427
    slow = module.SystolicEngine(given.model_copy(update={"double_buffered": False}), "c")
    assert slow.primitive(add).detail["cycles"] == 210 + 214
    split = given.model_copy(update={"energy": "cacti7-45nm/1", "ifmap_kib": 16, "ofmap_kib": 64})
    pj = 63 + (0.65625 * 217 + 1.35 * 217) + (2.4 * 210 + 2.0875 * 210) + 160 * 427
    assert module.SystolicEngine(split, "c").primitive(add).energy_mj == pytest.approx(1e-9 * pj, rel=1e-12)
    dark = module.SystolicEngine(given.model_copy(update={"energy": None}), "c")
    assert dark.primitive(add).energy_mj is None
    assert dark.primitive(node("Gemm", [x, w, bias], y)).energy_mj is None
    assert engine.primitive(node("Loop", [x], y)) is None
    assert set(module.SystolicEngine(given.model_copy(update={"takes": ("fp32",)})).precisions) == {"int8", "fp32"}


def _check_parameters(module):
    least = {"rows": 1, "cols": 1, "dataflow": "ws", "clock_hz": 0.5}
    found = module.Parameters(**least)
    assert (found.ifmap_kib, found.filter_kib, found.ofmap_kib, found.vector_lanes) == (1024, 1024, 1024, 1)
    assert found.energy == "horowitz2014-45nm/1"
    assert found.buffers.ifmap_words == found.buffers.filter_words == 512 * 1024
    assert (found.buffers.ofmap_words, found.buffers.accumulates) == (512 * 1024 / 4, False)
    bare = module.SystolicEngine(module.Parameters(**least, vector_lanes=0))
    assert bare.primitive(node("Relu", [tensor(1)], tensor(1))) is None
    whole = module.Parameters(**least, double_buffered=False, precision="int4").buffers
    assert (whole.ifmap_words, whole.ofmap_words) == (2 * 1024 * 1024, 1024 * 256)
    half = module.Parameters(**least, dram_bytes_per_s=0.5, ifmap_kib=0.5, filter_kib=0.5, ofmap_kib=0.5)
    assert half.dram_bytes_per_cycle == 1
    assert module.Parameters(**least | {"rows": 100, "cols": 20}).area_mm2 == pytest.approx(0.838 + 3 * 3.89)
    for wrong, message in (
        *(({name: 0}, name) for name in ("rows", "cols", "clock_hz", "dram_bytes_per_s")),
        *(({f"{name}_kib": 0}, f"{name}_kib") for name in ("ifmap", "filter", "ofmap")),
        ({"dram_bytes_per_s": 0.49}, "0.98 bytes a cycle, less than a word"),
        ({"vector_lanes": -1}, "vector_lanes"),
        ({"dataflow": "rs"}, "dataflow"),
        ({"precision": "int2"}, "precision"),
        ({"filter_kib": 15 / 1024, "rows": 4, "cols": 2}, "the filter buffer holds 7 words, less than a tile of 8"),
        ({"energy": "mine"}, "energy table 'mine' is unknown"),
        ({"rows": 2.5}, "rows"),
    ):
        with pytest.raises(ValueError, match=message):
            module.Parameters(**least | wrong)


def check_graph(module):
    """The matrix product that a node is."""

    def product(op, first, second, *more, out, **attributes):
        found = module.matrix_product(node(op, [first, second, *more], out, **attributes))
        return found.batch, found.m, found.k, found.n, found.weights, found.bias

    assert product("MatMul", tensor(5, 6), tensor(6, 7), out=tensor(5, 7)) == (1, 5, 6, 7, False, False)
    weights = tensor(6, 7, constant=True)
    assert product("MatMul", tensor(2, 3, 5, 6), weights, out=tensor(2, 3, 5, 7)) == (1, 30, 6, 7, True, False)
    assert product("MatMul", tensor(2, 3, 5, 6), tensor(2, 3, 6, 7), out=tensor(2, 3, 5, 7)) == (
        *(6, 5, 6, 7),
        *(False, False),
    )
    assert product("MatMul", tensor(5, 6), tensor(3, 6, 7), out=tensor(3, 5, 7)) == (3, 5, 6, 7, False, False)
    assert product("MatMul", tensor(6), tensor(6, 7), out=tensor(7)) == (1, 1, 6, 7, False, False)
    assert product("MatMul", tensor(5, 6), tensor(6), out=tensor(5)) == (1, 5, 6, 1, False, False)
    left = tensor(5, 6, constant=True)
    assert product("MatMul", left, tensor(6, 7), out=tensor(5, 7)) == (1, 7, 6, 5, True, False)
    for a, b in grid((0, 1), repeat=2):
        first, second = tensor(*((6, 5) if a else (5, 6))), tensor(*((7, 6) if b else (6, 7)), constant=True)
        bias = tensor(7, constant=True)
        assert product("Gemm", first, second, out=tensor(5, 7), transA=a, transB=b) == (1, 5, 6, 7, True, False)
        assert product("Gemm", first, second, bias, out=tensor(5, 7), transA=a, transB=b)[-1]
    assert product("Gemm", left, tensor(6, 7), out=tensor(5, 7)) == (1, 7, 6, 5, True, False)
    filters = tensor(8, 3, 3, 2, constant=True)
    assert product("Conv", tensor(2, 6, 9, 9), filters, out=tensor(2, 8, 7, 4), group=2) == (
        *(2, 2 * 7 * 4, 3 * 3 * 2, 4),
        *(True, False),
    )
    assert product("Conv", tensor(2, 3, 9, 9), filters, tensor(8), out=tensor(2, 8, 7, 4))[:4] == (1, 56, 18, 8)
    assert product("Conv", tensor(2, 3, 9, 9), filters, tensor(8), out=tensor(2, 8, 7, 4))[-1]
    assert module.matrix_product(node("Relu", [left], left)) is None
    assert module.MatrixProduct(2, 3, 4, 5, False).macs == 120


CHECKS = {
    "profiler.simulators.systolic_array": check_array,
    "profiler.simulators.systolic_memory": check_memory,
    "profiler.simulators.systolic": check_systolic,
    "profiler.simulators.energy": check_energy,
    "profiler.simulators.vector": check_vector,
    "profiler.simulators.host": check_host,
    "profiler.simulators.graph": check_graph,
}
