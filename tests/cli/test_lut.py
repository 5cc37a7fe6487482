"""``hwnas lut``: what is missing, what changed, and other formats, as a user and as CI sees it."""

import json

import pytest
from cli.shell import PROFILE, SEARCH

from latency_luts import LatencyLut


def slowed(shell, name, factor, kind):
    """A copy of the chain's table in which all operators of a kind are slower."""
    lines = [json.loads(line) for line in (shell.folder / "x86.lut.jsonl").read_text().splitlines()]
    for line in lines[1:]:
        if line.get("operator", "").startswith(kind):
            line["latency_ms"] *= factor
            line["interval_ms"] = [end * factor for end in line["interval_ms"]]
    (shell.folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return name


def test_show_says_what_each_row_is_worth(chain):
    shown = chain("lut", "show", "x86.lut.jsonl", "--space", "tiny.yaml", "--json").json
    assert shown["source"] == "measured"
    assert len(shown["fingerprint"]) == 12
    assert (shown["missing"], shown["covered"], shown["command"]) == ([], 1.0, None)
    for row in shown["rows"]:
        low, high = row["interval_ms"]
        assert low <= row["latency_ms"] <= high
        assert row["status"] in ("converged", "budget", "unstable")
    assert sum(shown["statuses"].values()) == shown["operators"] + shown["models"]
    told = chain("lut", "show", "x86.lut.jsonl").out
    assert f"device: fingerprint {shown['fingerprint']}" in told
    assert "95 % interval" in told


def test_show_names_the_command_that_measures_what_is_missing(shell):
    (shell.folder / "wider.yaml").write_text(
        (shell.folder / "tiny.yaml").read_text().replace("encoder_ffn: [8, 16, 32]", "encoder_ffn: [8, 16, 64]")
    )
    shown = shell("lut", "show", "x86.lut.jsonl", "--space", "wider.yaml", "--json").json
    assert {name.partition("[")[0] for name in shown["missing"]} == {"encoder_ffn"}
    assert 0.5 < shown["covered"] < 1
    assert shown["command"] == "hwnas profile --space wider.yaml --device x86 --out wider.lut.jsonl"
    ran = shell(*shown["command"].split()[1:], "--dry-run")
    assert all(name in ran.out for name in shown["missing"])


def test_diff_ends_with_3_where_something_changed(shell):
    same = shell("lut", "diff", "x86.lut.jsonl", "x86.lut.jsonl")
    assert same.code == 0
    assert "no operator changed" in same.out
    other = slowed(shell, "slow.jsonl", 3.0, "encoder_ffn")
    ran = shell("lut", "diff", "x86.lut.jsonl", other, "--json")
    assert ran.code == 3
    document = json.loads(ran.out)
    assert document["changed"]
    changed = {entry["operator"] for entry in document["operators"] if entry["changed"]}
    assert changed == {
        entry["operator"] for entry in document["operators"] if entry["operator"].startswith("encoder_ffn")
    }
    assert "encoder_ffn" in shell("lut", "diff", "x86.lut.jsonl", other).out


@pytest.mark.parametrize("form", ["csv", "ofa"])
def test_export_and_import_give_the_table_back(shell, form):
    name = {"csv": "t.csv", "ofa": "t.yaml"}[form]
    assert shell("lut", "export", "x86.lut.jsonl", "--out", name, "--json").json["format"] == form
    ran = shell("lut", "import", name, "--out", "again.jsonl", "--device", "x86", "--space", "tiny.yaml")
    assert ran.code == 0, ran.err
    before, after = (LatencyLut.load(shell.folder / file) for file in ("x86.lut.jsonl", "again.jsonl"))
    assert after.latencies_ms == before.latencies_ms
    assert (form == "csv") == (after == before)
    predicted = shell("predict", "search/winner.yml", "--space", "tiny.yaml", "--table", "again.jsonl", "--json").json
    assert predicted[0]["latency_ms"] > 0


def test_hats_csv_both_ways(shell):
    lines = (shell.folder / "x86.lut.jsonl").read_text().splitlines()
    models = [line for line in lines if '"model"' in line]
    more = [line.replace('{"model": "', f'{{"model": "n{number}') for number in range(4) for line in models]
    header = json.loads(lines[0]) | {"models": 5 * len(models)}
    (shell.folder / "many.jsonl").write_text("\n".join([json.dumps(header), *lines[1:], *more]) + "\n")
    refused = shell("lut", "export", "many.jsonl", "--out", "h.csv", "--format", "hat", "--space", "tiny.yaml")
    assert "wants encoder and decoder apart" in refused.only_line
    ran = shell(
        "lut", "export", "many.jsonl", "--out", "h.csv", "--format", "hat", "--space", "tiny.yaml", "--split-by-table"
    )
    assert ran.code == 0, ran.err
    imported = shell("lut", "import", "h.csv", "--out", "hat.jsonl", "--device", "x86", "--json").json
    assert (imported["format"], imported["models"], imported["operators"]) == ("hat", 5 * len(models), 0)
    assert shell("lut", "export", "hat.jsonl", "--out", "again.csv", "--format", "hat").code == 0
    assert (shell.folder / "again.csv").read_text() == (shell.folder / "h.csv").read_text()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ("lut", "export", "x86.lut.jsonl", "--out", "t.txt"),
            "does not show its format by its name; known: csv, ofa, hat",
        ),
        (("lut", "export", "x86.lut.jsonl", "--out", "t.txt", "--format", "xml"), "--format 'xml' is unknown"),
        (("lut", "export", "x86.lut.jsonl", "--out", "x86.lut.jsonl", "--format", "csv"), "is the table itself"),
        (("lut", "import", "no.csv", "--out", "t.jsonl"), "cannot read no.csv"),
        (("lut", "import", "tiny.yaml", "--out", "t.jsonl", "--device", "x"), "has no mean"),
        (("lut", "import", "tiny.yaml", "--out", "supernet.pt", "--device", "x"), "has no mean"),
        (("lut", "diff", "x86.lut.jsonl", "tiny.yaml"), "tiny.yaml is not a latency table"),
        (("lut", "diff", "x86.lut.jsonl", "x86.lut.jsonl", "--confidence", "2"), "a confidence of 2 is none"),
        (
            ("predict", "search/winner.yml", "--space", "tiny.yaml", "--table", "x86.lut.jsonl", "--confidence", "1"),
            "too few whole models to say how far",
        ),
        ((*SEARCH, "--out", "new", "--margin", "0.1", "--confidence", "0.9"), "give one"),
        ((*SEARCH, "--out", "new", "--energy-mj", "1"), "has no energy_mj"),
        (("lut", "check", "--space", "tiny.yaml", "--device", "tpu-v1", "--out", "c.jsonl"), "is simulated"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(shell, command, message):
    before = sorted(path.name for path in shell.folder.iterdir())
    if "tpu-v1" in command:
        (shell.folder / "devices.yaml").unlink()
        before.remove("devices.yaml")
    assert message in shell(*command).refusal
    assert sorted(path.name for path in shell.folder.iterdir()) == before


@pytest.mark.slow
def test_a_table_with_models_enough_tells_intervals_and_searches_below_them(shell):
    profile = [
        *PROFILE[:-4],
        "--calibration",
        "8",
        "--check",
        "4",
        "--rounds",
        "5",
        "--min-rounds",
        "2",
        "--out",
        "b.jsonl",
    ]
    told = shell(*profile, "--json").json["uncertainty"]
    assert told["freedom"] >= 5
    (entry,) = shell("predict", "search/winner.yml", "--space", "tiny.yaml", "--table", "b.jsonl", "--json").json
    low, high = entry["interval_ms"]
    assert low < entry["latency_ms"] < high
    search = [word.replace("x86.lut.jsonl", "b.jsonl") for word in SEARCH]
    limit_ms = 3 * entry["latency_ms"]
    found = shell(*search, "--out", "s", "--latency-ms", limit_ms, "--confidence", "0.9", "--no-measure", "--json").json
    assert found["searched"].endswith("at 90 % confidence")
    assert all(finalist["predicted_interval_ms"] is not None for finalist in found["finalists"])
    other = shell(*search, "--out", "s", "--latency-ms", limit_ms, "--confidence", "0.8", "--no-measure")
    assert "of another search" in other.refusal
