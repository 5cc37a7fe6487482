"""Writes an artifact whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from exporters.errors import ExportError


@contextmanager
def whole(path: Path) -> Iterator[tuple[Path, Path]]:
    """Names beside ``path`` to write to first; whatever goes wrong, only whole results stay."""
    graph = path.with_name(f".{path.name}.{os.getpid()}.partial")
    npz = path.with_name(f".{path.name}.{os.getpid()}.partial.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield graph, npz
    except BaseException as exc:
        sidecar = path.with_name(path.name + ".json")
        if not sidecar.exists():  # an old artifact was not touched yet while it has its sidecar
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if isinstance(exc, OSError):
            raise ExportError(f"cannot write {path}: {exc.strerror}") from exc
        raise
    finally:
        for left in (graph, npz, graph.with_name(graph.name + ".data")):
            with suppress(OSError):
                left.unlink(missing_ok=True)
