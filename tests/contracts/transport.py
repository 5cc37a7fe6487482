"""What every transport keeps: subclass ``TransportContract`` and give it the ``transport`` fixture."""

import os
import select
from pathlib import Path

import pytest

from profiler import TransportError
from profiler.transports import Transport

ECHO = "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)\nprint('end')"


class TransportContract:
    """Every implementation of :class:`profiler.transports.Transport`; commands run on POSIX."""

    @pytest.fixture
    def transport(self) -> Transport:
        raise NotImplementedError

    def test_put_and_get(self, transport: Transport, tmp_path: Path) -> None:
        local = tmp_path / "a.bin"
        local.write_bytes(bytes(range(256)))
        there = transport.put(local)
        assert transport.put(local) == there
        transport.get(there, tmp_path / "b.bin")
        assert (tmp_path / "b.bin").read_bytes() == local.read_bytes()

    def test_missing_files(self, transport: Transport, tmp_path: Path) -> None:
        with pytest.raises(TransportError, match="nothing"):
            transport.put(tmp_path / "nothing")
        with pytest.raises(TransportError, match="nothing"):
            transport.get(transport.scratch("nothing"), tmp_path / "b")

    def test_scratch_is_writable(self, transport: Transport, tmp_path: Path) -> None:
        there = transport.scratch("out.txt")
        done = transport.run([transport.python, "-c", f"open({there!r}, 'w').write('hi')"], timeout_s=60)
        assert done.status == 0
        transport.get(there, tmp_path / "got")
        assert (tmp_path / "got").read_text() == "hi"

    def test_run_gives_status_and_both_streams(self, transport: Transport) -> None:
        code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
        done = transport.run([transport.python, "-c", code], timeout_s=60)
        assert (done.status, done.stdout, done.stderr) == (3, "out\n", "err\n")

    def test_run_ends_what_takes_too_long(self, transport: Transport) -> None:
        with pytest.raises(TimeoutError, match=r"0\.2 s"):
            transport.run([transport.python, "-c", "import signal; signal.pause()"], timeout_s=0.2)

    def test_no_such_command(self, transport: Transport) -> None:
        with pytest.raises(TransportError, match="no-such-command"):
            transport.run(["no-such-command"], timeout_s=60)

    def test_a_channel_talks_in_lines(self, transport: Transport) -> None:
        channel = transport.start([transport.python, "-u", "-c", ECHO])
        try:
            for word in ("abc", "d" * 200_000):
                channel.write_line(word)
                assert channel.read_line(60) == word[::-1]
            with pytest.raises(TimeoutError, match=r"0\.05 s"):
                channel.read_line(0.05)
        finally:
            assert channel.close() == 0
        assert channel.close() == 0

    def test_a_channel_tells_the_end_and_the_last_words(self, transport: Transport) -> None:
        code = "import sys; print('last words', file=sys.stderr); sys.exit(4)"
        channel = transport.start([transport.python, "-c", code])
        assert channel.read_line(60) is None
        assert channel.stderr_tail() == "last words"
        assert channel.close() == 4
        with pytest.raises(TransportError):
            channel.write_line("anyone?")


def wait_gone(pid: int, timeout_s: float = 30) -> bool:
    """Whether a process of this machine ends within ``timeout_s``; waits without polling."""
    if not hasattr(os, "pidfd_open"):
        return _wait_gone_bsd(pid, timeout_s)
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout_s)[0])
    finally:
        os.close(descriptor)


def _wait_gone_bsd(pid: int, timeout_s: float) -> bool:
    """The same on macOS, whose kernel queues tell of the end of a process."""
    end = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
    queue = select.kqueue()
    try:
        return bool(queue.control([end], 1, timeout_s))
    except ProcessLookupError:
        return True
    finally:
        queue.close()
