"""The worker on a board: the contract of sessions, through SSH."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("paramiko", reason="the SSH transport needs hwnas[ssh]")
pytest.importorskip("onnxruntime", reason="the worker's runtime")

from contracts.timing_session import TimingSessionContract
from ssh.sshd import Sshd

from profiler import SessionError, TimingSession, TransportError
from profiler.ssh_sessions import SshSessions


class TestSshSession(TimingSessionContract):
    @pytest.fixture
    def session(self, sshd: Sshd) -> Iterator[TimingSession]:
        with SshSessions(sshd.device()) as sessions, sessions.open() as session:
            yield session


def test_a_runtime_that_is_missing(own_sshd: Callable[..., Sshd]) -> None:
    bare = str(Path(sys.base_prefix) / "bin" / "python3")
    with (
        SshSessions(own_sshd().device(python=f"{bare}")) as sessions,
        pytest.raises(SessionError, match=r"^pi: .*No module named '\w+'.*; run: hwnas devices setup pi$"),
    ):
        sessions.open()


def test_a_python_that_is_too_old(own_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import platform\nplatform.python_version = lambda: '3.9.2'\n")
    sshd = own_sshd(environment={"PYTHONPATH": str(tmp_path)})
    with (
        SshSessions(sshd.device()) as sessions,
        pytest.raises(TransportError, match=r"^pi has Python 3\.9\.2, and the worker needs 3\.11 or later"),
    ):
        sessions.open()


def test_sessions_share_a_connection_and_the_lock(sshd: Sshd) -> None:
    from profiler import DeviceBusyError

    with SshSessions(sshd.device()) as sessions, SshSessions(sshd.device()) as others:
        with sessions.open() as one:
            pid = one.pid
        for _ in range(2):
            with pytest.raises(DeviceBusyError, match="measures there"):
                others.open()
        with sessions.open() as two:
            assert two.pid != pid
    sshd.await_quiet()
