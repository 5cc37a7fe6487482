"""The transport by SSH against a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("paramiko", reason="the SSH transport needs hwnas[ssh]")

from contracts.transport import TransportContract
from ssh.sshd import Sshd

from profiler.transports import Transport
from profiler.transports.ssh import SshTransport


class TestSsh(TransportContract):
    @pytest.fixture
    def transport(self, sshd: Sshd) -> Iterator[Transport]:
        transport = SshTransport(sshd.device())
        yield transport
        transport.close()
