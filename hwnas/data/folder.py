"""Write a folder completely or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hwnas.errors import DataError


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A fresh folder to fill; it becomes ``path`` when the block ends, and vanishes when the block fails.

    What stood at ``path`` before is replaced only at the end, and comes back if that fails.

    Raises:
        DataError: the file system refuses (no space, no permission, ``path`` is a file).
    """
    scratch: Path | None = None
    old: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        yield scratch
        for file in scratch.rglob("*"):
            if file.is_file():
                _flush(file)
        old = scratch.with_name(f"{scratch.name}.old")
        if path.exists():
            path.rename(old)
        scratch.rename(path)
    except OSError as exc:
        raise DataError(f"cannot write the folder {path}: {exc}; choose another or make room") from exc
    finally:
        if old is not None and old.exists() and not path.exists():
            old.rename(path)
        for left in (scratch, old):
            if left is not None:
                shutil.rmtree(left, ignore_errors=True)


def _flush(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
