"""Runs on the board itself, by its own Python: makes the environment, lays out folders, takes all away.

Sent there as it is: the standard library alone, of Python 3.11 or later. The one argument is JSON with ``op``;
the last line of stdout is the answer, JSON too: ``done``, or ``error`` if it failed.

installed    venv                           -> record of the environment there, or null
environment  venv, wheels, record           -> record; wheels are {name, path, sha256}, all pushed before
folder       target, files, executable      -> bytes; files are {name: {path, sha256}}; replaces the target as a whole
write        path, text                     -> nothing
clean        folder                         -> bytes that were freed
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from venv import EnvBuilder

RECORD = "hwnas.json"
PARTIAL, OLD = ".partial", ".old"
KEPT = ("venv", f"venv{PARTIAL}", f"venv{OLD}", "bin", "bundles", "files", "scratch-*", "governor.*")
"""What stands in the folder of hwnas on a board."""


def installed(venv: str) -> Any:
    """What an environment was made of; null if it is not there, or not whole."""
    try:
        record = json.loads((Path(venv) / RECORD).read_text())
    except (OSError, ValueError):
        return None
    return record if os.access(Path(venv) / "bin" / "python", os.X_OK) else None


def environment(venv: str, wheels: Iterable[Mapping[str, str]], record: Mapping[str, object]) -> Any:
    """Unpack wheels into a fresh environment, and put it in place once it is whole."""
    partial = Path(venv + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    # without pip: nothing is downloaded there, and ensurepip may be missing
    EnvBuilder(symlinks=True, with_pip=False).create(partial)
    packages = partial / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for wheel in wheels:
        _require(wheel["path"], wheel["sha256"], wheel["name"])
        with zipfile.ZipFile(wheel["path"]) as archive:
            archive.extractall(packages)
    made = {**record, "python": ".".join(map(str, sys.version_info[:3]))}
    (partial / RECORD).write_text(json.dumps(made, indent=1, sort_keys=True))
    _replace(partial, Path(venv))
    return made


def folder(target: str, files: Mapping[str, Mapping[str, str]], executable: Mapping[str, str]) -> int:
    """A folder of files that were pushed, each looked at again; links where the file system has them."""
    partial = Path(target + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    size = 0
    for name, entry in files.items():
        if Path(name).name != name or name in ("", ".."):
            raise ValueError(f"{name!r} is no name of a file")
        _require(entry["path"], entry["sha256"], name)
        try:
            os.link(entry["path"], partial / name)
        except OSError:
            shutil.copyfile(entry["path"], partial / name)
        size += (partial / name).stat().st_size
    for name, text in executable.items():
        write(str(partial / name), text)
    _replace(partial, Path(target))
    return size


def write(path: str, text: str) -> None:
    """A small program, whole or not there."""
    partial = Path(path + PARTIAL)
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(text)
    partial.chmod(0o755)
    partial.replace(path)


def clean(folder: str) -> int:
    """Delete what hwnas keeps in a folder, and the folder unless somebody else has files there; the bytes freed."""
    freed = 0
    for path in [at for pattern in KEPT for at in Path(folder).glob(pattern)]:
        freed += _size(path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if Path(folder).is_dir() and not any(Path(folder).iterdir()):
        Path(folder).rmdir()
    return freed


def _replace(partial: Path, target: Path) -> None:
    """Put ``partial`` in the place of ``target``; a failure leaves the old one."""
    old = target.with_name(target.name + OLD)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _require(path: str, sha256: str, name: str) -> None:
    with Path(path).open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(f"{name} is not the file that was sent")


def _size(path: Path) -> int:
    """Bytes at or below a path; of a file with several names each has its share."""
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(known.st_size // known.st_nlink for known in map(os.lstat, inside) if not stat.S_ISDIR(known.st_mode))


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "installed": installed,
    "environment": environment,
    "folder": folder,
    "write": write,
    "clean": clean,
}


def main() -> None:
    """Do what the argument says."""
    request = json.loads(sys.argv[1])
    try:
        print(json.dumps({"done": OPERATIONS[request.pop("op")](**request)}))
    except (OSError, ValueError, zipfile.BadZipFile) as exc:
        words = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        print(json.dumps({"error": words, "path": getattr(exc, "filename", None)}))
        sys.exit(1)


if __name__ == "__main__":
    main()
