"""Export once: artifacts in a folder, found again by what they are made of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.artifact import Artifact
from exporters.errors import ArtifactError
from exporters.protocol import Exporter, GraphInputs

if TYPE_CHECKING:
    from torch import nn


def export_cached(
    key: str,
    build: Callable[[], tuple[nn.Module, GraphInputs]],
    folder: Path,
    exporter: Exporter,
    *,
    precision: str = "fp32",
) -> Artifact:
    """The artifact of ``key`` in ``folder``; ``build`` is called only if there is no intact one.

    ``key`` must name everything the module and its inputs follow from (an operator's spec; a
    model's candidate, weights and workload). What the exporter follows from is added to it, so
    another torch version exports anew. Raises :class:`exporters.ExportError`.
    """
    path = cached_path(key, folder, exporter, precision=precision)
    try:
        return Artifact.load(path)
    except ArtifactError:
        module, inputs = build()
        return exporter.export(module, inputs, path, precision=precision)


def cached_path(key: str, folder: Path, exporter: Exporter, *, precision: str = "fp32") -> Path:
    """Where :func:`export_cached` puts ``key``: a readable stem and a digest that tells keys apart."""
    digest = hashlib.sha256("\n".join([key, exporter.producer, precision]).encode()).hexdigest()[:16]
    stem = re.sub(r"[^A-Za-z0-9=._-]+", "-", key).strip("-.")[:80]
    return folder / f"{stem}-{digest}.{exporter.format}"
