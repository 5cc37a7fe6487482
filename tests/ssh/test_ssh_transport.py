"""The transport by SSH against a real server."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("paramiko", reason="the SSH transport needs hwnas[ssh]")

from contracts.transport import TransportContract, wait_gone
from ssh.link import Link
from ssh.runs import PATIENT, QUICK
from ssh.sshd import Sshd, descendants

from profiler import TransportError
from profiler.errors import ConnectionLostError
from profiler.hardware import SshDevice
from profiler.transports import Transport
from profiler.transports.ssh import SshTransport
from profiler.transports.ssh_wire import PIECE, Patience


class TestSsh(TransportContract):
    @pytest.fixture
    def transport(self, sshd: Sshd) -> Iterator[Transport]:
        transport = SshTransport(sshd.device())
        yield transport
        transport.close()


@contextmanager
def opened(device: SshDevice, patience: Patience = PATIENT) -> Iterator[SshTransport]:
    transport = SshTransport(device, patience=patience)
    try:
        yield transport
    finally:
        transport.close()


def partial_of(file: Path, sshd: Sshd) -> Path:
    """Where a file is on the board while it comes; other tests may have left other files half way."""
    return sshd.board / "files" / hashlib.sha256(file.read_bytes()).hexdigest() / ".partial"


def test_a_link_that_breaks_costs_only_what_was_on_its_way(sshd: Sshd, link: Link, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(8 << 20))
    with opened(sshd.device(port=link.port)) as transport:
        link.cut_after_bytes = link.passed_bytes + (6 << 20)
        with pytest.raises(ConnectionLostError, match="the connection was lost"):
            transport.put(big)
    sshd.await_quiet()
    partial = partial_of(big, sshd)
    there = partial.stat().st_size
    assert there > 2 << 20
    assert not partial.with_name("big").exists()
    before = link.passed_bytes
    with opened(sshd.device(port=link.port)) as transport:
        assert Path(transport.put(big)).read_bytes() == big.read_bytes()
    assert link.passed_bytes - before < big.stat().st_size - there + (1 << 20)
    assert not partial.exists()


def test_a_link_that_goes_down_while_a_file_is_sent(sshd: Sshd, link: Link, tmp_path: Path) -> None:
    """Nothing takes the bytes any more, and nothing says so."""
    big = tmp_path / "big"
    big.write_bytes(os.urandom(32 << 20))
    with opened(sshd.device(port=link.port), replace(QUICK, silence_s=1.0)) as transport:
        link.down_after_bytes = link.passed_bytes + (2 << 20)
        with pytest.raises(ConnectionLostError, match=r"the connection was lost|nothing was heard for 1 s"):
            transport.put(big)
        link.up()


def test_a_user_who_gives_up_while_the_link_is_down(sshd: Sshd, link: Link, tmp_path: Path) -> None:
    """The network takes nothing more: neither a file, nor the words by which one leaves."""
    big = tmp_path / "big"
    big.write_bytes(os.urandom(32 << 20))
    with opened(sshd.device(port=link.port), replace(QUICK, silence_s=3.0)) as transport:
        way, send = transport._connection.client.get_transport(), transport._agent.send
        assert way is not None
        way.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)

        def go_down(data: bytes) -> None:
            if len(data) == PIECE and link.is_up:
                link.down()
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
            send(data)

        transport._agent.send = go_down  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            transport.put(big)
        transport.close()
        link.up()


def test_a_file_that_two_send_at_once_comes_once(sshd: Sshd, link: Link, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(4 << 20))
    asked, found = threading.Event(), []
    with opened(sshd.device()) as one, opened(sshd.device(port=link.port)) as other:
        send, ask, before = one._agent.send, other._agent.send, link.passed_bytes
        waiting = threading.Thread(target=lambda: found.append(other.put(big)))

        def asking(data: bytes) -> None:
            ask(data)
            asked.set()

        def sending(data: bytes) -> None:
            send(data)
            if not asked.is_set() and partial_of(big, sshd).exists():
                waiting.start()
                assert asked.wait(20)

        one._agent.send, other._agent.send = sending, asking  # type: ignore[method-assign]
        found.append(one.put(big))
        waiting.join(20)
        assert found[0] == found[1]
        assert Path(found[0]).read_bytes() == big.read_bytes()
        assert asked.is_set()
        assert link.passed_bytes - before < 1 << 20


def test_what_is_there_is_not_sent_again(sshd: Sshd, link: Link, tmp_path: Path) -> None:
    one, same = tmp_path / "one", tmp_path / "same"
    one.write_bytes(os.urandom(1 << 20))
    same.write_bytes(one.read_bytes())
    with opened(sshd.device(port=link.port)) as transport:
        first = transport.put(one)
    before = link.passed_bytes
    with opened(sshd.device(port=link.port)) as transport:
        assert transport.put(one) == first
        second = transport.put(same)
    assert link.passed_bytes - before < 1 << 19
    assert Path(second).name == "same"
    assert Path(second).samefile(first), "kept once, by two names"


def test_a_file_that_was_damaged_there_is_sent_again(sshd: Sshd, tmp_path: Path) -> None:
    local = tmp_path / "model.onnx"
    local.write_bytes(os.urandom(1000))
    with opened(sshd.device()) as transport:
        there = Path(transport.put(local))
        there.write_bytes(b"x" * 1000)
    with opened(sshd.device()) as transport:
        assert transport.put(local) == str(there)
    assert there.read_bytes() == local.read_bytes()


def test_signs_of_life_do_not_get_into_a_file(sshd: Sshd, tmp_path: Path) -> None:
    big, back = tmp_path / "big", tmp_path / "back"
    big.write_bytes(os.urandom(2 << 20))
    with opened(sshd.device()) as transport:
        agent, send = transport._agent, transport._agent.send

        def send_and_ping(data: bytes) -> None:
            send(data)
            agent._said_s = 0.0  # as after a long silence
            pinging = threading.Thread(target=agent.ping)
            pinging.start()
            pinging.join()

        agent.send = send_and_ping  # type: ignore[method-assign]
        transport.get(transport.put(big), back)
    assert back.read_bytes() == big.read_bytes()


def test_what_is_left_of_another_file_does_no_harm(sshd: Sshd, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.write_bytes(os.urandom(1000))
    with opened(sshd.device()) as transport:
        there = Path(transport.put(local))
        there.unlink()
        (there.parent / ".partial").write_bytes(b"another")
    with opened(sshd.device()) as transport:
        with pytest.raises(TransportError, match="what came has another hash than was announced"):
            transport.put(local)
        assert Path(transport.put(local)).read_bytes() == local.read_bytes()


def test_a_file_that_changes_while_it_is_sent(sshd: Sshd, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.write_bytes(bytes(1 << 20))
    with opened(sshd.device()) as transport:
        send = transport._agent.send

        def change(data: bytes) -> None:
            local.write_bytes(bytes((1 << 20) - 5))
            send(data)

        transport._agent.send = change  # type: ignore[method-assign]
        with pytest.raises(TransportError, match=r"became shorter while it was sent|another hash than was announced"):
            transport.put(local)
    assert not [path for path in sshd.board.rglob("local") if path.stat().st_size == (1 << 20) - 5]


def test_a_file_is_fetched_whole_or_not_at_all(sshd: Sshd, link: Link, tmp_path: Path) -> None:
    there, here = sshd.home / "there", tmp_path / "here"
    there.write_bytes(os.urandom(4 << 20))
    with opened(sshd.device(port=link.port)) as transport:
        transport.get(str(there), here)
        assert here.read_bytes() == there.read_bytes()
        here.unlink()
        link.cut_after_bytes = link.passed_bytes + (1 << 20)
        with pytest.raises(ConnectionLostError):
            transport.get(str(there), here)
    assert list(tmp_path.glob("*here*")) == []


def test_a_connection_that_ends_while_it_is_told_of_room_is_lost(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever receives also sends, and may be the first to see the end."""

    def recv(channel: object, size: int) -> bytes:
        raise EOFError

    (sshd.home / "there").write_bytes(b"1234")
    with opened(sshd.device()) as transport:
        monkeypatch.setattr("paramiko.Channel.recv", recv)
        with pytest.raises(ConnectionLostError):
            transport.get(str(sshd.home / "there"), tmp_path / "here")
    assert list(tmp_path.glob("*here*")) == []


def test_a_command_ends_with_all_it_started(sshd: Sshd) -> None:
    with opened(sshd.device()) as transport:
        code = "import os, subprocess; subprocess.Popen(['sleep', '1000']); print(os.getpid(), flush=True); input()"
        channel = transport.start([transport.python, "-c", code])
        pid = int(channel.read_line(20) or 0)
        started = [pid, *descendants(pid)]
        assert len(started) == 2
        channel.write_line("leave now, and leave the child")
        assert channel.close() == 0
        assert all(wait_gone(each) for each in started)
        with pytest.raises(TimeoutError, match=r"sh did not end within 0\.3 s"):
            transport.run(["sh", "-c", "sleep 1000 & sleep 1000"], timeout_s=0.3)
    sshd.await_quiet()


def test_streams_that_nobody_reads_hold_nothing_up(sshd: Sshd) -> None:
    with opened(sshd.device()) as transport:
        loud = "import sys; [print('x' * 1000, file=sys.stderr) for _ in range(10_000)]; print('done')"
        done = transport.run([transport.python, "-c", loud], timeout_s=30)
        assert (done.status, done.stdout, len(done.stderr)) == (0, "done\n", 10_010_000)
        channel = transport.start([transport.python, "-c", loud])
        assert channel.read_line(30) == "done"
        assert channel.read_line(30) is None
        assert channel.stderr_tail().endswith("x" * 1000)
        assert channel.close() == 0


def test_a_busy_command_is_told_from_a_silent_board(sshd: Sshd, link: Link) -> None:
    """A command may be silent for longer than a board; a board that is gone is noticed in time."""
    patience = replace(QUICK, silence_s=2.0)
    with opened(sshd.device(port=link.port), patience) as transport:
        channel = transport.start(["sh", "-c", "sleep 2.5; echo awake; sleep 1000"])
        assert channel.read_line(20) == "awake"
        threading.Timer(0.1, link.down).start()
        with pytest.raises(ConnectionLostError, match="nothing was heard for 2 s"):
            channel.read_line(20)
        link.up()


def test_what_others_print_into_the_channel(sshd: Sshd) -> None:
    """A login may leave something running that prints later."""
    with opened(sshd.device()) as transport:
        transport._agent._buffer += b"Low battery\n"
        with pytest.raises(ConnectionLostError, match=r"^pi: the connection was lost \('Low battery' came in between"):
            transport.scratch("out")
        assert transport.lost


def test_a_slow_reader_keeps_its_lease(tmp_path: Path) -> None:
    """Whoever takes a file in takes it out of the board's hands, and need say nothing meanwhile."""
    from profiler.transports import ssh_wire

    file = tmp_path / "file"
    file.write_bytes(bytes(1 << 20))
    command = [sys.executable, "-uc", ssh_wire._BOOT, "token"]
    hello = {"op": "hello", "folder": str(tmp_path), "python": None, "owner": "token", "alone": False, "lease_s": 3.0}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as agent:
        assert agent.stdin is not None
        assert agent.stdout is not None
        agent.stdin.write(ssh_wire._program())
        for request, lines in ((hello, 4), ({"op": "get", "path": str(file)}, 1)):
            agent.stdin.write(json.dumps(request).encode() + b"\n")
            agent.stdin.flush()
            said = [agent.stdout.readline() for _ in range(lines)]
        left = json.loads(said[-1])["size"]
        while left:
            assert not threading.Event().wait(0.25)
            piece = agent.stdout.read(min(left, 1 << 16))
            assert piece, "it gave up"
            left -= len(piece)
        agent.stdin.close()


def test_a_host_behind_another(own_sshd: Callable[..., Sshd], user: Path, tmp_path: Path) -> None:
    """Names, users, keys and the way come from the user's configuration, as for ssh itself."""
    gate, board = own_sshd(), own_sshd()
    (user / ".ssh" / "config").write_text(
        f"Host gate\n HostName 127.0.0.1\n Port {gate.port}\n User root\n IdentityFile {gate.key}\n"
        f"Host board\n HostName 127.0.0.1\n Port {board.port}\n User root\n IdentityFile {board.key}\n"
        " ProxyJump gate\n"
    )
    named = SshDevice(name="pi", kind="ssh", host="board", python=board.device().python)
    with opened(named) as transport:
        assert transport.folder == str(board.board)
        assert len(gate.sessions()) > 0
    with opened(named.model_copy(update={"jump": "none"})) as transport:
        gate.await_quiet()
        assert transport.run(["echo", "direct"], timeout_s=20).stdout == "direct\n"
    with pytest.raises(TransportError, match=r"^pi through 127\.0\.0\.1: nobody-here@.* does not .*~/\.ssh/config$"):
        SshTransport(named.model_copy(update={"jump": "nobody-here@gate"}))
    hosts = user / ".ssh" / "known_hosts"
    hosts.write_text(board.known_host)
    with pytest.raises(TransportError, match=rf"is not known; .* log in there once: ssh -p {gate.port} root@127"):
        SshTransport(named)
    hosts.write_text(board.known_host + gate.known_host)
    known = f"-i {gate.key} -o UserKnownHostsFile={user}/.ssh/known_hosts -p {gate.port}"
    with (user / ".ssh" / "config").open("a") as config:
        config.write(f"Host piped\n HostName 127.0.0.1\n Port {board.port}\n User root\n IdentityFile {board.key}\n")
        config.write(f" ProxyCommand ssh {known} -W %h:%p root@127.0.0.1\n")
    with opened(named.model_copy(update={"host": "piped"})) as transport:
        assert transport.run(["echo", "piped"], timeout_s=20).stdout == "piped\n"
    gate.await_quiet()
    board.stop()
    with pytest.raises(ConnectionLostError, match=rf"does not reach 127\.0\.0\.1:{board.port}"):
        SshTransport(named)


def test_the_keys_of_an_agent(sshd: Sshd, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", address], stdout=subprocess.PIPE) as agent:
        try:
            assert agent.stdout is not None
            agent.stdout.readline()
            monkeypatch.setenv("SSH_AUTH_SOCK", str(address))
            device = sshd.device(key=None)
            with pytest.raises(TransportError, match=r"by the keys of the agent and of ~/\.ssh: wrong user or key"):
                SshTransport(device)
            subprocess.run(["ssh-add", "-q", sshd.key], check=True)
            with opened(device) as transport:
                assert transport.board["machine"]
            named = f"Host 127.0.0.1\n IdentityFile {tmp_path}/elsewhere\n"  # what ssh passes over
            (user / ".ssh" / "config").write_text(named)
            with opened(device) as transport:
                assert transport.board["machine"]
        finally:
            agent.terminate()
