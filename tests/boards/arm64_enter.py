"""Serves ssh on an inherited socket from inside an arm64 root: python arm64_enter.py ROOT HOME SSHD SOCKET QEMU.

It is a machine of its own as far as Linux allows without one: namespaces for users, mounts, processes and the
name; a network that reaches nothing at all (the socket was opened outside, and only it leads in); a binfmt_misc of
its own (since Linux 6.7), so that nothing is registered on the machine; and what a Raspberry Pi 4 says of its CPU.
Needs root, only the standard library, and ends with whoever started it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

_NEW_USER, _NEW_OTHERS = 0x10000000, 0x00020000 | 0x20000000 | 0x04000000 | 0x40000000  # mount, pid, uts, net
_BIND, _REC, _PRIVATE, _REMOUNT, _READ_ONLY = 4096, 16384, 1 << 18, 32, 1
_DIE_WITH_PARENT = 1
_MAGIC = r"\x7fELF\x02\x01\x01" + r"\x00" * 9 + r"\x02\x00\xb7\x00"
_MASK = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"
_CORE = (
    "processor\t: {}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
)
_BOARD = "Revision\t: c03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Enter, then answer every connection with an sshd of its own."""
    root, home, private = (Path(path) for path in sys.argv[1:4])
    listening, qemu = int(sys.argv[4]), sys.argv[5]
    _enter_user_namespace()
    _check(libc.unshare(_NEW_OTHERS), "unshare")
    inside = os.fork()  # the first process of the new process namespace; all others there end with it
    if inside:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(inside, signal.SIGKILL))
        os.waitpid(inside, 0)
        return
    _check(libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0), "prctl")
    _lay_out(root, home, private, qemu)
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    print("ready", flush=True)
    with socket.socket(fileno=listening) as server:
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                _serve(connection, root)
            connection.close()


def _serve(connection: socket.socket, root: Path) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chroot(root)
    os.chdir("/")
    for descriptor in (0, 1):
        os.dup2(connection.fileno(), descriptor)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "QEMU_CPU": "cortex-a72", "LANG": "C.UTF-8"}
    os.execve("/usr/sbin/sshd", ["/usr/sbin/sshd", "-i", "-e", "-f", "/run/board/config"], environment)


def _enter_user_namespace() -> None:
    """Users keep their numbers: a process that stays outside writes the maps, as only it may."""
    entered, mapped, own = os.pipe(), os.pipe(), os.getpid()
    helper = os.fork()
    if helper == 0:
        os.read(entered[0], 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{own}/{name}").write_text("0 0 65536\n")
        os.write(mapped[1], b".")
        os._exit(0)
    _check(libc.unshare(_NEW_USER), "unshare")
    os.write(entered[1], b".")
    os.waitpid(helper, 0)
    os.setgroups([])
    os.setgid(0)
    os.setuid(0)


def _lay_out(root: Path, home: Path, private: Path, qemu: str) -> None:
    _mount("none", "/", flags=_REC | _PRIVATE)
    _mount("binfmt_misc", "/proc/sys/fs/binfmt_misc", "binfmt_misc")
    Path("/proc/sys/fs/binfmt_misc/register").write_text(f":aarch64:M::{_MAGIC}:{_MASK}:{qemu}:OPF")
    socket.sethostname("raspberrypi")
    _mount(root, root, flags=_BIND | _REC)
    _mount("none", root, flags=_BIND | _REMOUNT | _READ_ONLY)
    _mount(home, root / "home/pi", flags=_BIND)
    for name in ("dev", "sys", "run", "tmp"):
        _mount("tmpfs", root / name, "tmpfs")
    (root / "tmp").chmod(0o1777)
    for name in ("sshd", "board"):
        (root / "run" / name).mkdir()
    _mount(private, root / "run/board", flags=_BIND)
    for name in _DEVICES:
        (root / "dev" / name).touch()
        _mount(f"/dev/{name}", root / "dev" / name, flags=_BIND)
    for name in ("pts", "shm"):
        (root / "dev" / name).mkdir()
    _mount("devpts", root / "dev/pts", "devpts", data="newinstance,ptmxmode=0666,mode=620,gid=5")
    _mount("tmpfs", root / "dev/shm", "tmpfs")
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    _mount("proc", root / "proc", "proc")
    cores = root / "sys/devices/system/cpu"  # ONNX Runtime crashes where the processor's and the host's files disagree
    for core in range(4):
        (cores / f"cpu{core}").mkdir(parents=True)
    for name in ("possible", "present", "online"):
        (cores / name).write_text("0-3\n")
    cpuinfo = root / "run/cpuinfo"
    cpuinfo.write_text("".join(_CORE.format(core) for core in range(4)) + _BOARD)
    _mount(cpuinfo, root / "proc/cpuinfo", flags=_BIND)


def _mount(what: str | Path, where: str | Path, kind: str = "none", flags: int = 0, data: str = "") -> None:
    done = libc.mount(str(what).encode(), str(where).encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    _check(done, f"mount {where}")


def _check(done: int, what: str) -> None:
    if done:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    main()
