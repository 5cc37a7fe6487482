"""A board with a virtual clock: arm64 Debian under qemu, every instruction a nanosecond. Run this file to have one.

What is timed there repeats to a fraction of a per cent, however busy this machine is, and tells how many instructions
something takes: nothing of caches, memory or pipelines, and no board's latency.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boards.arm64_board import Board

HERE = Path(__file__).parent
EMULATOR = "qemu-system-aarch64"
_KERNEL = ("iproute2", "kmod", "linux-image-cloud-arm64", "tiny-initramfs")
_MODULES = (
    "virtio/virtio_ring", "virtio/virtio", "virtio/virtio_pci_modern_dev", "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci", "virtio/virtio_mmio", "net/core/failover", "net/net_failover", "net/virtio_net",
)  # fmt: skip
_SSHD = """
HostKey /board/host_key
AuthorizedKeysFile /board/client_key.pub
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
LoginGraceTime 0
Subsystem sftp internal-sftp
PidFile none
"""
_MEMORY_MIB = 2048
_BOOT_S = 300.0


def missing() -> str | None:
    """What this machine lacks for it, or None."""
    tools = (EMULATOR, "cpio", "apt-get", "dpkg-deb", "setpriv", "ssh", "ssh-keygen")
    absent = [tool for tool in tools if shutil.which(tool) is None]
    if sys.platform != "linux" or absent:
        return f"a board with a virtual clock needs Linux and {', '.join(absent)} (Debian: qemu-system-arm cpio)"
    return None


@contextmanager
def icount_board(folder: Path) -> Iterator[Board]:
    """A freshly booted board, its console in ``folder``; switched off after the block. It has ONNX Runtime already."""
    from boards.arm64_board import Board

    folder.mkdir(parents=True, exist_ok=True)
    made, root = _machine()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    known_hosts, console = folder / "known_hosts", folder / "console.log"
    known_hosts.write_text(f"[127.0.0.1]:{port} {(made / 'host_key.pub').read_text()}")
    console.touch()
    words = ["-M", "virt", "-cpu", "cortex-a72", "-smp", "1", "-m", str(_MEMORY_MIB), "-icount", "shift=0,sleep=on"]
    words += ["-nodefaults", "-nographic", "-serial", f"file:{console}", "-kernel", str(_kernel(root))]
    words += ["-initrd", str(made / "initramfs"), "-append", "console=ttyAMA0 rdinit=/init quiet nokaslr norandmaps"]
    words += ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"]
    words += ["-device", "virtio-net-pci,netdev=net,romfile="]
    running = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", EMULATOR, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        _await_ssh(running, console)
        yield Board(port, made / "client_key", known_hosts, root / "home/pi")
    finally:
        running.kill()
        running.communicate()


def _await_ssh(running: subprocess.Popen[str], console: Path) -> None:
    deadline = time.monotonic() + _BOOT_S
    while "Server listening" not in console.read_text(errors="replace"):
        if running.poll() is not None:
            raise RuntimeError(f"{EMULATOR} ended: {running.communicate()[1].strip()}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the board did not start within {_BOOT_S:g} s: {console.read_text()[-500:]}")
        time.sleep(0.1)


def _machine() -> tuple[Path, Path]:
    """The folder of initramfs and keys, made when first asked for, and the root file system it was made of."""
    from boards.arm64_root import PACKAGES, root_file_system

    from profiler.boards.wheels import RUNTIMES

    root = root_file_system((*PACKAGES, *_KERNEL))
    versions = dict(RUNTIMES["onnxruntime"].versions)
    recipe = repr((root.name, versions, _MODULES, _SSHD)) + (HERE / "icount_init.sh").read_text()
    final = root.with_name(f"{root.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}")
    with (root.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not final.is_dir():
            partial = final.with_name(f"{final.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(mode=0o700)
            for key in ("host_key", "client_key"):
                subprocess.run(
                    ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", partial / key], check=True
                )
            added = partial / "added"
            _lay_out(added, root, partial, versions)
            _archive(
                (root, "-path ./boot -prune -o -path ./usr/lib/modules -prune -o"), (added, ""), partial / "initramfs"
            )
            shutil.rmtree(added)
            partial.rename(final)
    return final, root


def _lay_out(added: Path, root: Path, keys: Path, versions: dict[str, str]) -> None:
    """What the board has beside its packages: first process, modules of the kernel, keys, and the runtime."""
    from profiler.boards.look import Board as Looks
    from profiler.boards.wheels import download

    board = added / "board"
    board.mkdir(parents=True)
    shutil.copy(HERE / "icount_init.sh", added / "init")
    (added / "init").chmod(0o755)
    drivers = next((root / "usr/lib/modules").iterdir()) / "kernel"
    files = [next(drivers.rglob(f"{module}.ko")) for module in _MODULES]
    for file in files:
        shutil.copy(file, board)
    (board / "modules").write_text("".join(f"{file.name}\n" for file in files))
    (board / "sshd_config").write_text(_SSHD)
    for key in ("host_key", "client_key.pub"):
        shutil.copy(keys / key, board)
    packages = added / "usr/lib/python3/dist-packages"
    minor = sys.version_info.minor  # of the system's Python: what stands in the root is of this machine's release
    python = next((root / "usr/lib").glob("python3.*")).name.removeprefix("python")
    looks = Looks("aarch64", 64, (2, 36), "", (3, int(python[2:]), 0), False, "", None, None, None, None)
    for wheel in download(versions, looks, root.parent.parent / "wheels"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    if python == f"3.{minor}":
        command = [sys.executable, "-m", "compileall", "-q", "-s", str(added), "--invalidation-mode", "unchecked-hash"]
        subprocess.run([*command, str(packages)], check=True)


def _archive(whole: tuple[Path, str], added: tuple[Path, str], to: Path) -> None:
    """Both folders as one initramfs: archives one after another, the later one counts."""
    with to.open("wb") as stream:
        for folder, but in (whole, added):
            subprocess.run(
                f"set -e; find . {but} -print0 | cpio --quiet --null -o -H newc -R 0:0",
                shell=True, cwd=folder, stdout=stream, check=True,
            )  # fmt: skip


def _kernel(root: Path) -> Path:
    return next((root / "boot").glob("vmlinuz-*"))


if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]
    from boards.arm64_board import by_hand

    by_hand(missing(), icount_board)
