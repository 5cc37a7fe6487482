"""A stand-in for a Raspberry Pi: arm64 Debian behind sshd, its processor emulated. Run this file to have one by hand.

Everything is as on a board but its speed: times taken there are the emulator's and mean nothing.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
OWNER = 1000
_SSHD = """
HostKey /run/board/host_key
AuthorizedKeysFile /run/board/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
PidFile none
SetEnv QEMU_CPU=cortex-a72
"""


@dataclass(frozen=True, slots=True)
class Board:
    """Where it answers, with what key, and its home as seen from here."""

    port: int
    key: Path
    known_hosts: Path
    home: Path
    host: str = "127.0.0.1"
    user: str = "pi"

    def ssh(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command there by OpenSSH's client."""
        options = ("IdentitiesOnly=yes", f"UserKnownHostsFile={self.known_hosts}", "BatchMode=yes")
        words = ["ssh", "-F", "none", "-i", str(self.key), "-p", str(self.port)]
        words += [word for option in options for word in ("-o", option)]
        return subprocess.run(
            [*words, f"{self.user}@{self.host}", *command],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=600,
        )  # fmt: skip


def missing() -> str | None:
    """What this machine lacks for it, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "an emulated board needs Linux and root, for its namespaces"
    if tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < (6, 7):
        return f"an emulated board needs Linux 6.7 for a binfmt_misc of its own, this is {os.uname().release}"
    tools = ("apt-get", "dpkg-deb", "ssh", "ssh-keygen")
    absent = [tool for tool in tools if shutil.which(tool) is None]
    if absent or emulator() is None:
        return f"an emulated board needs {', '.join(absent) or 'qemu-aarch64-static (Debian: qemu-user-static)'}"
    return None


def emulator() -> str | None:
    """The emulator of arm64 programs, linked statically: it must run inside the other root."""
    return shutil.which("qemu-aarch64-static")


@contextmanager
def emulated_board(folder: Path) -> Iterator[Board]:
    """A board with an empty home, below ``folder``; it is gone after the block, and all that ran on it."""
    from boards.arm64_root import root_file_system

    root, home, private = root_file_system(), folder / "home", folder / "sshd"
    home.mkdir(parents=True)
    private.mkdir()
    os.chown(home, OWNER, OWNER)
    keys = {name: folder / name for name in ("host_key", "client_key")}
    for path in keys.values():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    shutil.copy(keys["host_key"], private / "host_key")
    shutil.copy(f"{keys['client_key']}.pub", private / "authorized_keys")
    (private / "config").write_text(_SSHD)
    with socket.create_server(("127.0.0.1", 0)) as listening, (folder / "sshd.log").open("w") as log:
        port = listening.getsockname()[1]
        known_hosts = folder / "known_hosts"
        public = Path(f"{keys['host_key']}.pub").read_text()
        known_hosts.write_text(f"[127.0.0.1]:{port} {public}")
        running = subprocess.Popen(
            [sys.executable, HERE / "arm64_enter.py", root, home, private, str(listening.fileno()), str(emulator())],
            pass_fds=[listening.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        try:
            assert running.stdout is not None
            if running.stdout.readline() != "ready\n":
                raise RuntimeError(f"the emulated board did not start: {(folder / 'sshd.log').read_text().strip()}")
            yield Board(port, keys["client_key"], known_hosts, home)
        finally:
            running.terminate()
            running.wait(30)
            running.stdout.close()


def by_hand(lack: str | None, started: Callable[[Path], AbstractContextManager[Board]]) -> None:
    """Start a board and say how to reach it; Enter or Ctrl-C ends it."""
    if lack is not None:
        sys.exit(lack)
    with tempfile.TemporaryDirectory(prefix="hwnas-board-") as folder, started(Path(folder)) as board:
        print(f"ssh -i {board.key} -o UserKnownHostsFile={board.known_hosts} -p {board.port} pi@127.0.0.1", flush=True)
        try:
            input("Enter ends it: ")
        except (KeyboardInterrupt, EOFError):
            print()


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    by_hand(missing(), emulated_board)
