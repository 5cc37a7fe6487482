import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from profiler import DeviceBusyError, ProfilerError
from profiler.lock import alone_on, lock_path

pytest.importorskip("fcntl", reason="this system has no file locks")

ROOT = Path(__file__).parents[2]
HOLD = (
    "import sys\nfrom profiler.lock import alone_on\n"
    "with alone_on('pi'):\n    print('held', flush=True)\n    sys.stdin.read()\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_LOCKS", str(tmp_path))
    return tmp_path


@pytest.fixture
def other():
    """Another process that measures on ``pi`` until its stdin ends."""
    command = [sys.executable, "-c", HOLD, "profile", "--device", "pi"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_measures_is_named(other: subprocess.Popen) -> None:
    named = rf"^pi: process {other.pid} \(-c profile --device pi\)"
    with pytest.raises(DeviceBusyError, match=named) as caught, alone_on("pi"):
        pass
    assert "\n" not in str(caught.value)
    with alone_on("another"):
        pass


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_holds_nothing(other: subprocess.Popen, how: int) -> None:
    other.send_signal(how)
    other.wait()
    with alone_on("pi"):
        pass


def test_waiting_ends_with_the_other(other: subprocess.Popen) -> None:
    said: list[str] = []

    def told(message: str) -> None:
        said.append(message)
        threading.Thread(target=other.stdin.close).start()

    with alone_on("pi", waiting=told):
        assert other.wait() == 0
    assert len(said) == 1
    assert str(other.pid) in said[0]


def test_a_free_device_is_not_waited_for() -> None:
    for _ in range(2):
        with alone_on("pi", "local", "pi", waiting=lambda _: pytest.fail("nobody is there")):
            assert str(os.getpid()) in lock_path("pi").read_text()
    assert lock_path("pi").read_text() == ""


def test_a_process_does_not_wait_for_itself() -> None:
    with (
        alone_on("pi"),
        pytest.raises(DeviceBusyError, match="this process measures there"),
        alone_on("pi", waiting=print),
    ):
        pass


def test_a_process_of_the_same_number_elsewhere_is_waited_for(other: subprocess.Popen) -> None:
    """Containers that share the folder number their processes on their own."""
    path = lock_path("pi")
    path.write_text(path.read_text().replace(str(other.pid), str(os.getpid())))
    with alone_on("pi", waiting=lambda _: threading.Thread(target=other.stdin.close).start()):
        assert other.wait() == 0


def test_it_is_given_back_when_the_work_fails() -> None:
    with pytest.raises(RuntimeError), alone_on("pi"):
        raise RuntimeError
    with alone_on("pi"):
        assert str(os.getpid()) in lock_path("pi").read_text()


def test_a_child_of_the_holder_does_not_keep_it(folder: Path) -> None:
    with alone_on("pi"):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with alone_on("pi"):
        assert child.poll() is None
    child.communicate(b"\n")


def test_every_user_of_the_machine_can_lock(folder: Path) -> None:
    with alone_on("pi"):
        assert stat.S_IMODE(lock_path("pi").stat().st_mode) == 0o666
    assert lock_path("user@a:22/b").parent == folder


def test_a_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HWNAS_LOCKS", str(folder / "nowhere"))
    with (
        pytest.raises(ProfilerError, match=r"cannot lock the device by .*pi.lock: .*; set HWNAS_LOCKS"),
        alone_on("pi"),
    ):
        pass


def test_a_link_in_its_place_is_not_followed(folder: Path) -> None:
    victim = folder / "victim"
    victim.write_text("precious")
    lock_path("pi").symlink_to(victim)
    with pytest.raises(ProfilerError, match="cannot lock the device"), alone_on("pi"):
        pass
    assert victim.read_text() == "precious"
