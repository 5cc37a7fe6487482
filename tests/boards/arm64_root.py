"""Builds an arm64 Debian root file system out of packages alone, without running any arm64 code; kept in a cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = (
    "base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "hostname", "libc-bin", "libgcc-s1",
    "libgomp1", "libstdc++6", "mawk", "mount", "openssh-server", "procps", "python3", "sed", "tar", "util-linux",
)  # fmt: skip
_UNWANTED = ("systemd-", "libpam-systemd-", "dbus-")
_RECIPE = 1  # raise it when the same packages are to be laid out otherwise
_USERS = ("sshd:*:105:65534::/run/sshd:/usr/sbin/nologin", "pi:*:1000:1000:pi:/home/pi:/bin/bash")
_LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/lib/python3*/test")


def root_file_system(packages: tuple[str, ...] = PACKAGES) -> Path:
    """The root file system's folder, made when first asked for; nobody may write into it.

    Raises RuntimeError with apt's or dpkg's own words.
    """
    made_of = (_RECIPE, _suite(), packages, _UNWANTED, _USERS, _LEFT_OUT)
    key = hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwnas" / "arm64-board"
    base.mkdir(parents=True, exist_ok=True)
    final = base / key
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not final.is_dir():
            partial, apt = base / f"{key}.partial", base / "apt"
            for folder in (partial, apt):
                shutil.rmtree(folder, ignore_errors=True)
            _unpack(_downloaded(apt, packages), partial)
            _finish(partial)
            shutil.rmtree(apt)
            partial.rename(final)
    return final


def _downloaded(folder: Path, packages: tuple[str, ...]) -> list[Path]:
    """The packages and all they need, by apt with this machine's own sources and a state of its own."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    options = {
        "APT::Architecture": "arm64", "APT::Architectures": "arm64", "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "root", "Acquire::Languages": "none", "Dir::State": folder,
        "Dir::State::lists": folder / "lists", "Dir::State::status": folder / "status", "Dir::Cache": folder / "cache",
    }  # fmt: skip
    apt = ["apt-get", "-qq", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    _run([*apt, "update"])
    _run([*apt, "--yes", "--download-only", "install", *packages, *_UNWANTED])
    return sorted((folder / "cache" / "archives").glob("*.deb"))


def _unpack(packages: list[Path], root: Path) -> None:
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    left_out = [f"--exclude=./{name}" for name in _LEFT_OUT]
    for package in packages:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as unpacked:
            _run(["tar", "-x", "--keep-directory-symlink", "-C", str(root), *left_out], stdin=unpacked.stdout)
        if unpacked.returncode:
            raise RuntimeError(f"dpkg-deb cannot unpack {package.name}")


def _finish(root: Path) -> None:
    """What the packages' own scripts would have done, as far as a board behind sshd needs it."""
    for link, target in (("sh", "dash"), ("awk", "mawk")):
        if not (root / "usr/bin" / link).is_symlink():
            (root / "usr/bin" / link).symlink_to(target)
    for name in ("passwd", "group"):
        shutil.copyfile(root / f"usr/share/base-passwd/{name}.master", root / f"etc/{name}")
    with (root / "etc/passwd").open("a") as users, (root / "etc/group").open("a") as groups:
        users.writelines(f"{user}\n" for user in _USERS)
        groups.write("pi:x:1000:\n")
    for name in ("proc", "sys", "dev", "tmp", "run", "root", "home/pi"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/hostname").write_text("raspberrypi\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost raspberrypi\n")
    library = root / f"usr/lib/python3.{sys.version_info.minor}"
    if library.is_dir():  # its byte code is the same on every processor; without it every start takes seconds
        compiler = [sys.executable, "-m", "compileall", "-q", "-s", str(root), "--invalidation-mode", "unchecked-hash"]
        _run([*compiler, str(library)])


def _suite() -> str:
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")


def _run(command: list[str], stdin: object = subprocess.DEVNULL) -> None:
    done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=False)  # type: ignore[call-overload]
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(f"{command[0]}: {words[-1]}")
