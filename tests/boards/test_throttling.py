"""A board that throttles in the middle of profiling: scripted ``vcgencmd`` and sysfs there, slowed by the worker.

The way there is a real SSH server, the worker the real one; only what is called, and the clock, are of known truth.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("paramiko", reason="the SSH transport needs hwnas[ssh]")
pytest.importorskip("onnx", reason="makes the graphs")

from boards.truth_board import FULL_KHZ
from cli.shell import PROFILE, SPACE, Shell
from contracts.graphs import linear
from ssh.conftest import own_sshd, user  # noqa: F401  fixtures
from ssh.runs import QUICK
from ssh.sshd import Sshd, kill

from profiler import Journal, JournalContent, Plan, PlanItem, Program, Target, measure, read_journal
from profiler.boards import ready
from profiler.errors import BoardError
from profiler.hardware import SshDevice
from profiler.outcome import Outcome
from profiler.ssh_sessions import SshSessions

LATENCY_MS = {f"{n}.onnx": 0.15 * (n + 1) for n in range(6)}
THROTTLED = {"factor": 1.4, "bits": 0x6, "khz": FULL_KHZ}
"""Throttled by the firmware, which the kernel's clock does not tell."""
SLOWER = {"factor": 1.4, "bits": 0, "khz": 1_000_000}


@dataclass
class TruthBoard:
    """A board whose sysfs and ``vcgencmd`` are files in ``state``."""

    state: Path
    sshd: Sshd

    @property
    def device(self) -> SshDevice:
        return self.sshd.device(python=str(self.state / "python"))

    def profile(self, folder: Path) -> tuple[JournalContent, Target]:
        """Measure everything there."""
        items = [
            PlanItem(name, "operator", Program.single(linear(folder / name, 4 + n)))
            for n, name in enumerate(LATENCY_MS)
        ]
        plan, path = Plan(tuple(items), rounds=24, half_width=0.02), folder / "journal.jsonl"
        with SshSessions(self.device, patience=QUICK) as sessions:
            with sessions.open() as session:
                target = session.target
            with Journal.open(path, plan.header([target], workload={}, subject={})) as journal:
                measure([sessions.open], plan, journal)
        return read_journal(path), target

    def touched(self) -> dict[tuple[int, ...], bool]:
        """Of everything that was timed, by its samples, whether an episode touched it."""
        lines = map(json.loads, (self.state / "timed").read_text().splitlines())
        return {tuple(wall_ns): touched for wall_ns, touched in lines}


Boards = Callable[[list[dict[str, float]]], TruthBoard]


@pytest.fixture
def board(tmp_path: Path, own_sshd: Callable[..., Sshd], monkeypatch: pytest.MonkeyPatch) -> Boards:  # noqa: F811
    """Makes a board on which these episodes happen."""

    monkeypatch.setattr(ready, "_LOOK_S", 0.01)

    def made(episodes: list[dict[str, float]]) -> TruthBoard:
        state = tmp_path / f"board{len(list(tmp_path.glob('board*')))}"
        policy = state / "sys/devices/system/cpu/cpufreq/policy0"
        policy.mkdir(parents=True)
        for core in range(64):
            folder = state / f"sys/devices/system/cpu/cpu{core}"
            folder.mkdir()
            (folder / "cpufreq").symlink_to("../cpufreq/policy0")
        for name, text in {"scaling_governor": "performance", "scaling_cur_freq": str(FULL_KHZ)}.items():
            (policy / name).write_text(f"{text}\n")
        model = state / "sys/firmware/devicetree/base/model"
        model.parent.mkdir(parents=True)
        model.write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
        (state / "register").write_text("0x0\n")
        (state / "script.json").write_text(json.dumps({"latency_ms": LATENCY_MS, "episodes": episodes}))
        _program(state / "bin/vcgencmd", f'[ "$1" = get_throttled ] && echo "throttled=$(cat {state}/register)"')
        script = shlex.join([sys.executable, "-u", str(Path(__file__).with_name("truth_board.py")), str(state)])
        _program(
            state / "python",
            f'case "$2" in *worker.pyz) exec {script} "$@";; *) exec {shlex.quote(sys.executable)} "$@";; esac',
        )
        environment = {"HWNAS_SYSFS": f"{state}/sys", "PATH": f"{state}/bin:/usr/bin:/bin"}
        return TruthBoard(state, own_sshd(environment=environment))

    return made


def _program(path: Path, command: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


@pytest.mark.slow
@pytest.mark.parametrize("state", [THROTTLED, SLOWER], ids=["bits", "clock"])
def test_a_board_that_slows_down_by_40_percent(state: dict[str, float], board: Boards, tmp_path: Path) -> None:
    throttled = board([{"from_ms": 500.0, "to_ms": 900.0, **state}, {"from_ms": 1150.0, "to_ms": 1250.0, **state}])
    content, target = throttled.profile(tmp_path / "throttled")
    assert content.complete
    touched, outcome = throttled.touched(), Outcome.of(content, target)
    seen, counted = 0, list[bool]()
    for name, true_ms in LATENCY_MS.items():
        measured = content.measurements[str(target), name]
        assert measured.latency_ms(target.clock) == pytest.approx(true_ms, rel=0.02)
        seen += sum(touched[taken.wall_ns] for taken in measured.rounds)
        counted += [touched[taken.wall_ns] for taken in measured.used]
        assert [taken.raw_ms(target.clock) for taken in measured.used] == pytest.approx(
            [true_ms] * len(measured.used), rel=0.06
        )
    assert seen >= 3
    print(f"\n{outcome}")
    if state is SLOWER:  # told after its first and last samples: one that is over then touched the first sample alone
        assert outcome.quarantined["the board's clock was another"] >= seen / 2
        return
    assert not any(counted)
    assert outcome.quarantined == {"the device was throttled": seen}
    assert outcome.throttled == ("frequency capped", "throttled")
    assert "note: the board was throttled (frequency capped, throttled): cool it" in str(outcome)
    quiet, _ = board([]).profile(tmp_path / "quiet")
    for name in LATENCY_MS:
        here, there = (found.measurements[str(target), name].latency_ms(target.clock) for found in (content, quiet))
        assert here == pytest.approx(there, rel=0.02)
    assert Outcome.of(quiet, target).quarantined == {}


def test_the_governor_is_held_for_as_long_as_sessions_are_open(board: Boards) -> None:
    made = board([])
    policy = made.state / "sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
    policy.write_text("ondemand\n")
    device = made.device.model_copy(update={"set_governor": True})
    with SshSessions(device, patience=QUICK) as sessions:
        for _ in range(2):
            with sessions.open() as session:
                facts = session.facts()
                assert facts["board"] == "Raspberry Pi 4 Model B Rev 1.4"
                assert facts["governor"] == "performance"
        assert policy.read_text() == "performance"
    assert policy.read_text() == "ondemand"


def test_the_governor_is_given_back_when_all_is_killed_there(board: Boards) -> None:
    made = board([])
    policy = made.state / "sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
    policy.write_text("ondemand\n")
    device = made.device.model_copy(update={"set_governor": True})
    with SshSessions(device, patience=QUICK) as sessions, sessions.open():
        assert policy.read_text() == "performance"
        for pid, line in made.sshd.started().items():
            if not line.strip().endswith("governor.json guard"):
                kill(pid, signal.SIGKILL)
        made.sshd.await_quiet()
        assert policy.read_text() == "ondemand"


def test_a_governor_that_cannot_be_set_is_one_line(board: Boards) -> None:
    made = board([])
    shutil.rmtree(made.state / "sys/devices/system/cpu/cpufreq/policy0")
    with (
        SshSessions(made.device.model_copy(update={"set_governor": True}), patience=QUICK) as sessions,
        pytest.raises(BoardError, match=r"pi: cannot set the governor: it has no frequency governor"),
    ):
        sessions.open()


ENTRY = "  {name}: {{kind: ssh, host: 127.0.0.1, port: {port}, user: root, key: {key}, python: {python}}}\n"


@pytest.mark.slow
def test_two_boards_share_one_table_by_the_command_line(board: Boards, tmp_path: Path) -> None:
    made = {name: board([]) for name in ("pi4-a", "pi4-b")}
    shell = Shell(tmp_path / "work", tmp_path / "cache")
    shell.folder.mkdir()
    (shell.folder / "tiny.yaml").write_text(SPACE)
    entries = [
        ENTRY.format(name=name, port=one.sshd.port, key=one.sshd.key, python=one.state / "python")
        for name, one in made.items()
    ]
    (shell.folder / "devices.yaml").write_text("".join(["devices:\n", *entries]))
    profile = (*PROFILE[:-4], "--calibration", "0", "--check", "0", "--rounds", "3", "--out", "pi4.lut.jsonl")
    done = shell(*profile, "--device", "pi4-a,pi4-b", "--json")
    assert done.code == 0, done.err
    assert done.json["target"].startswith("pi4-a,pi4-b/truth-1/")
    assert set(done.json["boards"]["ratios"]) == {"pi4-a", "pi4-b"}
    assert done.json["boards"]["lost"] == {}
    header, *rows = map(json.loads, (shell.folder / "pi4.lut.jsonl").read_text().splitlines())
    assert header["target"]["device"] == "pi4-a,pi4-b"
    assert len(rows) > 10
    assert {path.name.split(".")[1] for path in (shell.folder / "pi4.boards").iterdir()} == {"pi4-a", "pi4-b"}
    refused = shell(*profile, "--device", "pi4-a,x86")
    assert refused.code == 1
    assert "x86" in refused.err
