"""A board is measured once it is cool; its governor is held meanwhile and given back whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from profiler.boards import governor
from profiler.boards.ready import Readiness
from profiler.errors import BoardError
from profiler.hardware import SshDevice

DEVICE = SshDevice.model_validate({"name": "pi4", "kind": "ssh", "host": "pi"})
GOVERNOR = Path(governor.__file__ or "")


class Board:
    """Tells one look after another; the last stays. Time passes by waiting alone."""

    def __init__(self, *looks: tuple[int, float]) -> None:
        self.looks, self.seconds, self.said = list(looks), 0.0, list[str]()
        self.readiness = Readiness(DEVICE, self.said.append, now=lambda: self.seconds, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def facts(self) -> dict[str, Any]:
        bits, celsius = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return {"throttled_bits": bits, "temperature_millidegrees": {"zone": int(1000 * celsius)}}

    def wait(self) -> None:
        self.readiness.wait(self.facts)


def test_a_cool_board_is_not_waited_for() -> None:
    board = Board((0xE0000, 50.0))
    board.wait()
    assert (board.seconds, board.said) == (0, [])


def test_a_board_that_tells_nothing_is_not_waited_for() -> None:
    Readiness(DEVICE, pytest.fail).wait(dict)


@pytest.mark.parametrize(("look", "why"), [((0x0, 81.0), "81 °C"), ((0x4, 50.0), "throttled (throttled=0x4)")])
def test_it_cools_down(look: tuple[int, float], why: str) -> None:
    board = Board(*[look] * 10, (0x40000, 60.0))
    board.wait()
    assert board.seconds == 50
    assert len(board.said) == 2, "at once, and then each half minute"
    assert why in board.said[0]


def test_one_that_stays_hot_is_measured_as_it_is_and_not_waited_for_again() -> None:
    board = Board((0x0, 75.0))
    board.wait()
    assert board.seconds == 600
    assert "start_below_celsius" in board.said[-1]
    board.wait()
    assert board.seconds == 600


def test_one_that_stays_throttled_is_an_error() -> None:
    board = Board((0x8, 75.0))
    with pytest.raises(BoardError, match=r"pi4: soft temperature limit .* for 600 s .*cool it.*what was taken is kept"):
        board.wait()


def test_under_voltage_now_is_an_error() -> None:
    with pytest.raises(BoardError, match=r"pi4: under-voltage \(throttled=0x50005\): use the power supply"):
        Board((0x50005, 40.0)).wait()


def test_under_voltage_since_the_first_look_is_an_error_and_before_it_is_none() -> None:
    board = Board((0x0, 40.0), (0x10000, 40.0))
    board.wait()
    with pytest.raises(BoardError, match="under-voltage"):
        board.wait()
    Board((0x10000, 40.0)).wait()


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
    path.parent.mkdir(parents=True)
    path.write_text("ondemand\n")
    monkeypatch.setenv("HWNAS_SYSFS", str(tmp_path / "sys"))
    return path


Holder = subprocess.Popen[bytes]


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[], tuple[Holder, dict[str, Any]]]]:
    """Starts what holds the governor, in a group of its own as a board's guard does."""
    started: list[Holder] = []

    def start() -> tuple[Holder, dict[str, Any]]:
        argv = [sys.executable, str(GOVERNOR), str(tmp_path / "hwnas")]
        started.append(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True))
        assert started[-1].stdout is not None
        return started[-1], json.loads(started[-1].stdout.readline())

    yield start
    for process in started:
        with process:
            process.kill()


def test_the_governor_is_held_and_given_back(policy: Path, hold: Callable[[], tuple[Holder, Any]]) -> None:
    process, answer = hold()
    assert answer == {"was": ["ondemand"]}
    assert policy.read_text() == "performance"
    process.communicate(timeout=20)
    assert policy.read_text() == "ondemand"


def test_it_is_given_back_when_whoever_holds_it_is_killed(policy: Path, hold: Callable[[], tuple[Holder, Any]]) -> None:
    process, _ = hold()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process, answer = hold()  # waits for the guard, which gives it back first
    assert answer == {"was": ["ondemand"]}
    process.communicate(timeout=20)
    assert policy.read_text() == "ondemand"


def test_the_next_one_gives_back_what_a_killed_guard_could_not(
    policy: Path, hold: Callable[[], tuple[Holder, Any]]
) -> None:
    process, _ = hold()
    (guard,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(guard), signal.SIGKILL)
    process.kill()
    process.wait()
    assert policy.read_text() == "performance"
    process, answer = hold()
    assert answer == {"was": ["ondemand"]}
    process.communicate(timeout=20)
    assert policy.read_text() == "ondemand"


def test_a_board_without_governors_says_so(policy: Path, hold: Callable[[], tuple[Holder, Any]]) -> None:
    policy.unlink()
    assert hold()[1] == {"error": "it has no frequency governor (cpufreq)", "permission": False}
