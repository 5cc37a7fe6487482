"""What keeps a board from being used: one line that says what to do, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("paramiko", reason="the SSH transport needs hwnas[ssh]")

from ssh.sshd import Sshd, free_port, keygen

from profiler import DeviceBusyError, TransportError
from profiler.hardware import SshDevice
from profiler.transports.ssh import SshTransport
from profiler.transports.ssh_wire import Wire


def refusal(device: SshDevice) -> str:
    with pytest.raises(TransportError) as caught:
        SshTransport(device)
    message = str(caught.value)
    assert message.startswith("pi: ")
    assert "\n" not in message
    return message


@contextmanager
def opened(device: SshDevice) -> Iterator[SshTransport]:
    transport = SshTransport(device)
    try:
        yield transport
    finally:
        transport.close()


def sent_to_the_end_of(send: Callable[[Wire, bytes], None]) -> Callable[[Wire, bytes], None]:
    """``send``, once the far side has closed the channel."""

    def late(wire: Wire, data: bytes) -> None:
        while not wire._channel.closed:
            time.sleep(0.01)
        send(wire, data)

    return late


def test_an_unknown_host(sshd: Sshd, user: Path) -> None:
    (user / ".ssh" / "known_hosts").unlink()
    fingerprint = sshd.fingerprint
    assert refusal(sshd.device()) == (
        f"pi: the host [127.0.0.1]:{sshd.port} is not known; it shows the key {fingerprint} (ssh-ed25519):"
        " compare it with the board's, then run: hwnas devices trust pi"
    )


def test_a_host_key_that_changed(sshd: Sshd, user: Path, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other").with_suffix(".pub").read_text().split()[1]
    kind, ours = sshd.known_host.split()[1:]
    (user / ".ssh" / "known_hosts").write_text(sshd.known_host.replace(ours, other))
    message = refusal(sshd.device())
    assert (
        f"has changed: it was SHA256:{message.partition('SHA256:')[2][:43]}, now {kind} {sshd.fingerprint}" in message
    )
    assert "hwnas devices trust pi" in message


def test_a_key_that_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    key = keygen(tmp_path / "stranger")
    assert f"root@127.0.0.1:{sshd.port} does not let us in by {key}: wrong user or key" in refusal(
        sshd.device(key=str(key))
    )


def test_a_user_that_is_not_there(sshd: Sshd) -> None:
    assert f"nobody-here@127.0.0.1:{sshd.port} does not let us in" in refusal(sshd.device(user="nobody-here"))


def test_a_key_that_is_not_there_or_protected(sshd: Sshd, tmp_path: Path) -> None:
    assert "there is no key /nowhere/key; correct key: in devices.yaml" in refusal(sshd.device(key="/nowhere/key"))
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", locked], check=True)
    assert f"{locked} is protected by a passphrase; give it to the agent: ssh-add {locked}" in refusal(
        sshd.device(key=str(locked))
    )
    (tmp_path / "text").write_text("no key at all\n")
    assert "cannot be used as a private key" in refusal(sshd.device(key=str(tmp_path / "text")))


def test_a_host_that_is_not_there(sshd: Sshd) -> None:
    port = free_port()
    assert refusal(sshd.device(port=port)) == f"pi: 127.0.0.1:{port} cannot be reached: connection refused"
    assert "no host is called 'no-such-host.invalid'" in refusal(sshd.device(host="no-such-host.invalid"))


def test_a_server_that_says_nothing(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from profiler.transports import ssh_connection

    monkeypatch.setattr(ssh_connection, "CONNECT_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert refusal(sshd.device(port=port)) == f"pi: 127.0.0.1:{port} does not answer; is the board on?"


@pytest.mark.parametrize("first", ["the program is sent", "the shell ends"])
def test_no_python(own_sshd: Callable[..., Sshd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    if first == "the shell ends":
        monkeypatch.setattr(Wire, "send", sent_to_the_end_of(Wire.send))
    (tmp_path / "empty").mkdir()
    sshd = own_sshd(environment={"PATH": str(tmp_path / "empty")})
    assert "there is no python3; install Python 3.11 or later there" in refusal(sshd.device(python=None))
    assert "there is no /nowhere/python" in refusal(sshd.device(python="/nowhere/python"))


def test_a_python_of_another_architecture(sshd: Sshd, tmp_path: Path) -> None:
    program = bytearray(Path(sys.executable).resolve().read_bytes()[:4096])
    program[18:20] = b"\x16\x00"  # e_machine: S/390, which nothing here runs
    foreign = tmp_path / "python3"
    foreign.write_bytes(program)
    foreign.chmod(0o755)
    assert f"{foreign} there is no program for that machine (another architecture?)" in refusal(
        sshd.device(python=str(foreign))
    )
    with opened(sshd.device()) as transport, pytest.raises(TransportError, match="another architecture"):
        transport.start([str(foreign)])


def test_a_login_that_prints_and_one_that_ends(own_sshd: Callable[..., Sshd]) -> None:
    sshd = own_sshd()
    profile = sshd.home / ".bashrc"
    profile.write_text("echo Welcome; yes '{\"id\": 1}' | head -c 100000; printf 'no newline'; echo oops >&2\n")
    with opened(sshd.device()) as transport:
        assert transport.run(["echo", "fine"], timeout_s=20).stdout == "fine\n"
    profile.write_text("echo This account is closed; exit 7\n")
    assert "did not start there (exit status 7): This account is closed" in refusal(sshd.device())


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=False)
    if done.returncode:
        reason = f"no file system may be mounted here: {done.stderr.decode().strip()}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk(sshd: Sshd, tmp_path: Path) -> None:
    big = tmp_path / "big model.onnx"
    big.write_bytes(os.urandom(2 << 20))
    board = tmp_path / "board"
    with mounted(board, "size=1m"), opened(sshd.device(folder=str(board))) as transport:
        with pytest.raises(TransportError, match=r"^pi: cannot store big model\.onnx: no space left on device .*make"):
            transport.put(big)
        small = tmp_path / "small"
        small.write_text("still of use")
        assert Path(transport.put(small)).read_text() == "still of use"
        assert [path.name for path in board.glob("files/*/*")] == ["small"]


def test_a_disk_that_fills_up_while_a_file_comes(sshd: Sshd, tmp_path: Path) -> None:
    """The board promised room that was gone when the bytes came."""
    big, board = tmp_path / "big", tmp_path / "board"
    big.write_bytes(os.urandom(24 << 20))
    with mounted(board, "size=32m"), opened(sshd.device(folder=str(board))) as transport:
        send, filler = transport._agent.send, board / "filler"

        def fill(data: bytes) -> None:
            if not filler.exists() and any(board.glob("files/*/.partial")):
                filler.write_bytes(bytes(16 << 20))
            send(data)

        transport._agent.send = fill  # type: ignore[method-assign]
        with pytest.raises(TransportError, match="cannot store big: no space left on device"):
            transport.put(big)
        filler.unlink()
        filler.mkdir()
        assert Path(transport.put(big)).read_bytes() == big.read_bytes()


def test_a_home_that_is_read_only(sshd: Sshd, tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "file"
    file.write_text("x")
    with mounted(home, "ro"), opened(sshd.device(folder=f"{home}/.hwnas")) as transport:
        with pytest.raises(TransportError, match=r"read-only file system \(.*\); put folder: .* below pi in devices"):
            transport.put(file)
        with pytest.raises(TransportError, match="read-only file system"):
            transport.scratch("out")


def test_two_hosts_on_one_board(sshd: Sshd) -> None:
    with opened(sshd.device()) as one, opened(sshd.device()) as other:
        one.lock()
        with pytest.raises(DeviceBusyError, match=r"^pi: \S+@\S+ \(.*\), for 0 min now measures there, and two"):
            other.lock()
        said: list[str] = []

        def told(message: str) -> None:
            said.append(message)
            threading.Thread(target=one.close).start()

        other.lock(told)
        assert len(said) == 1
        assert "waiting for it to end" in said[0]


def test_a_board_that_measures_for_itself(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who works on the board itself and who comes by SSH keep out of each other's way."""
    from profiler.lock import alone_on

    monkeypatch.setenv("HWNAS_LOCKS", str(sshd.folder / "locks"))
    with opened(sshd.device()) as transport:
        with alone_on("localhost"), pytest.raises(DeviceBusyError, match=f"process {os.getpid()} "):
            transport.lock()
        transport.lock()
        with pytest.raises(DeviceBusyError, match=r"localhost: \S+@"), alone_on("localhost"):
            pass


def test_names_with_spaces_and_quotes(own_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    sshd = own_sshd()
    odd = 'it\'s "a" $HOME `ls` \\ & 名.bin'
    python = sshd.folder / "my 'own' python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    device = sshd.device(python=str(python), folder=f"{sshd.home}/a \"b\" 'c'")
    local = tmp_path / odd
    local.write_bytes(b"content")
    with opened(device) as transport:
        there = transport.put(local)
        assert Path(there).name == odd
        assert transport.run(["cat", there], timeout_s=20).stdout == "content"
        assert transport.run([transport.python, "-c", "print(1)"], timeout_s=20).stdout == "1\n"
        with pytest.raises(TransportError, match=r"^pi: cannot get /nowhere: no such file or directory \(/nowhere\)$"):
            transport.get("/nowhere", tmp_path / "back")
        transport.get(there, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b"content"
    (sshd.home / "my 'own' python").symlink_to(python)
    with opened(sshd.device(python="~/my 'own' python")) as transport:
        assert transport.run([transport.python, "-c", "print(2)"], timeout_s=20).stdout == "2\n"
