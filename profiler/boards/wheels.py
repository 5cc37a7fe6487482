"""The packages a runtime needs on a board, downloaded here for the board's processor, C library and Python."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from profiler.boards.look import Board
from profiler.errors import DeviceError

_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Packages:
    """Exactly what is installed for a runtime: nothing else is resolved, for a resolver would look at this machine.

    ``glibc`` is the oldest C library that its wheels were built for. Of a package in ``parts`` only the files that
    match one of its patterns are taken.
    """

    versions: Mapping[str, str]
    glibc: tuple[int, int]
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


RUNTIMES: Mapping[str, Packages] = {
    "onnxruntime": Packages({"onnxruntime": "1.32.0", "numpy": "2.4.6"}, (2, 28)),
    "litert": Packages({"ai-edge-litert": "2.3.0", "numpy": "2.4.6"}, (2, 28)),
    "tvm": Packages(
        {
            "apache-tvm": "0.27.0.post1",
            "apache-tvm-ffi": "0.1.14.post0",
            "numpy": "2.4.6",
            "typing-extensions": "4.16.0",
        },
        (2, 28),
        {
            "apache-tvm": ("tvm/lib/libtvm_runtime.so", "*.dist-info/METADATA"),  # the compiler has 240 MB
            "apache-tvm-ffi": ("tvm_ffi/*.py", "tvm_ffi/*.so", "*.dist-info/METADATA"),
        },
    ),
}
"""By runtime. Each imports what is named here alone, whatever else its wheels ask for; all share one numpy."""


def versions_for(runtimes: Iterable[str], board: Board, name: str) -> dict[str, str]:
    """Package -> version of all ``runtimes`` together; :class:`DeviceError` if the board's C library is too old."""
    versions: dict[str, str] = {}
    for runtime in runtimes:
        if runtime not in RUNTIMES:
            raise DeviceError(f"{name}: {runtime} cannot be set up on a board; known: {', '.join(RUNTIMES)}")
        packages = RUNTIMES[runtime]
        if board.glibc is not None and board.glibc < packages.glibc:
            needed, found = (f"{major}.{minor}" for major, minor in (packages.glibc, board.glibc))
            raise DeviceError(
                f"{name}: its glibc is {found}, and {runtime} needs {needed}; put a newer system on it,"
                " such as Raspberry Pi OS 12 (bookworm)"
            )
        versions |= packages.versions
    return dict(sorted(versions.items()))


def platform_tags(machine: str, glibc: tuple[int, int]) -> list[str]:
    """Every platform that wheels for this board may be tagged with: pip matches none but those it is told."""
    known = [f"manylinux_{glibc[0]}_{minor}_{machine}" for minor in range(glibc[1], 16, -1)]
    return [*known, f"manylinux2014_{machine}", f"linux_{machine}", "any"]


def download(versions: Mapping[str, str], board: Board, cache: Path) -> list[Path]:
    """The wheels, from ``cache`` if they were downloaded before; raises :class:`DeviceError` with pip's own words."""
    assert board.glibc is not None and board.python_version is not None
    pins = [f"{package}=={version}" for package, version in versions.items()]
    tags = platform_tags(board.machine, board.glibc)
    python = "{}.{}".format(*board.python_version)
    parts = [dict(packages.parts) for packages in RUNTIMES.values()]
    key = hashlib.sha256(repr((pins, tags, python, parts)).encode()).hexdigest()[:16]
    final, partial = cache / key, cache / f"{key}.partial"
    if not final.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        abi = f"cp{python.replace('.', '')}"
        words = {"--python-version": [python], "--implementation": ["cp"], "--abi": [abi, "abi3", "none"]}
        options = [
            word
            for name, values in (words | {"--platform": tags}).items()
            for value in values
            for word in (name, value)
        ]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        try:
            done = subprocess.run(
                [*pip, "--no-deps", "--only-binary=:all:", *options, "--dest", str(partial), *pins],
                capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False,
                timeout=_TIMEOUT_S,
            )  # fmt: skip
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
                words_of_pip = errors or done.stderr.splitlines() or [f"pip ended with {done.returncode}"]
                raise DeviceError(f"{', '.join(pins)} cannot be downloaded for {board.machine}: {words_of_pip[0]}")
            for wheel in partial.glob("*.whl"):
                _take_parts(wheel)
            partial.rename(final)
        except subprocess.TimeoutExpired as exc:
            raise DeviceError(f"{', '.join(pins)}: no download within {_TIMEOUT_S / 60:g} min; try again") from exc
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return sorted(final.glob("*.whl"))


def _take_parts(wheel: Path) -> None:
    """Leave only the parts of a wheel that are needed; the names of wheels begin with the package's."""
    name = wheel.name.partition("-")[0].replace("_", "-")
    patterns = next((packages.parts[name] for packages in RUNTIMES.values() if name in packages.parts), None)
    if patterns is None:
        return
    slim = wheel.with_suffix(".slim")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(slim, "w", zipfile.ZIP_DEFLATED) as part:
        for entry in whole.infolist():
            if any(fnmatch(entry.filename, pattern) for pattern in patterns):
                part.writestr(entry, whole.read(entry))
    slim.replace(wheel)


def unpacked_bytes(wheel: Path) -> int:
    """What a wheel takes when it is installed."""
    with zipfile.ZipFile(wheel) as archive:
        return sum(entry.file_size for entry in archive.infolist())
