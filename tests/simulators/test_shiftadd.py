"""The engine shiftadd: ShiftAddNAS's published records, and what the presets are for."""

import pytest
from simulators.shiftadd_checks import differing, records

from profiler.devices import SHIPPED, load_devices
from profiler.simulators import shiftadd_tiling
from profiler.simulators.energy import energy_table
from profiler.simulators.host import HostEngine, HostParameters
from profiler.simulators.shiftadd import Parameters, layer_cost, open_engine
from profiler.simulators.shiftadd_presets import unit_costs
from profiler.simulators.shiftadd_tiling import Layer

KNOWN = list({tuple(row.values())[2:]: row for row in records() if row["shape"] is not None}.values())


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: f"{row['file'].removesuffix('.csv')}-{row['idx']}")
def test_a_record_is_reproduced(row):
    assert differing(shiftadd_tiling, row) == []


def test_nearly_all_records_have_a_shape():
    rows = list(records())
    known = [row for row in rows if row["shape"] is not None]
    assert (len(known), len(rows)) == (241, 253)
    assert all(len(row["unknown"]) > 40 for row in rows if row["shape"] is None)


def test_a_consistent_addition_pays_for_its_traffic():
    """In the published preset an addition layer moves nothing to or from memory; alike, it moves what others do."""
    layers = {operator: Layer(operator, 30, 512, 2048) for operator in ("multiply", "add", "shift")}
    published = {operator: layer_cost(layer, "shiftaddnas2022", 32) for operator, layer in layers.items()}
    alike = {operator: layer_cost(layer, "consistent", 32) for operator, layer in layers.items()}
    assert published["add"].level_mj("dram") == 0 < published["multiply"].level_mj("dram")
    assert alike["add"].level_mj("dram") == alike["multiply"].level_mj("dram")
    assert alike["add"].latency_s == alike["shift"].latency_s == alike["multiply"].latency_s
    assert published["shift"].latency_s < published["multiply"].latency_s
    saved = [costs["multiply"].energy_mj / costs["add"].energy_mj for costs in (published, alike)]
    assert saved[0] > 2 * saved[1] > 2  # arithmetic alone saves less than the published figures say


def test_what_a_layer_is_made_of_changes_its_energy():
    layer = {operator: Layer(operator, 30, 512, 2048) for operator in ("multiply", "add", "shift")}
    costs = {operator: layer_cost(layer[operator], "consistent", 32).energy_mj for operator in layer}
    assert costs["shift"] < costs["add"] < costs["multiply"]


def test_eight_bits_are_cheaper_and_faster():
    wide, narrow = (layer_cost(Layer("multiply", 30, 512, 2048), "consistent", bits) for bits in (32, 8))
    assert narrow.energy_mj < wide.energy_mj
    assert narrow.latency_s < wide.latency_s


def test_an_estimate_says_what_it_is():
    assert open_engine(Parameters(), "c", None).provenance.fidelity == "uncalibrated"
    host = HostEngine(HostParameters(operations_per_s=1, transfer_bytes_per_s=1), "c")
    published = Parameters(preset="shiftaddnas2022")
    fidelities = [open_engine(published, "c", of).provenance.fidelity for of in (None, host)]
    assert fidelities == ["exact-to-reference", "uncalibrated"]
    with pytest.raises(ValueError, match="bits"):
        Parameters(bits=16)


def test_the_hosts_energies_are_the_tables_and_the_arrays():
    shipped, macs = load_devices(SHIPPED), energy_table("horowitz2014-45nm/1").mac_pj
    shift, eyeriss = shipped.get("shift-array"), shipped.get("eyeriss")
    assert shift.host.pj_per_operation == pytest.approx(macs["fp32"])
    assert eyeriss.host.pj_per_operation == pytest.approx(macs["fp16"])
    dram_pj = unit_costs("consistent", "multiply", 32).access_pj["dram", "input"]
    assert shift.host.pj_per_byte == pytest.approx(dram_pj / 4)
    assert eyeriss.host.pj_per_byte == pytest.approx(eyeriss.engine_parameters.dram_pj / 2)
