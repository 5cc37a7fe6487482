import os
import signal
from collections.abc import Iterator

import pytest
from contracts.transport import TransportContract, wait_gone

from profiler.transports import Transport
from profiler.transports import local as local_module
from profiler.transports.local import LocalTransport


class TestLocal(TransportContract):
    @pytest.fixture
    def transport(self) -> Iterator[Transport]:
        transport = LocalTransport()
        yield transport
        transport.close()


def test_close_ends_what_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_module, "_GRACE_S", 0.2)
    code = "import os, signal\nprint(os.fork(), flush=True)\nsignal.pause()"
    transport = LocalTransport()
    channel = transport.start([transport.python, "-c", code])
    children = [int(channel.read_line(60) or 0), int(channel.read_line(60) or 0)]
    assert channel.close() is None
    assert all(wait_gone(pid) for pid in [channel.pid, *filter(None, children)])


def test_a_channel_is_out_of_reach_of_ctrl_c() -> None:
    transport = LocalTransport()
    channel = transport.start([transport.python, "-c", "import os; print(os.getsid(0)); input()"])
    assert int(channel.read_line(60) or 0) == channel.pid != os.getsid(0)
    os.kill(channel.pid, signal.SIGTERM)
    assert channel.read_line(60) is None
    assert channel.close() == -signal.SIGTERM
