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

from cli.shell import PROFILE, SEARCH, SPACE, TRAIN, Shell, records
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
def test_profile_search_and_export_on_the_board(shell: Shell, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwnas.deploy import measured

    monkeypatch.setattr(measured, "ROUNDS", 3)
    monkeypatch.setattr(measured, "MIN_ROUNDS", 2)
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
    found = shell(*SEARCH, "--device", "pi", "--finalists", "2", "--rounds", "3", "--out", "search", "--json").json
    assert found["winner"]["measured_ms"] > 0
    bundle = shell(
        "export", "search/winner.yml", "--space", "tiny.yaml", "--supernet", "supernet.pt",
        "--table", "x86.lut.jsonl", "--device", "pi", "--out", "bundle", "--decoded", "5", "--json",
    ).json  # fmt: skip
    assert bundle["proof"]["target"] == made["target"]
    assert list(sshd.board.glob("scratch-*")) == []


def test_trusting_a_board(shell: Shell, sshd: Sshd, user: Path) -> None:
    """From an unknown host to one that is known, and from a key that changed to the new one."""
    (user / ".ssh" / "known_hosts").unlink()
    check = "devices", "check", "pi", "--seconds", "0.2", "--json"
    assert "run: hwnas devices trust pi" in shell(*check).only_line
    asked = shell("devices", "trust", "pi")
    assert f"say so: hwnas devices trust pi --fingerprint {sshd.fingerprint}" in asked.refusal
    wrong = shell("devices", "trust", "pi", "--fingerprint", "SHA256:wrong")
    assert f"the board shows {sshd.fingerprint}, not SHA256:wrong; nothing was trusted" in wrong.refusal
    own = user / ".config" / "hwnas" / "known_hosts"
    assert not own.exists()
    told = shell("devices", "trust", "pi", "--fingerprint", sshd.fingerprint, "--json").json
    assert (told["file"], told["fingerprint"]) == (str(own), sshd.fingerprint)
    assert own.read_text() == sshd.known_host
    found = shell(*check)
    assert json.loads(found.out)["target"].startswith("pi/onnxruntime-"), found.err
    (user / ".ssh" / "known_hosts").write_text(sshd.known_host.replace("AAAA", "AAAB", 1))
    assert json.loads(shell(*check).out)["target"], "hwnas's own file counts first"
    assert "'x86' is local, it is not reached by SSH" in shell("devices", "trust", "x86").only_line


def test_adding_a_board(shell: Shell, sshd: Sshd) -> None:
    added = shell(
        "devices", "add", "pi2", "--kind", "ssh", "--host", "127.0.0.1", "--port", sshd.port, "--user", "root",
        "--key", sshd.key, "--python", sys.executable,
    )  # fmt: skip
    assert added.code == 0, added.err
    ran = shell("devices", "validate", "--open", "--json").json
    assert [entry["target"].partition("/")[0] for entry in ran["devices"]] == ["x86", "pi", "pi2"]
    refused = shell("devices", "add", "pi3", "--kind", "ssh")
    assert "devices.pi3.host: Field required" in refused.only_line


def test_the_library_is_missing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)
    assert "run: pip install 'hwnas[ssh]'" in shell("devices", "check", "pi").only_line


@pytest.mark.slow
def test_a_profile_that_is_killed_and_gone_on_with(shell: Shell, sshd: Sshd) -> None:
    """The table in the end is of the same operators and models, in the same rounds, as one that was not."""
    profile = (*PROFILE, "--rounds", "3", "--device", "pi", "--out")
    journal = shell.folder / "killed.lut.journal.jsonl"
    shell.stop(*profile, "killed.lut.jsonl", when=lambda: samples(journal) > 30)
    sshd.await_quiet()
    before = journal.read_bytes().rpartition(b"\n")[0]
    for name in ("killed", "whole"):
        assert shell(*profile, f"{name}.lut.jsonl").code == 0
    assert journal.read_bytes().startswith(before)
    killed, whole = (table(shell.folder / f"{name}.lut.jsonl") for name in ("killed", "whole"))
    assert killed == whole
    visits = [(line["item"], line["round"]) for line in records(journal) if line["kind"] == "sample"]
    assert len(visits) == len(set(visits))


def samples(journal: Path) -> int:
    return sum(record["kind"] == "sample" for record in records(journal))


def table(path: Path) -> list[tuple[str, ...]]:
    """The keys of a table's lines, by what each is of."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted((str(line.get("kind")), str(line.get("operator", line.get("candidate"))), *line) for line in lines)
