"""Tables and journals that are damaged, of another run, or no tables: one clear line, and they stay as they are."""

import re

import pytest
from cli.shell import DEVICES, PROFILE, SEARCH, records


def test_a_table_takes_the_place_of_no_other_file(untouched):
    for other in ("supernet.pt", "tiny.yaml", "x86.lut.journal.jsonl"):
        ran = untouched(*PROFILE, "--rounds", "2", "--out", other)
        assert f"{other} exists and is not a latency table; choose another file" in ran.refusal
        assert "exporting" not in ran.err
    ran = untouched(*PROFILE, "--rounds", "2", "--out", "search")
    assert "cannot write the table search: Is a directory" in ran.refusal
    assert not (untouched.folder / "search.journal.jsonl").exists()


def test_a_profile_goes_on_in_no_other_profiles_journal(untouched):
    (untouched.folder / "two.yaml").write_text(DEVICES + "    threads: 2\n")
    for option, named in (
        ("--seed=4", "seed 0"),
        ("--source-tokens=5", "source_tokens 6"),
        ("--devices=two.yaml", "threads=2"),
    ):
        ran = untouched(*PROFILE, "--rounds", "3", option, "--out", "x86.lut.jsonl")
        assert "x86.lut.journal.jsonl is of another run" in ran.refusal
        assert named in ran.refusal


def test_too_few_models_to_calibrate_on_are_refused_before_anything_is_measured(untouched):
    ran = untouched(*PROFILE[:-4], "--calibration", "2", "--out", "few/few.jsonl")
    assert "2 whole models to calibrate on are too few: at least 3 are needed" in ran.refusal
    assert not (untouched.folder / "few").exists()


CUT = {"in the header": 200, "in a row": 5000, "in a calibration model": 0.8, "at a line's end": "line"}


@pytest.mark.parametrize("where", CUT)
def test_a_truncated_table(untouched, where):
    table = (untouched.folder / "x86.lut.jsonl").read_bytes()
    at = CUT[where]
    if at == "line":
        at = table.index(b"\n", 5000) + 1
    elif isinstance(at, float):
        at = int(at * len(table))
    (untouched.folder / "cut.jsonl").write_bytes(table[:at])
    ran = untouched("predict", "search/winner.yml", "--space", "tiny.yaml", "--table", "cut.jsonl")
    if where == "in a calibration model":  # every operator is there, and the calibration is in the header
        assert ran.code == 0
        assert "cut.jsonl" in ran.err
        assert len(ran.err.splitlines()) == 1
    else:
        assert "cut.jsonl" in ran.only_line
    shown = untouched("lut", "show", "cut.jsonl")
    if where == "in the header":
        assert "cut.jsonl" in shown.only_line
    else:
        assert "INCOMPLETE: cut.jsonl" in shown.out


def test_a_table_damaged_in_the_middle(untouched):
    lines = (untouched.folder / "x86.lut.jsonl").read_text().splitlines(keepends=True)
    damages = {
        "garbage": [*lines[:4], "garbage\n", *lines[5:]],
        "no number": [*lines[:4], re.sub(r'"latency_ms": [\d.e-]+', '"latency_ms": "x"', lines[4]), *lines[5:]],
        "newer": [re.sub(r'"schema": \d+', '"schema": 99', lines[0]), *lines[1:]],
        "empty": [],
    }
    for name, damaged in damages.items():
        (untouched.folder / "bad.jsonl").write_text("".join(damaged))
        for command in (("lut", "show", "bad.jsonl"), (*SEARCH[:4], "bad.jsonl", *SEARCH[5:], "--out", "new")):
            assert "bad.jsonl" in untouched(*command).only_line, name


def test_a_profile_journal_with_a_torn_last_line_goes_on_and_repeats_nothing(shell):
    journal = shell.folder / "x86.lut.journal.jsonl"
    whole = journal.read_bytes()
    cut = whole[: int(0.9 * len(whole))]
    journal.write_bytes(cut)
    (shell.folder / "x86.lut.jsonl").unlink()
    ran = shell(*PROFILE, "--rounds", "3", "--out", "x86.lut.jsonl", "--json")
    assert ran.json["incomplete"] is None
    assert journal.read_bytes().startswith(cut[: cut.rindex(b"\n") + 1])
    taken = [(r["item"], r["round"]) for r in records(journal) if r["kind"] == "sample"]
    assert len(taken) == len(set(taken)) >= 3 * len(records(journal)[0]["items"])  # a disturbed visit is repeated


def test_a_profile_journal_damaged_in_the_middle_is_refused(untouched):
    journal = untouched.folder / "spoilt.journal.jsonl"
    lines = (untouched.folder / "x86.lut.journal.jsonl").read_text().splitlines(keepends=True)
    for damage in ("garbage\n", '{"kind": "sample"}\n'):
        journal.write_text("".join([*lines[:20], damage, *lines[21:]]))
        spoilt = journal.read_bytes()
        refusal = untouched(*PROFILE, "--rounds", "3", "--out", "spoilt.jsonl").refusal
        assert "spoilt.journal.jsonl" in refusal
        assert "line 21" in refusal
        assert journal.read_bytes() == spoilt
        assert not (untouched.folder / "spoilt.jsonl").exists()
