"""A real OpenSSH server on loopback with its own keys and a clean home; nothing of the system is touched."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from profiler.hardware import SshDevice

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def require_sshd() -> str:
    """The server's path; skips the test where there is none, or it may not be started, but fails in CI."""
    reason = None
    if sys.platform != "linux":
        reason = "these tests look at processes by /proc"
    elif SSHD is None:
        reason = "no sshd here (apt install openssh-server)"
    elif os.geteuid() != 0:
        reason = "sshd needs root here, to make a login session"
    if reason is not None:
        if os.environ.get("CI") and sys.platform == "linux":
            pytest.fail(reason)
        pytest.skip(reason)
    assert SSHD is not None
    return SSHD


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def keygen(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path], check=True)
    return path


@dataclass
class Sshd:
    """A server with a folder of its own: ``home`` is that of whoever logs in, ``board`` their hwnas folder."""

    folder: Path
    settings: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    started_before: bool = False

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True)
        (self.folder / "locks").mkdir()
        keygen(self.folder / "host_key")
        self.key = keygen(self.folder / "client_key")
        (self.folder / "authorized_keys").write_bytes(self.key.with_suffix(".pub").read_bytes())
        self.port = self.port or free_port()

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def board(self) -> Path:
        return self.home / ".hwnas"

    @property
    def known_host(self) -> str:
        kind, key = (self.folder / "host_key.pub").read_text().split()[:2]
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    @property
    def fingerprint(self) -> str:
        command = ["ssh-keygen", "-lf", self.folder / "host_key.pub"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1]

    def start(self) -> Sshd:
        """Start it; at first on another port, if somebody took the one that was free when it was chosen."""
        while not self._listens():
            assert not self.started_before, self.log.read_text()
            self.port = free_port()
        self.started_before = True
        return self

    def _listens(self) -> bool:
        """Whether it came to listen; False if its port was taken meanwhile."""
        server = require_sshd()
        Path("/run/sshd").mkdir(exist_ok=True)
        environment = {
            "HOME": self.home,
            "HWNAS_LOCKS": self.folder / "locks",
            "OMP_NUM_THREADS": "1",
            **self.environment,
        }
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f'HostKey "{self.folder}/host_key"',
            f'AuthorizedKeysFile "{self.folder}/authorized_keys"',
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PrintMotd no",
            "SetEnv " + " ".join(f'"{name}={value}"' for name, value in environment.items()),
            "Subsystem sftp internal-sftp",
            *self.settings,
        ]
        config = self.folder / "sshd_config"
        config.write_text("\n".join(lines) + "\n")
        subprocess.run([server, "-t", "-f", config], check=True)
        self.log = self.folder / "log"
        self.log.write_text("")
        command = [*self.wrapper, server, "-D", "-f", config, "-E", self.log]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while "Server listening on" not in (said := self.log.read_text()):
            if self.process.poll() is not None:
                assert "Address already in use" in said, said
                return False
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
        return True

    def sessions(self) -> list[int]:
        """The server's processes of connections."""
        assert self.process is not None
        return descendants(self.process.pid)

    def started(self) -> dict[int, str]:
        """What runs on the board on behalf of its visitors, by process id."""
        return running_with(f"HWNAS_LOCKS={self.folder}/locks")

    def await_quiet(self, timeout_s: float = 60) -> None:
        """Nothing that visitors started is left, or comes to its end now."""
        deadline = time.monotonic() + timeout_s
        while self.started():
            assert time.monotonic() < deadline, self.started()
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server and all it started."""
        if self.process is not None:
            for pid in [*self.sessions(), self.process.pid]:
                kill(pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def device(self, **changes: object) -> SshDevice:
        """The server as a device."""
        fields: dict[str, object] = {
            "name": "pi",
            "kind": "ssh",
            "host": "127.0.0.1",
            "port": self.port,
            "user": "root",
            "key": str(self.key),
            "python": sys.executable,
        }
        return SshDevice.model_validate({**fields, **changes})


def descendants(pid: int) -> list[int]:
    """Ids of what a process has started, and what those have."""
    found: list[int] = []
    for child in _children(pid):
        found += [child, *descendants(child)]
    return found


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []


def kill(pid: int, how: int) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return


def running_with(mark: str) -> dict[int, str]:
    """Processes that have ``mark`` in their command line or environment, zombies left out."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if re.search(r"^State:\s+Z", (folder / "status").read_text(), re.M):
                continue
            line = (folder / "cmdline").read_bytes()
            if mark.encode() in line + (folder / "environ").read_bytes():
                found[int(folder.name)] = line.replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return found
