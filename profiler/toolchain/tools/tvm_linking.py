"""Object files to one shared object, for this machine or another."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from tvm_targets import is_foreign

_NATIVE = ("cc", "gcc", "clang", "ld", "ld.lld")
_AARCH64 = ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-ld", "ld.lld")


def link(built: Any, library: Path, target: Any) -> None:
    """Link what was compiled; the code calls nothing but libc's and libm's functions, which Python has loaded.

    Raises ``ValueError`` naming what to install if there is no linker for the target.
    """
    linker = linker_of(target)

    def shared(name: str, objects: list[str], **_: Any) -> None:
        argv = [linker, "-shared", "-o", name, *objects]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise ValueError(
                f"{Path(linker).name} cannot link: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}"
            )

    shared.object_format = "o"  # type: ignore[attr-defined]
    built.export_library(str(library), fcompile=shared)


def linker_of(target: Any) -> str:
    """The first linker there is for a target."""
    foreign = is_foreign(target)
    architecture = str(target.attrs.get("mtriple", "")).split("-")[0]
    names = (_AARCH64 if architecture == "aarch64" else ("ld.lld",)) if foreign else _NATIVE
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    package = "gcc-aarch64-linux-gnu or lld" if foreign else "gcc"
    raise ValueError(
        f"there is no linker for {architecture or 'this machine'} ({', '.join(names)}); apt-get install {package}"
    )
