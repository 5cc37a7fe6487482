"""``hwnas lut``: what is missing, what changed, and other formats, as a user and as CI sees it."""

import json

import pytest
from cli.shell import PROFILE, SEARCH

from latency_luts import LatencyLut


def table(shell, name, **slower):
    """A copy of the chain's table with tight intervals, in which some kinds of operators are slower."""
    lines = [json.loads(line) for line in (shell.folder / "x86.lut.jsonl").read_text().splitlines()]
    for line in lines[1:]:
        line["latency_ms"] *= slower.get(line.get("operator", "").partition("[")[0], 1.0)
        line["interval_ms"] = [0.99 * line["latency_ms"], 1.01 * line["latency_ms"]]
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


def test_a_table_is_told_at_the_level_of_an_earlier_one(shell):
    few = ("--calibration", "0", "--check", "1", "--rounds", "2", "--min-rounds", "2", "--samples", "1")
    again = ("profile", "--space", "tiny.yaml", *few, "--anchor", "x86.lut.jsonl")
    drift = shell(*again, "--out", "again.jsonl", "--json").json["drift"]
    assert 0.75 < drift["anchored"] < 1.34
    before, after = (LatencyLut.load(shell.folder / name).anchor for name in ("x86.lut.jsonl", "again.jsonl"))
    assert after.compute_ms == pytest.approx(before.compute_ms), "a third session has the first one's level still"
    since = f"{1 / drift['anchored'] - 1:+.1%}"
    told = f"told at an earlier session's level (compute reference {since} since)"
    assert told in shell("lut", "show", "again.jsonl").out
    ran = shell("profile", "--space", "tiny.yaml", *few, "--out", "again.jsonl")
    assert "it is told at another level: of another table, or of none" in ran.refusal


def test_levels_are_of_one_target_and_must_be_known(untouched):
    lines = (untouched.folder / "x86.lut.jsonl").read_text().splitlines()
    header = json.loads(lines[0])
    for name, changes, said in (
        ("pi", {"target": {**header["target"], "device": "pi"}}, "levels are of one device and clock"),
        ("old", {"drift": {}}, "tells no level of its device; take one that was measured here"),
    ):
        other = untouched.folder / f"{name}.lut.jsonl"
        other.write_text("\n".join([json.dumps(header | changes), *lines[1:]]) + "\n")
        ran = untouched("profile", "--space", "tiny.yaml", "--anchor", other.name, "--out", "new.jsonl")
        assert said in ran.refusal
        assert not (untouched.folder / "new.jsonl").exists()
    ran = untouched(
        "profile", "--space", "tiny.yaml", "--anchor", "x86.lut.jsonl", "--runtime", "all", "--out", "tables"
    )
    assert "--anchor is for one device that is measured" in ran.refusal


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
    before, after = table(shell, "a.jsonl"), table(shell, "b.jsonl", encoder_ffn=1.5)
    same = shell("lut", "diff", before, before)
    assert same.code == 0
    assert "no operator changed" in same.out
    ran = shell("lut", "diff", before, after, "--json")
    assert ran.code == 3
    document = json.loads(ran.out)
    assert document["changed"]
    changed = {entry["operator"].partition("[")[0] for entry in document["operators"] if entry["changed"]}
    assert changed == {"encoder_ffn"}
    assert "+50.0%" in shell("lut", "diff", before, after).out
    assert shell("lut", "diff", before, after, "--tolerance", "0.6").code == 0


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


@pytest.fixture
def many(shell):
    """A table of 30 whole models: the chain's, five times."""
    lines = (shell.folder / "x86.lut.jsonl").read_text().splitlines()
    models = [line for line in lines if '"model"' in line]
    more = [line.replace('{"model": "', f'{{"model": "n{number}') for number in range(4) for line in models]
    header = json.loads(lines[0]) | {"models": 5 * len(models)}
    (shell.folder / "many.jsonl").write_text("\n".join([json.dumps(header), *lines[1:], *more]) + "\n")
    return shell


TO_HAT = ("lut", "export", "many.jsonl", "--out", "h.csv", "--format", "hat", "--space", "tiny.yaml")


def test_hats_csv_both_ways(many):
    assert "wants encoder and decoder apart" in many(*TO_HAT).only_line
    ran = many(*TO_HAT, "--split-by-table")
    assert ran.code == 0, ran.err
    imported = many("lut", "import", "h.csv", "--out", "hat.jsonl", "--device", "x86", "--json").json
    assert (imported["format"], imported["models"], imported["operators"]) == ("hat", 30, 0)
    assert many("lut", "export", "hat.jsonl", "--out", "again.csv", "--format", "hat").code == 0
    assert (many.folder / "again.csv").read_text() == (many.folder / "h.csv").read_text()


def test_a_search_needs_no_table_but_whole_models_alone(many):
    assert many(*TO_HAT, "--split-by-table").code == 0
    sizes = ("--source-tokens", "6", "--target-tokens", "5", "--vocabulary", "13", "--beam", "1")
    fitted = many("predictor", "fit", "h.csv", "--model", "flops", "--splits", "2", "--out", "p.json", *sizes)
    assert fitted.code == 0, fitted.err
    search = [word.replace("--table", "--predictor").replace("x86.lut.jsonl", "p.json") for word in SEARCH]
    ran = many(*search, "--out", "s", "--latency-ms", "50", "--json")
    assert ran.json["predictions"] == "learnt (flops) from 24 whole models of h"
    assert all(finalist["predicted_ms"] < 49 for finalist in ran.json["finalists"])
    assert "the finalists are not measured: name a --device" in ran.err
    assert "(--predictor" not in ran.err
    for options, message in (
        (("--energy-mj", "1"), "--energy-mj needs one --table"),
        (("--beam", "3"), "is of another workload"),
        (("--confidence", "0.95"), "cannot be told from"),
    ):
        assert message in many(*search, "--out", "new", "--latency-ms", "50", *options).refusal
    assert many(*SEARCH, "--predictor", "p.json", "--out", "new").code == 2
    without = [word for word in SEARCH if word not in ("--table", "x86.lut.jsonl")]
    assert many(*without, "--out", "new").code == 2


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
