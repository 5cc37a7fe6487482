"""Bad input gets one clear line that names it, and costs nothing that was finished."""

import json
import re
import shutil

import pytest
import yaml
from cli.shell import EVOLUTION, PROFILE, SEARCH, SPACE, TRAIN, Shell, leftovers, records

DEVICES = "devices:\n  x86:\n    kind: local\n"


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def untouched(shell):
    """The shell, and afterwards: every file that was there is as it was, and none is unfinished."""
    before = contents(shell.folder)
    yield shell
    after = contents(shell.folder)
    assert {path: after.get(path) for path in before} == before
    assert leftovers(shell.folder) == []


def edited(old, new):
    assert old in SPACE
    return SPACE.replace(old, new)


SPACES = {
    "unknown key": (edited("  encoder_ffn:", "  encoder_fnn:"), "encoder_fnn"),
    "unknown top key": (SPACE + "depth: 3\n", "depth"),
    "missing key": (edited("  decoder_ffn: [8, 16, 32]\n", ""), "decoder_ffn"),
    "unknown fixed key": (edited("fixed: {qkv: 16,", "fixed: {qkw: 16, qkv: 16,"), "qkw"),
    "unknown workload key": (edited("source_tokens", "sauce_tokens"), "sauce_tokens"),
    "value": (edited("source_tokens: 6", "source_tokens: six"), "six"),
    "empty choice": (edited("encoder_ffn: [8, 16, 32]", "encoder_ffn: []"), "encoder_ffn"),
    "repeated value": (edited("encoder_ffn: [8, 16, 32]", "encoder_ffn: [8, 8]"), "encoder_ffn"),
    "impossible heads": (edited("encoder_heads: [2]", "encoder_heads: [3]"), "heads"),
    "unknown family": (edited("family: seq2seq", "family: seq3seq"), "seq3seq"),
    "no family": (edited("family: seq2seq\n", ""), "family"),
    "no mapping": ("- a\n- b\n", "mapping"),
    "no YAML": ("name: [", "YAML"),
    "empty": ("", "mapping"),
    "impossible date": (edited("name: tiny", "name: 2026-13-45"), "month must be in 1..12"),
}


@pytest.mark.parametrize(("text", "named"), SPACES.values(), ids=SPACES)
def test_a_space_that_cannot_be(shell, text, named):
    (shell.folder / "bad.yaml").write_text(text)
    line = shell("space", "show", "bad.yaml").only_line
    assert "bad.yaml" in line
    assert named in line
    assert len(line) < 300


DEVICE_FILES = {
    "unknown key": (DEVICES + "    thread: 2\n", "thread"),
    "unknown kind": (DEVICES.replace("local", "serial"), "serial"),
    "unknown top key": ("device:\n  x86: {kind: local}\n", "devices"),
    "bad value": (DEVICES + "    threads: many\n", "threads"),
    "given twice": (DEVICES + "  x86: {kind: local}\n", "x86"),
    "impossible clock": (DEVICES + "    threads: 2\n    clock: thread_cpu\n", "clock"),
    "torn": ("devices:\n  x86: {kind: local\n", ":3:"),
}


@pytest.mark.parametrize(("text", "named"), DEVICE_FILES.values(), ids=DEVICE_FILES)
def test_a_device_file_that_cannot_be(shell, text, named):
    (shell.folder / "bad.yaml").write_text(text)
    for command in (("devices", "validate"), (*PROFILE, "--out", "new/table.jsonl")):
        line = shell(*command, "--devices", "bad.yaml").only_line
        assert "bad.yaml" in line
        assert named in line
    assert not (shell.folder / "new").exists()


SIDES = [f"{split}-{side}" for split in ("train", "valid", "test") for side in ("source", "target")]
UNKNOWN = {
    "device": ((*PROFILE, "--out", "new.jsonl", "--device", "pi5"), "'pi5' is not in devices.yaml; known: x86"),
    "space": (("space", "show", "g3p"), "g3p"),
    "family module": (("space", "show", "tiny.yaml", "--family", "no.such:Thing"), "no.such:Thing"),
    "relative family": (("space", "show", "tiny.yaml", "--family", "..no:Thing"), "..no:Thing"),
    "family class": (("space", "show", "tiny.yaml", "--family", "os:Thing"), "os:Thing"),
    "family without class": (("space", "show", "tiny.yaml", "--family", "os"), "'os'"),
    "data": ((*TRAIN, "--out", "new.pt", "--data", "nosuch"), "nosuch"),
    "schedule": ((*TRAIN, "--out", "new.pt", "--schedule", "steep"), "steep"),
    "method": ((*SEARCH, "--out", "new", "--method", "luck"), "luck"),
    "convention": (("space", "count", "search/winner.yml", "--convention", "loose"), "loose"),
    "devices file": (("devices", "list", "--devices", "no.yaml"), "no.yaml"),
    "table": (("lut", "show", "no.jsonl"), "no.jsonl"),
    "candidate": (("space", "count", "no.yml", "--space", "tiny.yaml"), "no.yml"),
    "candidate to predict": (
        ("predict", "no.yml", "--space", "tiny.yaml", "--table", "x86.lut.jsonl"),
        "no.yml",
    ),
    "bundle": (("run", "no", "bado"), "no is not a bundle"),
    "dictionary": (("data", "g2p", "--file", "no.dict"), "no.dict"),
    "text": (
        ("data", "parallel", "--out", "new", *(f"--{side}=no.txt" for side in SIDES)),
        "no.txt",
    ),
    "language pair": (("data", "debian", "--out", "new", "--pair", "en-tlh"), "en-tlh"),
    "checkpoint": ((*SEARCH[: -len(EVOLUTION)][:-1], "no.pt", "--out", "new"), "no.pt"),
}


@pytest.mark.parametrize(("command", "named"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_there_is_not(untouched, command, named):
    assert named in untouched(*command).only_line
    assert not (untouched.folder / "new.jsonl").exists()


def test_a_file_of_another_kind(untouched):
    for command in (
        ("space", "show", "supernet.pt"),
        ("lut", "show", "tiny.yaml"),
        ("devices", "list", "--devices", "tiny.yaml"),
        ("data", "g2p", "--file", "tiny.yaml"),
        ("data", "g2p", "--file", "supernet.pt"),
        ("predict", "tiny.yaml", "--space", "tiny.yaml", "--table", "x86.lut.jsonl"),
        ("predict", "supernet.pt", "--space", "tiny.yaml", "--table", "x86.lut.jsonl"),
        ("run", "search", "bado"),
        (*TRAIN, "--out", "tiny.yaml"),
        (*PROFILE[:1], "--space", "small.dict", "--out", "new.jsonl"),
    ):
        line = untouched(*command).only_line
        assert any(word in line for word in command if "." in word or word == "search"), line


def test_a_file_that_is_not_even_text(untouched):
    for command in (
        ("space", "show", "supernet.pt"),
        ("predict", "supernet.pt", "--space", "tiny.yaml", "--table", "x86.lut.jsonl"),
    ):
        assert untouched(*command).only_line == "hwnas: supernet.pt is not YAML: it is not even text"


def test_a_table_takes_the_place_of_no_other_file(untouched):
    for other in ("supernet.pt", "tiny.yaml", "x86.lut.journal.jsonl"):
        ran = untouched(*PROFILE, "--rounds", "2", "--out", other)
        assert f"{other} exists and is not a latency table; choose another file" in ran.refusal
        assert "exporting" not in ran.err
    ran = untouched(*PROFILE, "--rounds", "2", "--out", "search")
    assert "cannot write the table search: Is a directory" in ran.refusal
    assert not (untouched.folder / "search.journal.jsonl").exists()


def test_a_folder_is_never_to_be_removed_for_a_checkpoint(untouched):
    line = untouched(*TRAIN, "--out", "search").only_line
    assert line == "hwnas: search is a folder, not a checkpoint; give a file"


def test_a_file_where_a_folder_is_needed(untouched):
    line = untouched(*SEARCH, "--out", "tiny.yaml", "--no-measure").only_line
    assert line == "hwnas: tiny.yaml is a file where a folder is needed; choose another path"


def test_hats_yaml_needs_a_place(untouched):
    assert "name a file with --out" in untouched("space", "sample", "tiny.yaml", "--hat").only_line


def test_a_limit_a_bundle_cannot_be_held_to(untouched):
    for limit in ("0", "-1", "nan"):
        ran = untouched(
            *("export", "search/winner.yml", "--space", "tiny.yaml", "--supernet", "supernet.pt"),
            *("--out", "new", "--latency-ms", limit),
        )
        assert ran.only_line.endswith("; it must be a number above 0")


def test_a_path_below_a_file_or_to_a_folder(untouched):
    for command in (
        (*TRAIN, "--out", "tiny.yaml/new.pt"),
        (*PROFILE, "--rounds", "2", "--out", "tiny.yaml/new.jsonl"),
        (*SEARCH, "--out", "tiny.yaml", "--no-measure"),
        (*SEARCH, "--out", "tiny.yaml/new", "--no-measure"),
        ("space", "sample", "tiny.yaml", "--out", "tiny.yaml/new.yml"),
        ("devices", "add", "two", "--devices", "tiny.yaml/devices.yaml"),
        ("lut", "show", "search"),
        (*TRAIN, "--out", "search"),
        ("space", "count", "search", "--space", "tiny.yaml"),
        ("space", "sample", "tiny.yaml", "--out", "search"),
    ):
        line = untouched(*command).refusal
        assert "tiny.yaml" in line or "search" in line


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


def test_a_taken_folder_is_not_replaced_by_a_bundle(untouched):
    line = untouched(
        "export", "search/winner.yml", "--space", "tiny.yaml", "--supernet", "supernet.pt", "--out", "search"
    ).refusal
    assert "search exists and is no bundle" in line


ODD = ["", "   ", "bad🙂o", "zzz", "b\na", "b\0a", "ба", "a" * 3000, "\udcff", "-"]


@pytest.mark.parametrize("text", ODD, ids=ascii)
def test_odd_characters_get_one_line_each(bundle, chain, text):
    for extra in ((), ("--json",)):
        ran = chain("run", "bundle", *extra, "--", text)
        assert ran.code == 1
        assert "Traceback" not in ran.err
        (line,) = ran.err.splitlines()
        assert line.startswith("hwnas: ")
        assert len(line) < 400
    assert json.loads(ran.out) == [{"input": text, "output": None}]


def test_bytes_that_are_no_text_on_standard_input(bundle, chain):
    import subprocess
    import sys

    for extra in ((), ("--json",)):
        ran = subprocess.run(
            [sys.executable, "-m", "hwnas", "run", str(bundle), *extra],
            input=b"bado\n\xff\xfe\n\nsame\n",
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 3
        assert len(ran.stderr.splitlines()) == 2
        assert b"Traceback" not in ran.stderr
    assert len(json.loads(ran.stdout)) == 4


def spoil_manifest(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


SPOILT = {
    "changed graph": lambda folder: (folder / "encoder.onnx").write_bytes(b"x"),
    "missing graph": lambda folder: (folder / "decoder_step.onnx").unlink(),
    "changed vocabulary": lambda folder: (folder / "vocabulary.json").write_text("{}"),
    "missing vocabulary": lambda folder: (folder / "vocabulary.json").unlink(),
    "missing manifest": lambda folder: (folder / "manifest.json").unlink(),
    "torn manifest": lambda folder: (folder / "manifest.json").write_text('{"schema": 1,'),
    "short manifest": lambda folder: (folder / "manifest.json").write_text('{"schema": 1}'),
    "list for manifest": lambda folder: (folder / "manifest.json").write_text("[]"),
    "newer manifest": lambda folder: spoil_manifest(folder, lambda m: m.update(schema=99)),
    "unknown file": lambda folder: spoil_manifest(folder, lambda m: m["files"].update(no={"sha256": "0"})),
}


@pytest.mark.parametrize("damage", SPOILT)
def test_a_changed_bundle_is_not_run(bundle, chain, tmp_path, damage):
    shutil.copytree(bundle, tmp_path / "spoilt")
    SPOILT[damage](tmp_path / "spoilt")
    assert "spoilt" in chain("run", tmp_path / "spoilt", "bado").only_line


def test_a_missing_extra_is_named_with_its_installation(chain, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    line = chain(*TRAIN, "--out", "new.pt").only_line
    assert "pip install 'hwnas[train]'" in line


def test_the_winner_can_be_given_back_as_hats_yaml_only_if_it_fits(untouched):
    winner = yaml.safe_load((untouched.folder / "search" / "winner.yml").read_text())
    winner["choices"]["encoder_embed"] = 640
    (untouched.folder / "wrong.yml").write_text(yaml.safe_dump(winner))
    line = untouched("predict", "wrong.yml", "--space", "tiny.yaml", "--table", "x86.lut.jsonl").only_line
    assert "encoder_embed = 640" in line
