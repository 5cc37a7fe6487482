"""A search that cannot be asked for, or gone on with: one clear line, and nothing that was finished is lost."""

import json
import re
import shutil

import pytest
from cli.shell import DEVICES, EVOLUTION, SEARCH, SPACE, TRAIN, Shell, contents, records

LIMITS = {
    "latency": (("--latency-ms", "1e-6"), "latency <= 1e-06 ms"),
    "size": (("--params-m", "1e-6"), "params <= 1e-06 M"),
    "memory": (("--peak-memory-mib", "1e-6"), "peak memory <= 1e-06 MiB"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_nobody_can_meet_is_refused_with_the_feasible_range(untouched, limit):
    options, named = LIMITS[limit]
    for method in ("evolution", "random"):
        line = untouched(*SEARCH, *options, "--method", method, "--out", "new").only_line
        assert named in line
    low, high = (float(number) for number in re.findall(r"(?:has|needs|largest|slowest) ([\d.e-]+) (?:ms|M)", line))
    assert 0 < low < high
    assert not (untouched.folder / "new").exists()
    feasible = untouched(*SEARCH, options[0], 1.05 * low, "--margin", 0, "--out", "near", "--no-measure")
    assert feasible.code == 0, feasible.err


def test_limits_that_can_be_met_alone_but_not_together(untouched):
    """The fastest of this space is made to be a large one: embeddings of 16 cost less than of 8."""
    table = [json.loads(line) for line in (untouched.folder / "x86.lut.jsonl").read_text().splitlines()]
    table[0]["calibration"] = None
    for row in table[1:]:
        if "embed=8," in row.get("operator", ""):
            row["latency_ms"] *= 100
    (untouched.folder / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    search = [word.replace("x86.lut", "odd") for word in SEARCH]
    low_ms, low_m = (
        1.01 * float(re.search(r"has ([\d.e-]+) ", untouched(*search, option, 1e-6, "--out", "new").only_line)[1])
        for option in ("--latency-ms", "--params-m")
    )
    line = untouched(*search, "--latency-ms", low_ms, "--params-m", low_m, "--out", "new", "--no-measure").only_line
    assert "latency <= " in line
    assert "params <= " in line
    assert not (untouched.folder / "new" / "winner.yml").exists()


@pytest.mark.parametrize("option", ["--latency-ms", "--params-m", "--peak-memory-mib"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_limit_that_is_no_limit(untouched, option, value):
    assert value in untouched(*SEARCH, option, value, "--out", "new").only_line


def test_a_table_of_another_space_workload_or_device(untouched):
    other = SPACE.replace("decoder_ffn: [8, 16, 32]", "decoder_ffn: [8, 24]")
    (untouched.folder / "other.yaml").write_text(other)
    line = untouched("search", "--space", "other.yaml", *SEARCH[3:], "--out", "new").only_line
    assert "another space" in line or "is for space" in line
    line = untouched(*SEARCH, "--target-tokens", "7", "--out", "new").only_line
    assert "target_tokens is 5 there, 7 asked" in line
    for text, named in (
        (DEVICES + "    threads: 2\n", "threads=2"),
        (DEVICES + "    clock: wall\n", "wall"),
        (DEVICES.replace("x86", "pi4"), "x86"),
    ):
        (untouched.folder / "others.yaml").write_text(text)
        assert named in untouched(*SEARCH, "--devices", "others.yaml", "--out", "new").only_line
    (untouched.folder / "others.yaml").write_text(DEVICES + "  y86:\n    kind: local\n")
    for command in (
        ("export", "search/winner.yml", "--supernet", "supernet.pt", "--table", "x86.lut.jsonl"),
        ("lut", "check", "--against", "x86.lut.jsonl"),
    ):
        line = untouched(
            *command, "--space", "tiny.yaml", "--device", "y86", "--devices", "others.yaml", "--out", "new"
        ).only_line
        assert "x86/onnxruntime" in line
        assert "'y86'" in line
    assert not (untouched.folder / "new").exists()


def test_a_table_of_another_runtime_is_not_measured_against(untouched):
    table = (untouched.folder / "x86.lut.jsonl").read_text()
    (untouched.folder / "old.jsonl").write_text(re.sub(r'"onnxruntime-[^"]+"', '"onnxruntime-1.0.0"', table, count=1))
    ran = untouched(
        "search", "--space", "tiny.yaml", "--table", "old.jsonl", "--supernet", "supernet.pt", *EVOLUTION,
        "--out", "new",
    )  # fmt: skip
    assert "onnxruntime-1.0.0" in ran.refusal
    assert len(records(untouched.folder / "new" / "search.journal.jsonl")) > 10


def test_a_checkpoint_of_another_space_data_or_training(untouched, tmp_path):
    other = SPACE.replace("decoder_ffn: [8, 16, 32]", "decoder_ffn: [8, 24]")
    (untouched.folder / "other.yaml").write_text(other)
    line = untouched(*[word.replace("tiny", "other") for word in TRAIN], "--out", "supernet.pt").only_line
    assert "supernet.pt belongs to another run: space is" in line
    for option, named in (("--seed=5", "seed is 0 there and 5 here"), ("--lr=0.1", "learning_rate")):
        assert named in untouched(*TRAIN, option, "--out", "supernet.pt").only_line
    words = untouched.folder / "small.dict"
    (untouched.folder / "less.dict").write_text(words.read_text().partition("\n")[2])
    elsewhere = Shell(untouched.folder, tmp_path / "cache")
    assert elsewhere("data", "g2p", "--file", "less.dict").code == 0
    line = elsewhere(*SEARCH, "--out", "new", "--no-measure").only_line
    assert "supernet.pt belongs to another run: data is" in line
    line = elsewhere(
        "export", "search/winner.yml", "--space", "tiny.yaml", "--supernet", "supernet.pt", "--out", "new"
    ).only_line
    assert "data is" in line


def test_an_unfinished_training_is_not_searched(untouched, monkeypatch):
    import hwnas.training

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hwnas.training.TrainingProgress, "__init__", interrupted)
        ran = untouched(*TRAIN, "--checkpoint-every", "20", "--out", "part.pt")
    assert (ran.code, len(ran.err.splitlines())) == (130, 1)
    search = [word.replace("supernet.pt", "part.pt") for word in SEARCH]
    assert "part.pt is at update 20 of 30" in untouched(*search, "--out", "new", "--no-measure").only_line


def test_a_search_goes_on_in_no_other_searchs_journal(untouched):
    line = untouched(*SEARCH, "--seed", "7", "--out", "search", "--no-measure").only_line
    assert "seed is 0 there, 7 now" in line
    ran = untouched(*SEARCH, "--latency-ms", "1e9", "--out", "search", "--no-measure")
    assert "limits is" in ran.refusal


def test_a_truncated_checkpoint_is_refused_and_kept(untouched):
    whole = (untouched.folder / "supernet.pt").read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 1):
        (untouched.folder / "cut.pt").write_bytes(whole[:size])
        for command in (
            (*TRAIN, "--out", "cut.pt"),
            (*SEARCH[:5], "--supernet", "cut.pt", "--out", "new"),
        ):
            assert "cut.pt is damaged" in untouched(*command).only_line
        assert (untouched.folder / "cut.pt").read_bytes() == whole[:size]


def test_a_search_journal_with_a_torn_last_line_goes_on_to_the_same_end(shell):
    search = shell.folder / "search"
    expected = contents(search)
    journal = search / "search.journal.jsonl"
    (search / "search.json").unlink()
    (search / "winner.yml").unlink()
    whole = journal.read_bytes()
    journal.write_bytes(whole[: len(whole) // 2])
    ran = shell(*SEARCH, "--out", "search", "--no-measure")
    assert ran.code == 0, ran.err
    assert contents(search) == expected


def test_a_search_journal_damaged_in_the_middle_is_refused(untouched):
    shutil.copytree(untouched.folder / "search", untouched.folder / "spoilt")
    journal = untouched.folder / "spoilt" / "search.journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    for damage in (
        "garbage\n",
        lines[5].replace('"loss": ', '"loss": "x", "was": '),
        lines[5].replace('"encoder_embed": ', '"encoder_embed": 1'),
        "[]\n",
    ):
        journal.write_text("".join([*lines[:5], damage, *lines[6:]]))
        spoilt = journal.read_bytes()
        line = untouched(*SEARCH, "--out", "spoilt", "--no-measure").only_line
        assert "search.journal.jsonl is damaged in line 6" in line
        assert journal.read_bytes() == spoilt
