"""Packs the worker into one file that any Python with numpy and the runtime can start."""

from __future__ import annotations

import zipfile
from pathlib import Path

_FOLDER = Path(__file__).with_name("worker")
_START = "from worker.__main__ import main\n\nmain()\n"
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def pack_worker(folder: Path) -> Path:
    """Write ``folder/worker.pyz``, for ``python -u worker.pyz``, and return its path.

    The same sources give the same bytes, whenever and wherever they are packed, so that a transport
    recognises what it has sent before. Nothing is compressed: starting takes no longer for it.
    """
    path = folder / "worker.pyz"
    sources = {f"worker/{file.name}": file.read_bytes() for file in sorted(_FOLDER.glob("*.py"))}
    with zipfile.ZipFile(path, "w") as archive:
        for name, source in {"__main__.py": _START.encode(), **sources}.items():
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.create_system = 3  # the system this was packed on would be told otherwise
            archive.writestr(entry, source)
    return path
