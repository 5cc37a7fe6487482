from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli.shell import Shell, leftovers
from predictors.generated_set import generated, write_set

from hwnas.spaces import load_space

SLOW = np.arange(120) % 12 == 5


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    folder = tmp_path / "work"
    folder.mkdir()
    write_set(folder / "some.csv", generated(120, encoder_factor=np.where(SLOW, 5.0, 1.0)))
    return Shell(folder, tmp_path / "cache")


def test_fit_prints_scores_and_writes_the_model(shell: Shell) -> None:
    ran = shell("predictor", "fit", "some.csv", "--train-rows", "60", "--splits", "2", "--json")
    document = ran.json
    assert 0 < document["mape"] < 0.2
    for name in ("mape", "within_5", "within_10", "spearman"):
        assert 0 <= document[name] <= 1
        assert document[name] == pytest.approx(np.mean([split[name] for split in document["per_split"]]))
    assert (document["train_rows"], document["splits"]) == (60, 2)
    assert document["out"] == "some.structured.predictor.json"
    assert (shell.folder / document["out"]).is_file()
    assert leftovers(shell.folder) == []
    asked = shell(
        "predictor", "fit", "some.csv", "--model", "flops", "--splits", "1", "--quarantine", "--out", "my.json"
    )
    assert (asked.code, "mean error" in asked.out) == (0, True)
    assert (shell.folder / "my.json").is_file()


def test_predict_takes_candidates_and_sets(shell: Shell) -> None:
    assert shell("predictor", "fit", "some.csv", "--splits", "1", "--out", "my.json").code == 0
    assert shell("space", "sample", "hat_latency", "--out", "one.yml").code == 0
    one, rows = shell("predictor", "predict", "my.json", "one.yml", "some.csv", "--json").json
    assert one["latency_ms"] > 1000
    assert len(rows["latency_ms"]) == 120
    assert rows["within_5"] > 0.8
    assert one["workload"] == load_space("hat_latency").workload.as_dict()
    assert "mean error" in shell("predictor", "predict", "my.json", "one.yml").out


def test_outliers_are_told_by_row(shell: Shell) -> None:
    document = shell("predictor", "outliers", "some.csv", "--json").json
    assert document["flagged"] == np.flatnonzero(SLOW).tolist()
    assert len(document["verdicts"]) == 120
    assert "10 of 120 rows took too long" in shell("predictor", "outliers", "some.csv").out


REFUSED = {
    "no file": (("fit", "no.csv"), "no.csv"),
    "model": (("fit", "some.csv", "--model", "oracle"), "oracle"),
    "rows": (("fit", "some.csv", "--train-rows", "97"), "97 rows to train on"),
    "workload": (("fit", "some.csv", "--beam", "0"), "beam is 0"),
    "no set": (("outliers", "torn.csv"), "torn.csv"),
    "folder": (("fit", "some.csv", "--splits", "1", "--out", "."), "is a directory"),
    "no model": (("predict", "some.csv", "some.csv"), "some.csv is not a predictor"),
    "no candidate": (("predict", "my.json", "no.yml"), "no.yml"),
    "space": (("predict", "my.json", "some.csv", "--space", "g3p"), "g3p"),
}


@pytest.mark.parametrize(("command", "named"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_gets_a_line(shell: Shell, command: tuple[str, ...], named: str) -> None:
    (shell.folder / "torn.csv").write_text("a,b\n1,2\n")
    if "my.json" in command:
        assert shell("predictor", "fit", "some.csv", "--splits", "1", "--out", "my.json").code == 0
    assert named in shell("predictor", *command).refusal


def test_without_scikit_learn_it_says_what_to_install(shell: Shell) -> None:
    process = shell.process("predictor", "fit", "some.csv", "--model", "gbdt", "--splits", "1", python=("-c", BLOCKED))
    assert "pip install 'hwnas[predict]'" in process.refusal


BLOCKED = """
import sys
sys.modules["sklearn"] = None
sys.argv = ["hwnas", *sys.argv[3:]]
from hwnas.cli import main
main()
"""
