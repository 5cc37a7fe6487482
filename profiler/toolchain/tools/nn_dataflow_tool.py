"""Runs in the toolchain nn-dataflow: schedules one layer on a row-stationary array.

nn-dataflow (Gao et al., ASPLOS 2017 and 2019; BSD-3) searches the loop blocking that costs least
energy for the row-stationary mapping of Eyeriss (Chen et al., ISCA 2016).
"""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

import sympy

# nn-dataflow asks fastcache, a C extension, for one decorator that functools has since Python 3.2. Set after
# sympy was imported, which would take it for the real one.
_stand_in = types.ModuleType("fastcache")
vars(_stand_in)["clru_cache"] = functools.lru_cache
sys.modules["fastcache"] = _stand_in

from nn_dataflow import version  # noqa: E402
from nn_dataflow.core import (  # noqa: E402
    ConvLayer,
    Cost,
    FCLayer,
    InputLayer,
    MapStrategyEyeriss,
    Network,
    NNDataflow,
    NodeRegion,
    Option,
    PhyDim2,
    Resource,
)
from nn_dataflow.core import MemHierEnum as Level  # noqa: E402


def check() -> dict[str, object]:
    """Versions; proves that a small layer can be scheduled."""
    layer = {"kind": "fc", "inputs": 8, "outputs": 8, "batch": 2}
    hardware = {"rows": 2, "columns": 2, "buffer_words": 4096, "register_words": 64, "dram_words_per_cycle": 1.0}
    costs = {"mac": 1.0, "dram": 200.0, "buffer": 6.0, "array": 2.0, "register": 1.0, "idle": 0.0}
    schedule(layer, hardware, costs)
    return {"nn-dataflow": version.get_version(), "sympy": sympy.__version__}


def schedule(layer: dict[str, Any], hardware: dict[str, Any], costs: dict[str, Any]) -> dict[str, float]:
    """The cheapest schedule of one layer.

    ``layer``: kind ``fc`` (inputs, outputs, batch) or ``conv`` (inputs, outputs, batch, height and
    width of the output, kernel_height, kernel_width, stride_height, stride_width).
    ``hardware``: rows, columns of processing elements, buffer_words, register_words of one element,
    dram_words_per_cycle (null: unlimited). ``costs``, in one unit: mac, and one word at dram,
    buffer, array, register; idle, of one cycle.
    Returns cycles, macs, active_pes, energy (in the costs' unit) and its parts, accesses by level.
    """
    network = Network("layer")
    if layer["kind"] == "fc":
        shape = FCLayer(layer["inputs"], layer["outputs"])
    else:
        shape = ConvLayer(
            layer["inputs"],
            layer["outputs"],
            (layer["height"], layer["width"]),
            (layer["kernel_height"], layer["kernel_width"]),
            (layer["stride_height"], layer["stride_width"]),
        )
    network.set_input_layer(InputLayer(shape.nifm, (shape.hifm, shape.wifm)))
    network.add("layer", shape)
    search = NNDataflow(network, layer["batch"], _resource(hardware), _cost(costs), MapStrategyEyeriss)
    try:
        tops, _ = search.schedule_search(Option(sw_gbuf_bypass=(True, True, True), sw_solve_loopblocking=True))
    except UnboundLocalError:  # its solver, where not even one value fits the registers
        tops = []
    if not tops:
        raise ValueError("no schedule fits the registers and the buffer; give larger ones")
    found = tops[0]["layer"]
    accesses = found.total_accesses
    parts = {
        "mac": found.total_ops * costs["mac"],
        **{name: accesses[level] * costs[name] for name, level in _LEVELS.items()},
        "idle": found.total_time * costs["idle"],
    }
    return {
        "cycles": found.total_time,
        "compute_cycles": found.total_proc_time,
        "macs": found.total_ops,
        "active_pes": found.total_ops / found.total_proc_time,
        "energy": found.total_cost,
        **{f"{name}_energy": value for name, value in parts.items()},
        **{f"{name}_words": accesses[level] for name, level in _LEVELS.items()},
    }


_LEVELS = {"dram": Level.DRAM, "buffer": Level.GBUF, "array": Level.ITCN, "register": Level.REGF}


def _cost(costs: dict[str, Any]) -> Cost:
    levels = [0.0] * Level.NUM
    for name, level in _LEVELS.items():
        levels[level] = costs[name]
    return Cost(mac_op=costs["mac"], mem_hier=tuple(levels), noc_hop=0, idl_unit=costs["idle"])


def _resource(hardware: dict[str, Any]) -> Resource:
    one, origin = PhyDim2(1, 1), PhyDim2(0, 0)
    memory = NodeRegion(origin=origin, dim=one, type=NodeRegion.DRAM)
    bandwidth = hardware["dram_words_per_cycle"]
    return Resource(
        proc_region=NodeRegion(origin=origin, dim=one, type=NodeRegion.PROC),
        dram_region=memory,
        src_data_region=memory,
        dst_data_region=memory,
        dim_array=PhyDim2(hardware["rows"], hardware["columns"]),
        size_gbuf=hardware["buffer_words"],
        size_regf=hardware["register_words"],
        array_bus_width=float("inf"),
        dram_bandwidth=float("inf") if bandwidth is None else bandwidth,
        no_time_mux=False,
    )
