import json

import pytest

from profiler.lock import alone_on

pytest.importorskip("torch", reason="the chain trains and exports")
pytest.importorskip("onnxruntime", reason="the chain measures")

EXPLAIN = ("explain", "search/winner.yml", "--space", "tiny.yaml", "--table", "x86.lut.jsonl")


def test_the_prediction_is_taken_apart(chain):
    told = chain(*EXPLAIN, "--json").json
    predicted = chain("predict", *EXPLAIN[1:], "--json").json[0]["latency_ms"]
    assert told["latency_ms"] == pytest.approx(predicted)
    total = told["constant_ms"] + sum(operator["total_ms"] for operator in told["operators"])
    assert total == pytest.approx(predicted)
    assert told["cross_check"] is None
    assert told["picture"] is None
    text = chain(*EXPLAIN).out
    assert f"sum: {predicted:.4f} ms" in text
    assert "decoder self attention" in text


def test_the_runtimes_profile_stands_beside_it(shell):
    pytest.importorskip("matplotlib", reason="draws the picture")
    elsewhere = []
    while min(elsewhere, default=1.0) >= 0.2 and len(elsewhere) < 5:  # by the wall clock
        told = shell(*EXPLAIN, "--measure", "--picture", "w.svg", "--json").json
        check = told["cross_check"]
        assert {row["operator"] for row in check["rows"]} == {operator["operator"] for operator in told["operators"]}
        assert all(row["profile_ms"] > 0 for row in check["rows"])
        assert sum(row["profile_share"] for row in check["rows"]) == pytest.approx(1)
        assert sum(check["primitives_ms"].values()) == pytest.approx(check["profile_ms"])
        placed = sum(row["profile_ms"] for row in check["rows"])
        assert placed + check["elsewhere_ms"] == pytest.approx(check["profile_ms"])
        assert check["timed_ms"] > 0
        elsewhere.append(check["elsewhere_ms"] / check["profile_ms"])
    assert min(elsewhere) < 0.2, elsewhere
    assert "<svg" in (shell.folder / "w.svg").read_text()
    text = shell(*EXPLAIN, "--measure").out
    assert "profile share" in text
    assert "of the operators' time differently" in text


def test_a_device_that_has_changed_since_is_noticed(shell):
    table = shell.folder / "x86.lut.jsonl"
    header, *rows = table.read_text().splitlines()
    changed = json.loads(header)
    changed["environment"]["start"]["governor"] = "powersave"
    changed["environment"]["start"]["numpy"] = "1.0"
    table.write_text("\n".join([json.dumps(changed), *rows]) + "\n")
    ran = shell(*EXPLAIN, "--measure", "--json")
    assert "the device has changed: numpy was 1.0, is " in ran.err
    assert any(change.startswith("numpy was 1.0") for change in ran.json["cross_check"]["changed"])


def test_it_measures_alone_and_where_the_table_is_from(shell):
    with alone_on("localhost"):
        assert "measures there" in shell(*EXPLAIN, "--measure").refusal
        assert shell(*EXPLAIN).code == 0
    (shell.folder / "devices.yaml").write_text("devices:\n  x86: {kind: local, runtime: tflite}\n")
    refused = shell(*EXPLAIN, "--measure", "--device", "x86").refusal
    assert "x86 runs tflite, which tells no times of nodes; leave --measure out" in refused
    (shell.folder / "devices.yaml").write_text("devices:\n  x86: {kind: local}\n  two: {kind: local, threads: 2}\n")
    assert "the table is of x86/" in shell(*EXPLAIN, "--measure", "--device", "two").refusal
    assert "'nine' is not in devices.yaml" in shell(*EXPLAIN, "--measure", "--device", "nine").refusal


def test_a_picture_of_another_format_is_refused_before_anything_is_done(chain):
    assert "give a name that ends in .png or .svg" in chain(*EXPLAIN, "--picture", "w.pdf").refusal
