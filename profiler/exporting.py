"""Which exporter makes what a device runs, or an engine estimates; converters in toolchains are started here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters import Exporter
from exporters.artifact import Format
from exporters.tflite import ConversionError, Converter, TfliteExporter
from profiler.errors import ToolchainError
from profiler.toolchain import ToolProcess, get_toolchain

FORMATS: Mapping[str, Format] = {"onnxruntime": "onnx", "litert": "tflite", "ethos-u": "tflite"}
"""What a runtime runs, or an engine reads; an engine that is not named here reads ONNX."""

PRECISIONS: Mapping[str, str] = {"ethos-u": "int8"}
"""What a runtime's artifacts are exported in unless a user says otherwise: fp32 where it is not named here."""

_TOOLCHAIN = "litert-torch"


def format_of(runtime: str) -> Format:
    """The format of the artifacts that ``runtime`` (or engine) takes."""
    return FORMATS.get(runtime, "onnx")


def precision_of(runtime: str) -> str:
    """The precision that ``runtime`` (or engine) takes by default."""
    return PRECISIONS.get(runtime, "fp32")


@contextmanager
def open_exporter(runtime: str) -> Iterator[Exporter]:
    """The exporter for what ``runtime`` (or an engine) takes; a converter it starts ends with the block.

    Exporting raises :class:`ToolchainError` if it needs a toolchain which is not installed.
    """
    if format_of(runtime) == "onnx":
        from exporters.onnx import OnnxExporter

        yield OnnxExporter()
        return
    converter = ToolchainConverter()
    try:
        yield TfliteExporter(converter)
    finally:
        converter.close()


class ToolchainConverter:
    """Implements :class:`exporters.tflite.Converter` by the toolchain litert-torch, started at the first call.

    One that dies (a crash in native code) is started again at the next.
    """

    def __init__(self) -> None:
        toolchain = get_toolchain(_TOOLCHAIN)
        versions = [f"{name}-{toolchain.versions[name]}" for name in (_TOOLCHAIN, "ai-edge-quantizer")]
        script = hashlib.sha256(toolchain.tool.read_bytes()).hexdigest()[:8]
        self.producer = "/".join([*versions, f"tool-{script}"])
        self._process: ToolProcess | None = None

    def convert(
        self,
        program: Path,
        representative: Path,
        inputs: Sequence[str],
        outputs: Sequence[str],
        precision: str,
        target: Path,
        log: Path,
    ) -> Mapping[str, Any]:
        """See :class:`exporters.tflite.Converter`; raises :class:`ToolchainError` if it is not installed."""
        process = self._process or ToolProcess.open(_TOOLCHAIN)
        self._process = process
        try:
            facts: Mapping[str, Any] = process.call(
                "convert",
                program=str(program),
                representative=str(representative),
                inputs=list(inputs),
                outputs=list(outputs),
                precision=precision,
                target=str(target),
                log=str(log.absolute()),
            )
        except ToolchainError as exc:
            self.close()
            raise ConversionError(str(exc)) from exc
        return facts

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.close()


if TYPE_CHECKING:
    _: type[Converter] = ToolchainConverter
