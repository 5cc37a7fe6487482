"""Subsets, stand-ins and workers from the command line."""

import json
import signal

import pytest
from cli.shell import SEARCH, leftovers, records

OF = ("--space", "tiny.yaml", "--supernet", "supernet.pt")
SUBSET = ("subset", *OF, "--candidates", "10", "--pairs", "12", "--out", "subset.json")


def test_a_search_goes_by_a_chosen_subset(shell):
    ran = shell(*SUBSET, "--json")
    found = ran.json
    assert found["pairs"] == 12 < found["of"]
    assert 0 < found["share"] < 1
    assert found["break_even"] > 10
    before = (shell.folder / "subset.json").read_bytes()
    assert shell(*SUBSET).code == 0
    assert (shell.folder / "subset.json").read_bytes() == before
    ran = shell(*SEARCH, "--out", "few", "--no-measure", "--subset", "subset.json", "--finalists", "2", "--json")
    losses = [finalist["loss"] for finalist in ran.json["finalists"]]
    assert losses == sorted(losses)
    header, *again = records(shell.folder / "few" / "rescored.journal.jsonl")
    assert len(again) == 8
    assert sorted(line["loss"] for line in again)[:2] == losses, "finalists are those of lowest loss on all pairs"
    assert header["evaluator"].endswith(" pairs")


def test_what_a_subset_cannot_be(shell):
    assert "subset: 9999 of" in shell("subset", *OF, "--pairs", "9999", "--out", "s.json").only_line
    assert "at least 8 are needed" in shell("subset", *OF, "--candidates", "7", "--out", "s.json").only_line
    assert "it must be in (0, 1)" in shell("subset", *OF, "--spearman", "1", "--out", "s.json").only_line
    search = (*SEARCH, "--out", "few", "--no-measure")
    assert "no such file" in shell(*search, "--subset", "nothing.json").refusal
    assert "`hwnas subset` makes one" in shell(*search, "--subset", "search/search.json").refusal
    assert shell(*SUBSET).code == 0
    assert "give one or the other" in shell(*search, "--subset", "subset.json", "--validation-pairs", "5").refusal
    document = json.loads((shell.folder / "subset.json").read_text())
    document["of"]["weights"] = "other"
    (shell.folder / "other.json").write_text(json.dumps(document))
    assert "its weights differ" in shell(*search, "--subset", "other.json").refusal
    assert leftovers(shell.folder) == []


def test_stand_ins_are_told_with_how_far_they_may_be_trusted(shell):
    ran = shell("proxies", *OF, "--sample", "12", "--proxy", "parameters", "--proxy", "dss", "--json")
    rows = {(row["name"], row["weights"]): row for row in ran.json["proxies"]}
    assert set(rows) == {
        ("parameters", "none"), ("dss", "fresh"), ("dss", "inherited"),
        ("ridge", "learnt"), ("gbdt", "learnt"), ("mlp", "learnt"),
    }  # fmt: skip
    for row in rows.values():
        low, high = row["interval"]
        assert -1 <= low <= row["spearman"] <= high <= 1
    shown = shell("proxies", *OF, "--sample", "12", "--proxy", "parameters").out
    assert f"{rows['parameters', 'none']['spearman']:.2f}" in shown
    assert "too small to correlate" in shell("proxies", *OF, "--sample", "3").only_line
    assert "'magic' is unknown; known: parameters" in shell("proxies", *OF, "--proxy", "magic").refusal


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_a_search_on_workers_ends_as_one_without(shell, how):
    search = (*SEARCH[:7], "--population", "30", "--iterations", "4", "--no-measure")
    assert shell(*search, "--out", "alone").code == 0
    journal = shell.folder / "side" / "search.journal.jsonl"
    stopped = shell.stop(
        *search, "--out", "side", "--workers", "2", when=lambda: journal.exists() and len(records(journal)) > 5, how=how
    )
    assert "Traceback" not in stopped.err
    assert shell(*search, "--out", "side", "--workers", "2").code == 0
    assert journal.read_bytes() == (shell.folder / "alone" / "search.journal.jsonl").read_bytes()


def test_no_workers_is_a_usage_error(shell):
    ran = shell(*SEARCH, "--out", "none", "--no-measure", "--workers", "0")
    assert (ran.code, ran.out) == (2, "")
