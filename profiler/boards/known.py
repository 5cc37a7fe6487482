"""A small graph in each format whose answer is known without any runtime: it proves that one works on a board."""

from __future__ import annotations

from pathlib import Path

from exporters import Artifact
from profiler.exporting import format_of

_FOLDER = Path(__file__).with_name("known")


def known_graph(runtime: str) -> Artifact | None:
    """The graph for a runtime: ``relu(x W + b)`` on whole numbers, so that every runtime gives the same; None if none.

    A format that is compiled for one processor has none.
    """
    path = _FOLDER / f"known.{format_of(runtime)}"
    return Artifact.load(path) if path.is_file() else None
