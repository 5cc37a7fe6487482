"""Candidate and runtime at once, as a user asks for them: a folder of tables, a winner for one runtime, its bundle."""

import json
import re
from dataclasses import replace

import pytest
import yaml
from cli.shell import EVOLUTION, SPACE
from contracts.toolchains import need

from latency_luts import LatencyLut

COMMON = ("search", "--space", "tiny.yaml", "--supernet", "supernet.pt", *EVOLUTION, "--validation-pairs", "20")
BEST = (*COMMON, "--runtime", "best")


def as_of_litert(table, **changes):
    """The same table as if LiteRT had been measured: caches of fixed length, wide decoders faster, all else slower."""

    def moved(operator):
        return replace(operator, sizes=tuple((n, 4 if n == "cache" else value) for n, value in operator.sizes))

    def factor(operator):
        return 0.5 if operator.kind.startswith("decoder") and dict(operator.sizes)["embed"] == 16 else 1.2

    rows = {
        moved(op): replace(row, operator=moved(op), latency_ms=row.latency_ms * factor(op), interval_ms=None)
        for op, row in table.rows.items()
    }
    target = replace(table.target, runtime="litert-2")
    return replace(table, target=target, rows=rows, models=(), calibration=None, **changes)


@pytest.fixture
def tables(shell):
    """The chain's table and one of LiteRT beside it, in a folder."""
    folder = shell.folder / "tables"
    folder.mkdir()
    table = LatencyLut.load(shell.folder / "x86.lut.jsonl")
    table.save(folder / "onnxruntime.lut.jsonl")
    as_of_litert(table).save(folder / "litert.lut.jsonl")
    int8 = {
        replace(op, precision="int8"): replace(row, operator=replace(op, precision="int8"), latency_ms=1e-6)
        for op, row in table.rows.items()
    }
    plain = replace(table, rows=int8, models=(), calibration=None)
    plain.save(folder / "onnxruntime-int8.lut.jsonl")
    return folder


def test_the_winner_says_what_it_is_for(shell, tables):
    ran = shell(*BEST, "--table", "tables", "--no-measure", "--out", "new")
    assert ran.code == 0, ran.err
    assert "not in fp32, so not looked at: onnxruntime-int8.lut.jsonl" in ran.err
    assert "searching for the best runtime among litert, onnxruntime" in ran.err
    told = json.loads((shell.folder / "new" / "search.json").read_text())
    assert {found["runtime"] for found in told["finalists"]} <= {"litert", "onnxruntime"}
    winner = yaml.safe_load((shell.folder / "new" / "winner.yml").read_text())
    assert winner["runtime"] == told["winner"]["runtime"]
    assert f"winner.yml, for {winner['runtime']}" in " ".join(ran.out.split())
    for found in told["finalists"]:
        (shell.folder / "one.yml").write_text(yaml.safe_dump({"space": "tiny", "choices": found["candidate"]}))
        by_table = {
            name: shell("predict", "one.yml", "--space", "tiny.yaml", "--table", f"tables/{name}.lut.jsonl", "--json")
            for name in ("litert", "onnxruntime")
        }
        latencies = {name: predicted.json[0]["latency_ms"] for name, predicted in by_table.items()}
        assert found["runtime"] == min(latencies, key=lambda name: latencies[name])
        assert found["predicted_ms"] == pytest.approx(min(latencies.values()))
    beside = [f"tables/{name}.lut.jsonl" for name in ("litert", "onnxruntime")]
    page = shell("report", "new", *beside, "--space", "tiny.yaml", "--out", "page.html")
    assert page.code == 0, page.err
    shown = (shell.folder / "page.html").read_text()
    assert "fastest on" in shown
    words = " ".join(re.sub("<[^>]+>", " ", shown).split())
    told = words[words.index("--runtime best") :]
    assert re.match(r"--runtime best\W+(--table \w+\.lut\.jsonl\W+){2}--supernet", told), told[:99]


REFUSED = {
    "one table": (("--table", "x86.lut.jsonl"), "among tables of two or more, here is onnxruntime"),
    "an empty folder": (("--table", "search"), "search has no table in fp32; run: hwnas profile --runtime all"),
    "precisions": (
        ("--table", "tables/litert.lut.jsonl", "--table", "tables/onnxruntime-int8.lut.jsonl"),
        "litert.lut.jsonl is in fp32, tables/onnxruntime-int8.lut.jsonl is in int8: precisions differ in quality",
    ),
    "a runtime twice": (("--table", "tables", "--table", "x86.lut.jsonl"), "are both of onnxruntime"),
    "limits": (("--table", "tables", "--latency-ms", 1, "--latency-ms", 2), "given 2 times for --runtime best"),
    "energy": (("--table", "tables", "--energy-mj", 1), "--runtime best knows latencies alone"),
    "another workload": (("--table", "tables", "--target-tokens", 7), "target_tokens is 5 there, 7 asked"),
    "another device": (("--table", "tables", "--table", "board.jsonl"), "device is board there, x86 here"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(shell, tables, case):
    options, message = REFUSED[case]
    table = LatencyLut.load(shell.folder / "x86.lut.jsonl")
    replace(table, target=replace(table.target, device="board", runtime="tvm-1")).save(shell.folder / "board.jsonl")
    measured = () if case == "another workload" else ("--no-measure",)
    refused = shell(*BEST, *options, *measured, "--out", "new").refusal
    assert message in refused, refused
    assert not (shell.folder / "new" / "winner.yml").exists()


def test_usage(shell, tables):
    ran = shell(*COMMON, "--runtime", "litert", "--table", "tables", "--out", "new")
    assert (ran.code, "there is best alone" in " ".join(ran.err.split())) == (2, True)
    ran = shell(*BEST, "--out", "new")
    assert (ran.code, "give either --table or --predictor" in " ".join(ran.err.split())) == (2, True)


def test_a_bundle_is_of_the_runtime_that_the_winner_is_for(shell, tables):
    winner = yaml.safe_load((shell.folder / "search" / "winner.yml").read_text())
    (shell.folder / "devices.yaml").write_text("devices:\n  x86:\n    kind: local\n    runtime: litert\n")
    (shell.folder / "winner.yml").write_text(yaml.safe_dump({**winner, "runtime": "onnxruntime"}))
    export = ("export", "winner.yml", "--space", "tiny.yaml", "--supernet", "supernet.pt", "--decoded", "5")
    ran = shell(*export, "--table", "tables", "--out", "bundle")
    assert ran.code == 0, ran.err
    assert "for onnxruntime, which winner.yml was chosen for; --format says otherwise" in ran.err
    manifest = json.loads((shell.folder / "bundle" / "manifest.json").read_text())
    assert manifest["format"] == "onnx"
    assert manifest["predicted_for"].startswith("x86/onnxruntime-")
    (shell.folder / "winner.yml").write_text(yaml.safe_dump({**winner, "runtime": "abacus"}))
    assert "there is no runtime 'abacus'; known: onnxruntime" in shell(*export, "--out", "other").refusal


ONE = SPACE.replace("[8, 16, 32]", "[8]").replace("[1, 2]", "[1]")


@pytest.mark.slow
def test_from_tables_to_a_bundle_on_two_runtimes(chain, with_toolchains, tmp_path):
    """Nothing made up: profile, search, measure and export on ONNX Runtime and LiteRT."""
    need("litert-torch")
    pytest.importorskip("ai_edge_litert", reason="the runtime litert")
    shell = with_toolchains
    for name in ("small.dict", "devices.yaml"):
        (tmp_path / name).write_bytes((chain.folder / name).read_bytes())
    (tmp_path / "one.yaml").write_text(ONE)
    few = ("--rounds", 3, "--min-rounds", 2, "--samples", 2)
    for command in (
        ("data", "g2p", "--file", "small.dict"),
        ("train", "--space", "one.yaml", "--updates", 5, "--batch", 16, "--warmup", 2, "--out", "supernet.pt"),
        ("profile", "--space", "one.yaml", "--runtime", "onnxruntime,litert", "--calibration", 3, "--check", 1, *few,
         "--out", "tables"),
        ("search", "--space", "one.yaml", "--supernet", "supernet.pt", "--runtime", "best", "--table", "tables",
         "--method", "exhaustive", "--finalists", 3, "--rounds", 3, "--validation-pairs", 10, "--out", "search"),
        ("export", "search/winner.yml", "--space", "one.yaml", "--supernet", "supernet.pt", "--table", "tables",
         "--decoded", 5, "--out", "bundle"),
    ):  # fmt: skip
        ran = shell(*command)
        assert ran.code == 0, ran.err
    told = json.loads((tmp_path / "search" / "search.json").read_text())
    alone = ("--table", "tables/litert.lut.jsonl")  # of one of the runtimes that x86 has not been told of
    ran = shell("search", "--space", "one.yaml", "--supernet", "supernet.pt", *alone, "--method", "exhaustive",
                "--finalists", 1, "--rounds", 3, "--validation-pairs", 10, "--out", "alone", "--json")  # fmt: skip
    assert ran.json["winner"]["measured_ms"] > 0
    export = ("export", "alone/winner.yml", "--space", "one.yaml", "--supernet", "supernet.pt", "--decoded", 5)
    ran = shell(*export, *alone, "--format", "tflite", "--out", "lite", "--json")
    assert ran.json["predicted_ms"] == pytest.approx(
        json.loads((tmp_path / "alone" / "search.json").read_text())["winner"]["predicted_ms"]
    )
    assert all(found["measured_ms"] > 0 for found in told["finalists"])
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert {"onnxruntime": "onnx", "litert": "tflite"}[told["winner"]["runtime"]] == manifest["format"]
    assert manifest["predicted_ms"] == pytest.approx(told["winner"]["predicted_ms"])
