import json

import pytest
from cli.shell import Shell

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


def test_the_exit_codes_are_told(bare):
    ran = bare("devices", "check", "--help")
    assert "0 quiet or usable, 3 disturbed now, 1 unusable" in " ".join(ran.out.split())


def test_nobody_is_disturbed_by_a_check(bare):
    with alone_on("localhost"):
        refusal = bare("devices", "check", "x86").refusal
    assert refusal.startswith("hwnas: localhost: ")
    assert "measures there" in refusal
