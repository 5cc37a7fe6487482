"""A simulated device's numbers: never read as measured, in any place where numbers are shown."""

import csv
import io
import json
import re

import pytest
from cli.conftest import small_dictionary
from cli.shell import EVOLUTION, SPACE, TRAIN, Shell

from latency_luts import LatencyLut, LutError

DEVICES = """\
devices:
  x86:
    kind: local
  array:
    kind: simulated
    engine: systolic
    parameters: {rows: 8, cols: 8, dataflow: ws, clock_hz: 1.0e+8, dram_bytes_per_s: 1.0e+9, takes: [fp32]}
  dark:
    kind: simulated
    engine: systolic
    parameters: {rows: 8, cols: 8, dataflow: os, clock_hz: 1.0e+8, takes: [fp32], energy: null}
"""
SEARCH = ("search", "--space", "tiny.yaml", "--table", "array.lut.jsonl", "--supernet", "supernet.pt", *EVOLUTION)
PROVENANCE = {"engine", "version", "configuration", "fidelity"}
ORIGIN = "estimated by systolic 1 (uncalibrated)"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A folder with a simulated device, its table of a small space, and the winner of a search on it."""
    shell = Shell(tmp_path_factory.mktemp("simulated"), tmp_path_factory.mktemp("cache"))
    (shell.folder / "tiny.yaml").write_text(SPACE)
    (shell.folder / "small.dict").write_text(small_dictionary())
    (shell.folder / "devices.yaml").write_text(DEVICES)
    for command in (
        ("data", "g2p", "--file", "small.dict"),
        (*TRAIN, "--out", "supernet.pt"),
        ("profile", "--space", "tiny.yaml", "--device", "array", "--out", "array.lut.jsonl", "--check", "3"),
        (*SEARCH, "--out", "search"),
    ):
        ran = shell(*command)
        assert ran.code == 0, ran.err
    (shell.folder / "winner.yml").symlink_to("search/winner.yml")
    return shell


def refuses_to_be_measured(text):
    """No word of a measurement but to deny it."""
    return not any("measured" in line and "not measured" not in line.lower() and "nothing is measured" not in line
                   for line in text.splitlines())  # fmt: skip


def test_devices_list(simulated):
    found = {device["name"]: device for device in simulated("devices", "list", "--json").json["devices"]}
    assert (found["array"]["kind"], found["array"]["clock"]) == ("simulated", "estimated")
    assert found["array"]["note"] == "simulated: every number is an estimate"
    assert "every number is an estimate" in simulated("devices", "list").out
    assert found["x86"]["note"] == ""
    told = simulated("devices", "validate", "--open").out
    assert "array: valid, estimated by systolic: nothing runs there" in told
    assert "x86: x86/onnxruntime-" in told


def test_profile(simulated, tmp_path):
    out = tmp_path / "again.lut.jsonl"
    ran = simulated("profile", "--space", "tiny.yaml", "--device", "array", "--out", out, "--json")
    assert ran.json["source"] == "estimated"
    assert set(ran.json["provenance"]) == PROVENANCE
    assert ran.json["sum_off_by"] < 0.01
    assert "nothing is measured" in ran.err
    text = simulated("profile", "--space", "tiny.yaml", "--device", "array", "--out", out)
    assert ORIGIN in text.out
    assert refuses_to_be_measured(text.out + text.err)
    dry = simulated("profile", "--space", "tiny.yaml", "--device", "array", "--out", out, "--dry-run", "--json")
    assert dry.json["source"] == "estimated"


def test_the_table_itself(simulated):
    table = LatencyLut.load(simulated.folder / "array.lut.jsonl")
    header = json.loads((simulated.folder / "array.lut.jsonl").read_text().splitlines()[0])
    assert (table.source, header["source"], set(table.provenance)) == ("estimated", "estimated", PROVENANCE)
    assert str(table.target).startswith("array/systolic-1+")
    assert str(table.target).endswith("/estimated")
    for row in table.rows.values():
        assert row.latency_ms > 0
        assert row.metrics["energy_mj"] > 0
        assert (row.rounds, row.samples, row.interval_ms, row.status) == (0, 0, None, None)
        assert row.parity_error < 1e-4
    assert {model.role for model in table.models} == {"check"}
    with pytest.raises(LutError, match="must name its engine"):
        LatencyLut(table.target, table.workload, table.subject, table.rows, source="estimated")


def test_lut_show_and_check(simulated, tmp_path):
    shown = simulated("lut", "show", "array.lut.jsonl")
    assert f"NOT MEASURED: every number here is {ORIGIN}" in shown.out
    assert refuses_to_be_measured(shown.out)
    assert simulated("lut", "show", "array.lut.jsonl", "--json").json["source"] == "estimated"
    check = ("lut", "check", "--space", "tiny.yaml", "--device", "array", "--out", tmp_path / "c.jsonl")
    assert "is simulated" in simulated(*check).refusal
    assert "is simulated" in simulated(*check, "--against", "array.lut.jsonl").refusal


def test_predict(simulated):
    asked = ("predict", "winner.yml", "--space", "tiny.yaml", "--table", "array.lut.jsonl", "--explain")
    (found,) = simulated(*asked, "--json").json
    assert (found["source"], set(found["provenance"])) == ("estimated", PROVENANCE)
    assert found["energy_mj"] > 0
    text = simulated(*asked).out
    assert ORIGIN in text
    assert refuses_to_be_measured(text)


def test_explain(simulated):
    asked = ("explain", "winner.yml", "--space", "tiny.yaml", "--table", "array.lut.jsonl")
    assert simulated(*asked, "--json").json["origin"] == ORIGIN
    text = simulated(*asked).out
    assert ORIGIN in text
    assert refuses_to_be_measured(text)
    assert "nothing runs or is measured there" in simulated(*asked, "--measure").refusal


def test_search(simulated, tmp_path):
    asked = (*SEARCH, "--out", tmp_path / "s", "--energy-mj", "1")
    ran = simulated(*asked, "--json")
    found = ran.json
    assert "the finalists are not measured: the table is estimated" in ran.err
    assert found["predictions"].startswith("estimated by systolic 1")
    assert found["winner"]["predicted_ms"] > 0
    assert all(finalist["measured_ms"] is None for finalist in found["finalists"])
    text = simulated(*asked).out
    assert "predicted latencies and energies: estimated by systolic 1" in text


def test_an_energy_limit(simulated, tmp_path):
    free = simulated(*SEARCH, "--out", tmp_path / "free", "--json").json["winner"]
    limit_mj = 0.9 * free["energy_mj"]
    held = simulated(*SEARCH, "--out", tmp_path / "held", "--energy-mj", limit_mj, "--json").json
    assert held["limits"] == f"energy <= {limit_mj:g} mJ"
    assert all(0 < finalist["energy_mj"] <= limit_mj for finalist in held["finalists"])
    assert held["winner"]["loss"] >= free["loss"]
    asked = ("predict", tmp_path / "held" / "winner.yml", "--space", "tiny.yaml", "--table", "array.lut.jsonl")
    (predicted,) = simulated(*asked, "--json").json
    for figure in ("energy_mj", "peak_memory_mib"):
        assert predicted[figure] == held["winner"][figure]
    assert f"{predicted['energy_mj']:.4g} mJ  {predicted['peak_memory_mib']:.3g} MiB" in simulated(*asked).out
    text = simulated(*SEARCH, "--out", tmp_path / "held", "--energy-mj", limit_mj).out
    assert "energy mJ  peak memory MiB" in text
    assert refuses_to_be_measured(text.replace("predicted ms", "").replace("measured ms", ""))
    hopeless = simulated(*SEARCH, "--out", tmp_path / "none", "--energy-mj", 1e-9).refusal
    assert "energy is out of reach, the thriftiest candidate takes" in hopeless


CO_SEARCH = (
    "search", "--space", "tiny.yaml", "--supernet", "supernet.pt", "--co-search", "design.yaml",
    "--population", "6", "--iterations", "3", "--validation-pairs", "20",
)  # fmt: skip
DESIGN = "device: array\nparameters: {rows: [2, 8, 32], dataflow: [os, ws], dram_bytes_per_s: [5.0e+8, 1.0e+9]}\n"


def test_co_search(simulated, tmp_path):
    (simulated.folder / "design.yaml").write_text(DESIGN)
    out = tmp_path / "co"
    found = simulated(*CO_SEARCH, "--out", out, "--json").json
    assert json.loads((out / "front.json").read_text()) == found
    assert (found["source"], found["origin"], found["pairs_evaluated"]) == ("estimated", ORIGIN, 24)
    assert found["objectives"] == ["loss", "latency_ms", "energy_mj"]
    assert all((pair["source"], set(pair["provenance"])) == ("estimated", PROVENANCE) for pair in found["front"])
    ran = simulated(*CO_SEARCH, "--out", out)
    assert "on the front of loss, latency, energy" in ran.out
    assert re.search(r" accelerators \(\d+ more were impossible\); limit: ", ran.out)
    assert f"are {ORIGIN}, nothing is measured" in ran.out
    assert refuses_to_be_measured(ran.out + ran.err)
    for pair in (found["front"][0], found["front"][-1]):  # the pair's files give its figures again
        table, named = tmp_path / f"{pair['accelerator']}.jsonl", ("--devices", out / "devices.yaml")
        asked = ("profile", "--space", "tiny.yaml", "--device", pair["accelerator"], "--out", table, "--check", 0)
        assert simulated(*asked, *named).code == 0
        network = out / "networks" / f"{pair['network']}.yml"
        (again,) = simulated("predict", network, "--space", "tiny.yaml", "--table", table, "--json").json
        for figure in ("latency_ms", "energy_mj", "peak_memory_mib"):
            assert again[figure] == pytest.approx(pair[figure], rel=1e-12)


@pytest.mark.slow
def test_a_co_search_is_the_same_in_another_process(simulated, tmp_path):
    (simulated.folder / "design.yaml").write_text(DESIGN)
    for seed in ("1", "2"):
        ran = simulated.process(*CO_SEARCH, "--seed", 5, "--out", tmp_path / seed, PYTHONHASHSEED=seed)
        assert ran.code == 0, ran.err
    for name in ("front.json", "devices.yaml", "cosearch.journal.jsonl"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--co-search none.yaml", "no such file or directory: none.yaml"),
        ("--co-search local.yaml", "'x86' is local: only a simulated device has designs"),
        ("--co-search dark.yaml", "'dark' .systolic. does not tell every operator's energy"),
        ("--co-search design.yaml --latency-ms 1e-9", "no candidate of space .* meets latency <= 1e-09 ms"),
        ("--co-search design.yaml --params-m 1e-9", "params is out of reach"),
        ("--co-search design.yaml --population 1", "nsga2: a population of 1"),
    ],
)
def test_a_co_search_that_cannot_be(simulated, tmp_path, arguments, message):
    for name, device in (("design", "array"), ("local", "x86"), ("dark", "dark")):
        (simulated.folder / f"{name}.yaml").write_text(DESIGN.replace("array", device))
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(simulated(*CO_SEARCH, "--out", tmp_path / "co", *arguments.split()).refusal)


def test_what_has_no_meaning_with_a_co_search(simulated, tmp_path):
    for option in ("--table=array.lut.jsonl", "--method=random", "--no-measure", "--finalists=3"):
        refused = simulated(*CO_SEARCH, "--out", tmp_path / "co", option)
        assert (refused.code, "has no meaning with --co-search" in " ".join(refused.err.split())) == (2, True), option
    assert not (tmp_path / "co").exists()


def test_the_export_manifest(simulated, tmp_path):
    asked = ("export", "winner.yml", "--space", "tiny.yaml", "--supernet", "supernet.pt", "--out", tmp_path / "b")
    refused = simulated(*asked, "--table", "array.lut.jsonl", "--device", "array").refusal
    assert "'array' is simulated: nothing runs or is measured there" in refused
    refused = simulated(*asked, "--table", "array.lut.jsonl", "--device", "x86").refusal
    assert "the table is of array/systolic-1+" in refused
    assert not (tmp_path / "b").exists()


def test_accelerator_gemm(simulated, tmp_path):
    one = simulated("accelerator", "gemm", "--dataflow", "is", "--rows", 64, "--cols", 16, 197, 197, 64, "--json").json
    assert (one["cycles"], one["source"], one["fidelity"]) == (10712, "estimated", "uncalibrated")
    assert one["equal_to_scalesim"] == "cycles ifmap_sram_reads filter_sram_reads ofmap_sram_writes"
    assert one["scalesim_total_cycles"] == 10711
    loaded = simulated("accelerator", "gemm", "--rows", 8, "--cols", 8, 5, 6, 7, "--bandwidth", 2, "--json").json
    assert loaded["fidelity"] == "uncalibrated"
    assert loaded["stall_cycles"] > 0
    assert loaded["equal_to_scalesim"] == "ifmap_sram_reads filter_sram_reads ofmap_sram_writes"
    overlapped = simulated("accelerator", "gemm", "--rows", 8, "--cols", 8, 99, 99, 99, "--overlap", "--json").json
    assert overlapped["scalesim_total_cycles"] is None
    assert "cycles" not in overlapped["equal_to_scalesim"].split()
    asked = ("accelerator", "gemm", "--rows", 8, "--cols", 8, 5, 60, 7, "--json")
    assert simulated(*asked).json["energy_mj"] > simulated(*asked, "--scalesim").json["energy_mj"]
    text = simulated("accelerator", "gemm", "--rows", 8, "--cols", 8, 5, 6, 7).out
    assert text.startswith("estimated")
    path = tmp_path / "asked.csv"
    path.write_text("# two\nM,K,N,dataflow,rows,cols,remark\n197,197,64,is,64,16,a\n\n100,77,300,os,8,32,b\n")
    many = simulated("accelerator", "gemm", "--csv", path, "--json").json
    assert [answer["cycles"] for answer in many] == [10712, 14950]
    assert many[0] == one
    rows = list(csv.DictReader(io.StringIO(simulated("accelerator", "gemm", "--csv", path).out)))
    assert [(row["M"], row["cycles"], row["source"]) for row in rows] == [
        ("197", "10712", "estimated"),
        ("100", "14950", "estimated"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--rows 0 --cols 8 1 1 1", "an array of 0 x 8: rows must be at least 1"),
        ("--rows 8 --cols 8 1 0 1", "M=1, K=0, N=1: each must be at least 1"),
        ("--rows 8 --cols 8 1 1 1 --dataflow rs", "dataflow: .*not 'rs'"),
        ("--rows 8 --cols 8 1 1 1 --bandwidth 0.9", "0.9 bytes a cycle, less than a word"),
        ("--rows 8 --cols 8 1 1 1 --buffer-kib 0.1", "the filter buffer holds 51 words, less than a tile of 64"),
        ("--rows 8 --cols 8 1 1 1 --buffer-kib inf", "ifmap_kib: .*finite number, not inf"),
        ("--rows 8 --cols 8 1 1 1 --bandwidth nan", "dram_bytes_per_s: .*finite number, not nan"),
        ("--rows 8 --cols 8 1 1 1 --precision int3", "precision 'int3' is unknown; known: fp32, fp16, int8, int4"),
        ("--rows 8 --cols 8 1 1 1 --energy mine", "energy table 'mine' is unknown; known: horowitz2014"),
        ("--csv none.csv", "no such file or directory: none.csv"),
        ("--csv devices.yaml", "devices.yaml lacks the column dataflow, rows, cols, M, K, N"),
        ("--csv odd.csv", "odd.csv, line 3: K is 'x', not a whole number"),
        ("--csv zero.csv", "product 2: .*rows must be at least 1"),
    ],
)
def test_a_product_that_cannot_be(simulated, arguments, message):
    header = "dataflow,rows,cols,M,K,N\nws,8,8,1,1,1\n"
    (simulated.folder / "odd.csv").write_text(header + "ws,8,8,1,x,1\n")
    (simulated.folder / "zero.csv").write_text(header + "ws,0,8,1,1,1\n")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(simulated("accelerator", "gemm", *arguments.split()).only_line)
    incomplete = simulated("accelerator", "gemm", "--rows", "8", "1", "1", "1")
    assert (incomplete.code, "missing --cols" in incomplete.err) == (2, True)


def test_accelerator_sweep(simulated, tmp_path):
    asked = ("accelerator", "sweep", "winner.yml", "--space", "tiny.yaml", "--device", "array", "--vary", "rows=2,8,32")
    vary = ("--vary", "dataflow=os,ws", "--vary", "filter_kib=0.25,64")
    found = simulated(*asked, *vary, "--csv", tmp_path / "points.csv", "--json").json
    assert (found["source"], len(found["points"]), len(found["refused"])) == ("estimated", 11, 1)  # 32 x 8 in 0.25 KiB
    assert all(point["source"] == "estimated" and point["fidelity"] == "uncalibrated" for point in found["points"])
    for point in found["points"]:
        figures = [point[name] for name in ("latency_ms", "energy_mj", "area_mm2")]
        bettered = any(
            all(
                other[name] <= mine for name, mine in zip(("latency_ms", "energy_mj", "area_mm2"), figures, strict=True)
            )
            and [other[name] for name in ("latency_ms", "energy_mj", "area_mm2")] != figures
            for other in found["points"]
        )
        assert point["pareto"] is not bettered
    (device,) = [point for point in found["points"] if (point["rows"], point["dataflow"]) == (8, "ws")][1:]
    assert device["filter_kib"] == 64
    rows = list(csv.DictReader((tmp_path / "points.csv").read_text().splitlines()))
    assert [float(row["latency_ms"]) for row in rows] == [point["latency_ms"] for point in found["points"]]
    text = simulated(*asked, *vary)
    assert "11 accelerators estimated by systolic, 1 impossible" in text.out
    assert "left out: systolic: the filter buffer holds" in text.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--device x86 --vary rows=1", "'x86' is local: only a simulated device has parameters to vary"),
        ("--device array --vary rows", "--vary rows: a parameter and its values are expected"),
        ("--device array --vary rows=1 --vary rows=2", "given twice"),
        ("--device array --vary side=1,2", "no accelerator of the grid can be: systolic: unknown parameter 'side'"),
        ("--device array --vary rows=0", "no accelerator of the grid can be: .*rows must be at least 1"),
    ],
)
def test_a_sweep_that_cannot_be(simulated, arguments, message):
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(
            simulated("accelerator", "sweep", "winner.yml", "--space", "tiny.yaml", *arguments.split()).refusal
        )


def test_without_energy_there_is_none(simulated, tmp_path):
    out = tmp_path / "dark.lut.jsonl"
    assert simulated("profile", "--space", "tiny.yaml", "--device", "dark", "--out", out, "--check", 0).code == 0
    table = LatencyLut.load(out)
    assert all("energy_mj" not in row.metrics for row in table.rows.values())
    (found,) = simulated("predict", "winner.yml", "--space", "tiny.yaml", "--table", out, "--json").json
    assert found["energy_mj"] is None
    asked = [*SEARCH, "--out", tmp_path / "s", "--energy-mj", "1"]
    asked[asked.index("array.lut.jsonl")] = out
    assert "energy_mj" in simulated(*asked).only_line


def test_the_same_table_again(simulated, tmp_path):
    """A pure function of artifacts and configuration: only the date may differ."""
    out = tmp_path / "again.lut.jsonl"
    ran = simulated("profile", "--space", "tiny.yaml", "--device", "array", "--out", out, "--check", "3")
    assert ran.code == 0
    old, new = (path.read_text().splitlines() for path in (simulated.folder / "array.lut.jsonl", out))
    assert new[1:] == old[1:]
    assert json.loads(new[0]) | {"created": ""} == json.loads(old[0]) | {"created": ""}
