import json
import os

import pytest
from cli.shell import PROFILE, SEARCH, Shell, ended, records

from profiler.fingerprint import fingerprint
from profiler.lock import alone_on

pytest.importorskip("onnxruntime", reason="the worker's runtime")


@pytest.fixture
def bare(tmp_path):
    """A folder with a device and nothing else."""
    (tmp_path / "devices.yaml").write_text("devices:\n  x86: {kind: local}\n  many: {kind: local, threads: 4096}\n")
    return Shell(tmp_path, tmp_path / "cache")


def test_a_device_is_checked(bare):

    ran = bare("devices", "check", "x86", "--seconds", "0.2", "--json")
    told = json.loads(ran.out)
    assert ran.code == {"quiet": 0, "usable": 0, "disturbed": 3, "unusable": 1}[told["verdict"]]
    assert set(told) == {"target", "verdict", "fingerprint", "clock", "findings", "unknown"}
    assert all(set(f) == {"name", "level", "value", "advice", "disturbs"} for f in told["findings"])
    listed = bare("devices", "validate", "--open", "--json")
    if listed.code == 0:
        facts = listed.json["devices"][0]["facts"]
        assert fingerprint(facts, told["clock"]["used"]) == told["fingerprint"]


def test_what_cannot_be_measured_ends_with_1_and_says_why(bare):
    ran = bare("devices", "check", "many", "--seconds", "0.2")
    assert ran.code == 1
    assert "many/onnxruntime" in ran.out.splitlines()[-1]
    assert ran.out.endswith("is unusable\n")
    assert "put `threads: " in ran.out


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch", "tvm"])
def test_a_gpu_is_called_unproven(bare, runtime):
    bare.folder.joinpath("devices.yaml").write_text(
        f"devices:\n  gpu: {{kind: local, runtime: {runtime}, provider: cuda}}\n"
    )
    ran = bare("devices", "check", "gpu", "--seconds", "0.2")
    assert ran.err.splitlines()[0] == "gpu is unproven: nothing was ever run on a GPU with this"
    assert ran.code in (0, 1, 3)
    assert "unproven" in bare("devices", "list").out
    profile = bare("profile", "--space", "g2p", "--device", "gpu", "--dry-run", "--out", "gpu.lut.jsonl")
    assert profile.err.splitlines()[0] == "gpu is unproven: nothing was ever run on a GPU with this"


def test_the_exit_codes_are_told(bare):
    ran = bare("devices", "check", "--help")
    assert "0 quiet or usable, 3 disturbed now, 1 unusable" in " ".join(ran.out.split())


def test_nobody_is_disturbed_by_a_check(bare):
    with alone_on("localhost"):
        refusal = bare("devices", "check", "x86").refusal
    assert refusal.startswith("hwnas: localhost: ")
    assert "measures there" in refusal


def test_two_processes_do_not_measure_at_once(shell):
    pytest.importorskip("torch", reason="the chain exports")
    (shell.folder / "other.lut.jsonl").unlink(missing_ok=True)
    profile = (*PROFILE, "--rounds", "3", "--out", "other.lut.jsonl")
    with alone_on("localhost"):
        refusal = shell.process(*profile).refusal
        search = shell.process(*SEARCH, "--out", "another", "--finalists", "1").refusal
    assert f"process {os.getpid()} (" in refusal
    assert "(--wait)" in refusal
    assert f"process {os.getpid()} (" in search
    assert shell.process(*SEARCH, "--out", "another", "--no-measure").code == 0
    assert not (shell.folder / "other.lut.jsonl").exists()


def test_who_is_asked_to_wait_measures_when_the_other_has_finished(shell):
    pytest.importorskip("torch", reason="the chain exports")
    with alone_on("localhost"):
        waiting = shell.start(*PROFILE, "--rounds", "3", "--out", "other.lut.jsonl", "--wait")
        said = next(line for line in waiting.stderr if "waiting for it to end" in line)
        assert waiting.poll() is None
    assert f"process {os.getpid()} (" in said
    assert ended(waiting).code == 0
    facts = [record for record in records(shell.folder / "other.lut.journal.jsonl") if record["kind"] == "environment"]
    assert len({record["fingerprint"] for record in facts}) == 1
    header = json.loads((shell.folder / "other.lut.jsonl").read_text().splitlines()[0])
    assert header["fingerprint"] == facts[0]["fingerprint"]
