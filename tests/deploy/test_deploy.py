"""A bundle on a board: laid out, compared, timed, told in its manifest, and answering there with no host."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli.shell import Shell
from ssh.sshd import Sshd, require_sshd

from exporters.artifact import sha256_of
from hwnas.deploy import measured
from hwnas.deploy.board import deploy, describe, held_by
from hwnas.deploy.runner import Bundle
from hwnas.errors import DeployError
from profiler.transports.ssh import open_ssh


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    require_sshd()
    running = Sshd(tmp_path_factory.mktemp("board") / "s").start()
    yield running
    running.stop()


@pytest.fixture(scope="module", autouse=True)
def known(server: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The board is trusted, and how precise a latency is no test here asks."""
    config = tmp_path_factory.mktemp("config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(config))
        patch.setattr(measured, "ROUNDS", 2)
        (config / "hwnas").mkdir()
        (config / "hwnas" / "known_hosts").write_text(server.known_host)
        yield


@pytest.fixture(scope="module")
def deployed(
    greedy_bundle: Path, server: Sshd, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A bundle after it was deployed, and what was seen; its limit is 5 ms."""
    folder = tmp_path_factory.mktemp("deployed")
    bundle = Path(shutil.copytree(greedy_bundle, folder / 'it\'s a "bundle"'))
    return bundle, deploy(bundle, server.device(), sustained_s=1.2)


@pytest.fixture
def bundle(greedy_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(greedy_bundle, tmp_path / "bundle"))


@pytest.fixture
def shell(server: Sshd, tmp_path: Path) -> Shell:
    entry = server.device().model_dump(exclude_none=True, exclude={"name"}, mode="json")
    devices = {"pi": entry, "pi-litert": {**entry, "runtime": "litert"}, "x86": {"kind": "local"}}
    (tmp_path / "devices.yaml").write_text(yaml.safe_dump({"devices": devices}))
    return Shell(tmp_path, tmp_path / "cache")


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def changed(folder: Path, **fields: object) -> Path:
    (folder / "manifest.json").write_text(json.dumps(manifest_of(folder) | fields))
    return folder


def test_what_was_seen_there_is_in_the_manifest(
    deployed: tuple[Path, dict[str, Any]], greedy_bundle: Path, server: Sshd
) -> None:
    before = manifest_of(greedy_bundle)
    bundle, seen = deployed
    assert seen["source"] == "measured"
    assert seen["target"].startswith("pi/onnxruntime-")
    assert 0 < seen["interval_ms"][0] <= seen["measured_ms"] <= seen["interval_ms"][1]
    assert set(seen["parity"]) == {"encoder", "decoder_step"}
    assert (seen["answers"]["asked"], seen["answers"]["equal"]) == (5, 5)
    assert seen["held"] is (max(seen["measured_ms"], seen["sustained"]["latency_ms"]) <= 5.0)
    assert len(seen["sustained"]["points"]) >= 2

    manifest = manifest_of(bundle)
    assert manifest["deployments"]["pi"] == json.loads(json.dumps(seen))
    journal = "deployed.pi.journal.jsonl"
    assert set(manifest["files"]) == {*before["files"], journal}
    assert manifest["files"][journal]["sha256"] == sha256_of(bundle / journal)
    assert {key: manifest[key] for key in before if key != "files"} == {k: v for k, v in before.items() if k != "files"}
    assert [path.name for path in bundle.parent.glob(".*")] == [], "nothing is left beside the bundle"
    assert Bundle(bundle)("abc"), "it is a bundle still"

    there = server.board / "bundles" / bundle.name
    assert manifest_of(there) == manifest
    assert {path.name for path in there.iterdir()} - {"__pycache__"} == {
        *manifest["files"],
        "manifest.json",
        "hwnas-run",
    }
    assert f"burst: {seen['measured_ms']:.4f} ms" in describe(seen, manifest, "pi")
    server.await_quiet()


def test_it_answers_there_with_no_host(deployed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    bundle, seen = deployed
    done = subprocess.run(
        [seen["command"], "abc", "edcba"], capture_output=True, text=True, check=False, cwd=tmp_path, env={}, timeout=60
    )
    here = Bundle(bundle)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, [here("abc"), here("edcba")], "")


@pytest.mark.parametrize(
    ("limit_ms", "held", "line"),
    [
        (1e-6, False, "limit 0.0000 ms: BROKEN"),
        (1e6, True, "limit 1000000.0000 ms: held"),
        (None, None, "no limit was promised"),
    ],
)
def test_the_last_line_says_whether_the_promise_held(
    deployed: tuple[Path, dict[str, Any]], limit_ms: float | None, held: bool | None, line: str
) -> None:
    bundle, seen = deployed
    assert held_by(seen, limit_ms) is held
    text = describe({**seen, "held": held}, manifest_of(bundle) | {"limit_ms": limit_ms}, "pi")
    assert text.splitlines()[-1] == f"pi: {line}"


def test_a_limit_must_hold_in_the_long_run_too(deployed: tuple[Path, dict[str, Any]]) -> None:
    _, seen = deployed
    slower = {**seen, "sustained": {**seen["sustained"], "latency_ms": 10.0, "knee_s": 60.0}}
    assert held_by({**seen, "measured_ms": 1.0, "sustained": None}, 5.0) is True
    assert held_by({**slower, "measured_ms": 1.0}, 5.0) is False
    assert "10.0000 ms; it slows down after 60 s" in describe(
        {**slower, "held": False}, {"limit_ms": 5.0, "predicted_ms": None}, "pi"
    )


def test_a_promise_that_is_broken_and_an_answer_that_is_another_end_with_3(bundle: Path, shell: Shell) -> None:
    changed(bundle, examples={"abc": "something else"}, limit_ms=1e-6)
    ran = shell("deploy", bundle, "--device", "pi")
    assert ran.code == 3, ran.err
    assert "0 of 1 inputs are answered there as here" in ran.out
    assert "DIFFERENT: abc: '" in ran.out
    assert ran.out.splitlines()[-1] == "pi: limit 0.0000 ms: BROKEN"


@pytest.mark.slow
def test_an_interrupted_deployment_goes_on(bundle: Path, server: Sshd) -> None:
    def stop(done: int, total: int, note: str) -> None:
        if done == 1:
            raise KeyboardInterrupt

    manifest = manifest_of(bundle)
    del manifest["examples"]  # a bundle of older code
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(KeyboardInterrupt):
        deploy(bundle, server.device(), measuring=stop)
    (journal,) = bundle.parent.glob(".bundle.*.journal.jsonl")
    taken = journal.read_text()
    assert "deployments" not in manifest_of(bundle)
    server.await_quiet()
    said: list[str] = []
    seen = deploy(bundle, server.device(), say=said.append)
    assert (bundle / "deployed.pi.journal.jsonl").read_text().startswith(taken), "what was taken is not taken again"
    assert not journal.exists()
    assert seen["answers"] == {"asked": 0, "equal": 0, "different": []}
    assert "note: the bundle was exported without examples; what it answers there is not compared" in said


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("x86", "'x86' is local: only a board (kind: ssh) is set up and deployed to"),
        ("pi-litert", "the bundle holds onnx graphs, and pi-litert runs litert; name a device"),
        ("pi5", "'pi5' is not in devices.yaml; known: pi, pi-litert, x86"),
    ],
)
def test_where_a_bundle_cannot_go(bundle: Path, shell: Shell, device: str, message: str) -> None:
    assert message in shell("deploy", bundle, "--device", device).only_line


@pytest.mark.parametrize("name", ["encoder.onnx", "hwnas_run.py"])
def test_a_bundle_that_is_not_whole_is_not_sent(bundle: Path, shell: Shell, server: Sshd, name: str) -> None:
    (bundle / name).write_bytes(b"changed")
    assert (
        f"{name} is not the file that was exported; export it again"
        in shell("deploy", bundle, "--device", "pi").only_line
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is not a bundle: manifest.json is missing"), ("{", "is no bundle, or is damaged"), ("[]", "is damaged")],
)
def test_what_is_no_bundle_is_not_sent(bundle: Path, shell: Shell, content: str | None, message: str) -> None:
    (bundle / "manifest.json").unlink()
    if content is not None:
        (bundle / "manifest.json").write_text(content)
    assert message in shell("deploy", bundle, "--device", "pi").only_line


def test_a_board_that_cannot_run_it_says_what_to_do(bundle: Path, server: Sshd, tmp_path: Path) -> None:
    bare = tmp_path / "python"  # a Python without packages
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(DeployError, match=r"^pi: .*hwnas-run does not run there: .*; run: hwnas devices setup pi$"):
        deploy(bundle, server.device(python=str(bare)))


def test_setup_and_clean_are_for_boards(shell: Shell) -> None:
    for command in ("setup", "clean"):
        assert "'x86' is local: only a board" in shell("devices", command, "x86").only_line


def test_setup_leaves_a_python_of_the_users_alone(shell: Shell) -> None:
    refused = shell("devices", "setup", "pi").only_line
    assert f"pi has a Python of its own ({sys.executable}); install its runtimes into that" in refused


def test_nothing_is_taken_from_under_who_measures_there(shell: Shell, server: Sshd) -> None:
    with closing(open_ssh(server.device())) as other:
        other.lock()
        assert "measures there, and two at once would disturb each other" in shell("devices", "clean", "pi").only_line
    server.await_quiet()


def test_clean_takes_bundles_and_commands_away(
    deployed: tuple[Path, dict[str, Any]], shell: Shell, server: Sshd
) -> None:
    assert Path(deployed[1]["command"]).exists()
    assert shell("devices", "clean", "pi", "--json").json["freed_bytes"] > 0
    assert not server.board.exists()
