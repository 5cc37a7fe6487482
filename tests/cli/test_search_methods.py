"""Every method by its name, several tables, repeated seeds and a baseline, as a user asks for them."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from cli.shell import SEARCH

from hwnas.search.methods import METHODS

ROOT = Path(__file__).parents[2]
PLAIN = (*SEARCH[:7], "--no-measure", "--validation-pairs", "20")
OF_A_LOOP = [name for name, method in METHODS.items() if method.searcher and name != "exhaustive"]


def entries(folder):
    return [json.loads(line) for line in (folder / "search.journal.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", OF_A_LOOP)
def test_a_budget_is_spent_by_any_method(shell, method):
    found = shell(*PLAIN, "--out", "new", "--method", method, "--evaluations", 24, "--json").json
    header, *evaluations = entries(shell.folder / "new")
    assert header["searcher"] == found["method"] == method
    assert len(evaluations) == found["evaluations"] == found["cost_evaluations"] == 24
    losses = [entry["loss"] for entry in evaluations]
    assert min(losses) == found["winner"]["loss"] == found["finalists"][0]["loss"]
    front = json.loads((shell.folder / "new" / "front.json").read_text())
    assert front[0]["objectives"]["loss"] == min(losses)


def test_settings_of_a_method_by_name(shell):
    asked = (*PLAIN, "--method", "bayes", "--evaluations", 20, "--set", "batch=3", "--set", "surrogate=forest")
    assert shell(*asked, "--out", "new").code == 0
    settings = entries(shell.folder / "new")[0]["settings"]
    assert (settings["batch"], settings["surrogate"], settings["evaluations"]) == (3, "forest", 20)
    said = shell(*PLAIN, "--method", "bayes", "--set", "batch", "--out", "other")
    assert (said.code, "not like batch=10" in " ".join(said.err.split())) == (2, True)


REFUSED = {
    "unknown method": (("--method", "luck"), "'luck' is unknown; known: evolution, random, nsga2, linas, bayes"),
    "unknown setting": (("--method", "bayes", "--set", "pols=3"), "'bayes' has no setting pols; it has: initial"),
    "option of another method": (("--method", "bayes", "--mutants", "3"), "'bayes' has no setting mutants"),
    "no number": (("--method", "local", "--set", "batch=many"), "batch is 'many', which is no int"),
    "objective of a single one": (
        ("--method", "local", "--objective", "params_m"),
        "for the loss alone, not for params_m",
    ),
    "unknown objective": (("--method", "nsga2", "--objective", "beauty"), "objective beauty is unknown; known: loss"),
    "energy of none": (("--method", "nsga2", "--objective", "energy_mj"), "what is known of x86 has no energies"),
    "too large to enumerate": (("--method", "exhaustive", "--evaluations", "100"), "too many to try them all"),
    "evaluations of gradients": (("--method", "darts", "--evaluations", "100"), "spends steps rather than evaluations"),
    "one limit for two tables": (("--table", "x86.lut.jsonl", "--latency-ms", "1"), "is given 1 times for 2 tables"),
    "a device twice": (
        (
            "--table",
            "x86.lut.jsonl",
        ),
        "x86.lut.jsonl is a second table of x86",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line_before_anything_is_written(shell, case):
    options, message = REFUSED[case]
    refused = shell(*PLAIN, *options, "--out", "new").refusal
    assert message in refused, refused
    assert not (shell.folder / "new").exists()


def test_a_small_space_is_searched_whole(shell):
    found = shell(*PLAIN, "--method", "exhaustive", "--params-m", "0.0045", "--out", "new", "--json").json
    count = len(entries(shell.folder / "new")) - 1
    assert found["evaluations"] == count > 1
    assert found["winner"]["loss"] == min(entry["loss"] for entry in entries(shell.folder / "new")[1:])


def test_two_devices_at_once(shell):
    lines = [json.loads(line) for line in (shell.folder / "x86.lut.jsonl").read_text().splitlines()]
    rng = random.Random(0)
    lines[0]["target"]["device"] = "board"
    for line in lines[1:]:
        if "operator" in line:
            line["latency_ms"] *= rng.uniform(2, 9)
    (shell.folder / "board.lut.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = (*PLAIN, "--table", "board.lut.jsonl", "--method", "nsga2", "--evaluations", 30, "--margin", 0)
    ran = shell(*asked, "--latency-ms", "inf", "--latency-ms", "50", "--out", "new")
    assert ran.code == 0, ran.err
    assert "limit: board: latency <= 50 ms" in ran.out
    assert "note: every candidate is predicted to meet latency <= 50 ms: they have" in ran.err
    assert "predicted ms on board" in ran.out
    front = json.loads((shell.folder / "new" / "front.json").read_text())
    assert set(front[0]["objectives"]) == {"loss", "latency_ms/x86", "latency_ms/board"}


def test_random_search_stands_beside_repeated_seeds(shell):
    asked = (*PLAIN, "--method", "evolution", "--evaluations", 20, "--seeds", 2, "--baseline", "--out", "new")
    ran = shell(*asked)
    assert ran.code == 0, ran.err
    assert "random search at equal cost (medians of 2 seeds): best loss" in ran.out
    told = json.loads((shell.folder / "new" / "search.json").read_text())
    for record, base in ((told["record"], ""), (told["baseline"], "baseline")):
        assert [seed["seed"] for seed in record["seeds"]] == [0, 1]
        for seed, apart in zip(record["seeds"], ("", "seed-1"), strict=True):
            losses = [entry["loss"] for entry in entries(shell.folder / "new" / base / apart)[1:]]
            assert (seed["evaluations"], seed["best_loss"]) == (20, min(losses))


@pytest.mark.slow
def test_the_benchmark_of_fronts(shell):
    """Two methods on the small chain: what it prints is what it wrote."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.search_fronts", "--space", "tiny.yaml", "--supernet", "supernet.pt"),
            *("--table", "x86.lut.jsonl", "--methods", "random", "nsga2", "darts", "--evaluations", "100"),
            *("--validation-pairs", "100", "--finalists", "2", "--rounds", "3", "--out", "fronts", "--json"),
        ],
        cwd=shell.folder,
        env=os.environ | shell.environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    rows = json.loads(ran.stdout)
    assert rows == json.loads((shell.folder / "fronts" / "fronts.json").read_text())
    assert [row["method"] for row in rows] == ["random", "nsga2", "darts"]
    for row in rows:
        assert 90 <= row["cost"] <= 100
        assert 0 <= row["predicted"] <= 1
        assert 0 <= row["measured"] <= 1
