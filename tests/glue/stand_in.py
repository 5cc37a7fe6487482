"""An exporter that needs no torch and no time."""

from __future__ import annotations

from pathlib import Path

from exporters import Artifact
from tests.contracts import graphs


class StandInExporter:
    """Writes a small graph for anything, and remembers for what."""

    format, producer = "onnx", "stand-in"

    def __init__(self) -> None:
        self.exported: list[str] = []

    def export(self, module, inputs, path: Path, *, precision: str = "fp32") -> Artifact:
        self.exported.append(type(module).__name__)
        return graphs.linear(path)
