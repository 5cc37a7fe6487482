"""Spaces, devices, files and places that cannot be get one clear line that names them."""

import sys

import pytest
import yaml
from cli.shell import DEVICES, EVOLUTION, PROFILE, SEARCH, SPACE, TRAIN


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


def test_a_folder_is_never_to_be_removed_for_a_checkpoint(untouched):
    line = untouched(*TRAIN, "--out", "search").only_line
    assert line == "hwnas: search is a folder, not a checkpoint; give a file"


def test_a_file_where_a_folder_is_needed(untouched):
    line = untouched(*SEARCH, "--out", "tiny.yaml", "--no-measure").only_line
    assert line == "hwnas: tiny.yaml is a file where a folder is needed; choose another path"


def test_hats_yaml_needs_a_place(untouched):
    assert "name a file with --out" in untouched("space", "sample", "tiny.yaml", "--hat").only_line


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


def test_a_missing_extra_is_named_with_its_installation(chain, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    line = chain(*TRAIN, "--out", "new.pt").only_line
    assert "pip install 'hwnas[train]'" in line


def test_the_winner_can_be_given_back_as_hats_yaml_only_if_it_fits(untouched):
    winner = yaml.safe_load((untouched.folder / "search" / "winner.yml").read_text())
    winner["choices"]["encoder_embed"] = 640
    (untouched.folder / "wrong.yml").write_text(yaml.safe_dump(winner))
    line = untouched("predict", "wrong.yml", "--space", "tiny.yaml", "--table", "x86.lut.jsonl").only_line
    assert "encoder_embed = 640" in line
