"""The worker on a board: the contract of sessions, through SSH."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("paramiko", reason="the SSH transport needs hwnas[ssh]")
pytest.importorskip("onnxruntime", reason="the worker's runtime")

from contracts.timing_session import TimingSessionContract
from ssh.sshd import Sshd

from profiler import TimingSession
from profiler.ssh_sessions import SshSessions


class TestSshSession(TimingSessionContract):
    @pytest.fixture
    def session(self, sshd: Sshd) -> Iterator[TimingSession]:
        with SshSessions(sshd.device()) as sessions, sessions.open() as session:
            yield session
