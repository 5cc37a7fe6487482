"""What a board and the way to it do in the middle of a measurement: the run goes on, or can be gone on with."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paramiko", reason="the SSH transport needs hwnas[ssh]")
pytest.importorskip("onnxruntime", reason="the worker's runtime")

from ssh.link import Link
from ssh.runs import QUICK, Run
from ssh.sshd import Sshd, kill

from profiler import TransportError, read_journal


def workers(sshd: Sshd) -> list[int]:
    return [pid for pid, line in sshd.started().items() if "worker.pyz" in line]


@pytest.mark.slow
def test_undisturbed(sshd: Sshd, tmp_path: Path) -> None:
    run = Run(tmp_path, sshd.device())
    run.take()
    run.check()
    taken = run.samples()
    run.take()
    assert run.samples() == taken


@pytest.mark.slow
def test_a_link_that_is_down_for_a_while(sshd: Sshd, link: Link, tmp_path: Path) -> None:
    run = Run(tmp_path, sshd.device(port=link.port))
    before: dict[tuple[str, int], str] = {}

    def down() -> None:
        before.update(run.samples())
        link.down()
        threading.Timer(2 * QUICK.silence_s, link.up).start()

    run.take({5: down})
    assert before
    run.check(before)


@pytest.mark.slow
def test_a_link_that_breaks_twice(sshd: Sshd, link: Link, tmp_path: Path) -> None:
    run = Run(tmp_path, sshd.device(port=link.port))
    run.take({2: link.cut, 7: link.cut})
    run.check()


def test_a_worker_that_is_killed(sshd: Sshd, tmp_path: Path) -> None:
    run = Run(tmp_path, sshd.device())
    run.take({5: lambda: [kill(pid, signal.SIGKILL) for pid in workers(sshd)]})
    run.check()


@pytest.mark.slow
def test_sessions_of_the_server_that_are_killed(own_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    sshd = own_sshd()
    run = Run(tmp_path, sshd.device())
    run.take({5: lambda: [kill(pid, signal.SIGKILL) for pid in sshd.sessions()]})
    run.check()


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again(own_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    sshd = own_sshd()
    run = Run(tmp_path, sshd.device())

    def restart() -> None:
        sshd.stop()
        threading.Timer(1.0, sshd.start).start()

    run.take({5: restart})
    run.check()


@pytest.mark.slow
def test_a_server_that_stays_away(own_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    """One line after a while; the same run later goes on where this one stopped."""
    sshd = own_sshd()
    run = Run(tmp_path, sshd.device(), replace(QUICK, reach_s=1.0))
    with pytest.raises(TransportError, match=r"^pi: 127\.0\.0\.1:\d+ cannot be reached: connection refused$"):
        run.take({5: sshd.stop})
    sshd.await_quiet()
    before = run.samples()
    assert before
    assert not read_journal(run.journal).complete
    sshd.start()
    run.take()
    run.check(before)


@pytest.mark.slow
def test_a_board_that_is_rebooted(
    own_sshd: Callable[..., Sshd], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boot = tmp_path / "boot_id"
    boot.write_text("first\n")
    mount = f"mount --bind '{boot}' /proc/sys/kernel/random/boot_id && exec \"$@\""
    sshd = own_sshd(wrapper=("unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"))
    run = Run(tmp_path, sshd.device())

    def reboot() -> None:
        for pid in sshd.started():
            kill(pid, signal.SIGKILL)
        sshd.stop()
        boot.write_text("second\n")
        threading.Timer(1.0, sshd.start).start()

    run.take({5: reboot})
    run.check()
    assert "pi was started anew meanwhile" in caplog.text


@pytest.mark.slow
def test_a_board_that_lets_nobody_in_while_it_starts(own_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    """As pam_nologin keeps it until the system is up."""
    sshd = own_sshd()
    run = Run(tmp_path, sshd.device())
    keys, aside = sshd.folder / "authorized_keys", sshd.folder / "aside"

    def restart() -> None:
        keys.rename(aside)
        for pid in sshd.sessions():
            kill(pid, signal.SIGKILL)
        threading.Timer(1.0, aside.rename, (keys,)).start()

    run.take({5: restart})
    run.check()


@pytest.mark.slow
def test_a_board_whose_name_nobody_knows_while_it_starts(
    sshd: Sshd, link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As names of .local, which boards answer to themselves."""
    run, resolve, failures = Run(tmp_path, sshd.device(port=link.port)), socket.getaddrinfo, [0, 0]

    def resolved(host: str, port: int, *given: Any, **more: Any) -> Any:
        if port == link.port and failures and link.passed_bytes > broken:
            failures.pop()
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, port, *given, **more)

    broken = 1 << 60

    def cut() -> None:
        nonlocal broken
        broken = 0
        link.cut()

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    run.take({5: cut})
    run.check()
    assert failures == []


@pytest.mark.slow
def test_a_board_that_stops_answering(sshd: Sshd, tmp_path: Path) -> None:
    """Everything of ours stands still there: it is ended by who comes next, and the run goes on."""
    run = Run(tmp_path, sshd.device())
    stopped: list[int] = []

    def stop() -> None:
        stopped.extend([*sshd.started(), *sshd.sessions()])
        for pid in stopped:
            kill(pid, signal.SIGSTOP)

    run.take({5: stop})
    run.check()
    assert stopped
    for pid in sshd.sessions():
        kill(pid, signal.SIGCONT)


def test_a_driver_that_vanishes_leaves_nothing(sshd: Sshd, link: Link, tmp_path: Path) -> None:
    """No word comes any more, nor an end: the lease runs out."""
    from profiler.ssh_sessions import SshSessions

    patience = replace(QUICK, lease_s=3.0)
    with SshSessions(sshd.device(port=link.port), patience=patience) as sessions:
        session = sessions.open()
        pid = session.pid
        assert Path(f"/proc/{pid}").exists()
        link.down()
        sshd.await_quiet()
        link.cut()


@pytest.mark.slow
def test_an_interrupted_driver_leaves_nothing(sshd: Sshd, tmp_path: Path) -> None:
    run = Run(tmp_path, sshd.device())
    with pytest.raises(KeyboardInterrupt):
        run.take({5: lambda: os.kill(os.getpid(), signal.SIGINT)})
    sshd.await_quiet()
    before = run.samples()
    run.take()
    run.check(before)


@pytest.mark.slow
def test_a_clock_that_jumps(own_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    """The board's clock is set forward again and again within one visit: that visit does not count."""
    patch, jumping = tmp_path / "patch", tmp_path / "jumping"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(
        "import itertools, os, time\n"
        "real, readings = time.perf_counter_ns, itertools.count()\n"
        "def jumping():\n"
        f"    return real() + (next(readings) // 5 * 10_000_000 if os.path.exists({str(jumping)!r}) else 0)\n"
        "time.perf_counter_ns = jumping\n"
    )
    sshd = own_sshd(environment={"PYTHONPATH": str(patch)})
    run = Run(tmp_path, sshd.device())
    run.take({5: jumping.touch, 6: jumping.unlink})
    run.check()
    content = read_journal(run.journal)
    rounds = [taken for found in content.measurements.values() for taken in found.rounds]
    assert [taken.quarantined for taken in rounds].count("the clock jumped") == 1
