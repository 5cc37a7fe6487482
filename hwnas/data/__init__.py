"""Real data: tasks to train and measure quality on, made once and loaded by name or folder."""

from __future__ import annotations

from pathlib import Path

from hwnas.data.g2p import Say, load_g2p
from hwnas.data.task import Task
from hwnas.errors import DataError

__all__ = ["load_task"]


def load_task(source: str | Path, folder: Path | None = None, *, say: Say | None = None) -> Task:
    """The task called ``"g2p"``, or the one prepared in the folder ``source`` by ``hwnas data``.

    ``folder`` is where downloaded data are kept (default: the user's cache). ``say`` is told what
    takes time.

    Raises:
        DataError: no such task, or its data cannot be had or are damaged.
    """
    if source == "g2p":
        return load_g2p(folder, say=say)
    from hwnas.data.parallel import load_parallel

    path = Path(source)
    if not path.is_dir():
        raise DataError(f"there is no task {str(source)!r}; give g2p or a folder made by `hwnas data`")
    return load_parallel(path)
