"""Bundles that cannot be made or run, and inputs that cannot be answered: one clear line each."""

import json
import shutil
import subprocess
import sys

import pytest


def test_a_limit_a_bundle_cannot_be_held_to(untouched):
    for limit in ("0", "-1", "nan"):
        ran = untouched(
            *("export", "search/winner.yml", "--space", "tiny.yaml", "--supernet", "supernet.pt"),
            *("--out", "new", "--latency-ms", limit),
        )
        assert ran.only_line.endswith("; it must be a number above 0")


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
