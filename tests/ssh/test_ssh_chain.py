"""The whole chain on a device that is reached by SSH, as a user types it."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("paramiko", reason="the SSH transport needs hwnas[ssh]")
pytest.importorskip("onnxruntime", reason="the worker's runtime")

from cli.shell import PROFILE, SEARCH, SPACE, TRAIN, Shell
from ssh.sshd import Sshd

ENTRY = """\
devices:
  x86:
    kind: local
  pi:
    kind: ssh
    host: 127.0.0.1
    port: {port}
    user: root
    key: {key}
    python: {python}
"""
WORDS = "bdglms", "aeo"


def dictionary() -> str:
    """A pronouncing dictionary of made-up words."""
    rng, lines = random.Random("dictionary"), {}
    sounds = {"b": "B", "d": "D", "g": "G", "l": "L", "m": "M", "s": "S", "a": "AA1", "e": "EH0", "o": "OW2"}
    for _ in range(300):
        letters = "".join(rng.choice(WORDS[0]) + rng.choice(WORDS[1]) for _ in range(rng.randint(1, 4)))
        lines[letters] = " ".join([letters, *(sounds[letter] for letter in letters)])
    return "\n".join(lines.values()) + "\n"


@pytest.fixture
def shell(sshd: Sshd, tmp_path: Path) -> Iterator[Shell]:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(SPACE)
    (folder / "devices.yaml").write_text(ENTRY.format(port=sshd.port, key=sshd.key, python=sys.executable))
    yield Shell(folder, tmp_path / "cache")
    sshd.await_quiet()


@pytest.mark.slow
def test_profile_search_and_export_on_the_board(shell: Shell, sshd: Sshd) -> None:
    (shell.folder / "small.dict").write_text(dictionary())
    assert shell("data", "g2p", "--file", "small.dict").code == 0
    assert shell(*TRAIN, "--out", "supernet.pt").code == 0
    made = shell(*PROFILE, "--rounds", "3", "--device", "pi", "--out", "x86.lut.jsonl", "--json").json
    assert made["target"].startswith("pi/onnxruntime-")
    header = json.loads((shell.folder / "x86.lut.jsonl").read_text().partition("\n")[0])
    local = shell(*PROFILE, "--rounds", "3", "--out", "local.lut.jsonl")
    assert local.code == 0
    here = json.loads((shell.folder / "local.lut.jsonl").read_text().partition("\n")[0])
    assert header.keys() == here.keys()
    found = shell(*SEARCH, "--device", "pi", "--out", "search", "--json").json
    assert found["winner"]["measured_ms"] > 0
    bundle = shell(
        "export", "search/winner.yml", "--space", "tiny.yaml", "--supernet", "supernet.pt",
        "--table", "x86.lut.jsonl", "--device", "pi", "--out", "bundle", "--decoded", "5", "--json",
    ).json  # fmt: skip
    assert bundle["proof"]["target"] == made["target"]
    assert list(sshd.board.glob("scratch-*")) == []
