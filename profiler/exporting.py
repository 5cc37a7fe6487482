"""Which exporter makes what a device runs, or an engine estimates; converters in toolchains are started here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters import Exporter
from exporters.artifact import Format
from exporters.tflite import ConversionError, Converter, TfliteExporter
from exporters.tvm import CompilationError, Compiler, TvmExporter
from profiler.errors import DeviceError, ToolchainError, ToolRefusalError
from profiler.hardware import HardwareDevice, SshDevice
from profiler.toolchain import ToolProcess, get_toolchain
from profiler.toolchain.place import tuned_file

if TYPE_CHECKING:
    from profiler.devices import Device

FORMATS: Mapping[str, Format] = {
    "onnxruntime": "onnx",
    "litert": "tflite",
    "tflite": "tflite",
    "tvm": "tvm",
    "torch": "pt2",
    "ethos-u": "tflite",
}
"""What a runtime runs, or an engine reads; an engine that is not named here reads ONNX."""

RUNTIMES: Mapping[str, str] = {"onnx": "onnxruntime", "tflite": "litert", "tvm": "tvm"}
"""The runtime that a format of bundles is made for first."""

FIXED_SHAPES: frozenset[Format] = frozenset({"tflite", "tvm", "pt2"})
"""Formats whose graphs have fixed shapes alone."""

PRECISIONS: Mapping[str, str] = {"ethos-u": "int8"}
"""What a runtime's artifacts are exported in unless a user says otherwise: fp32 where it is not named here."""

_CONVERTER, _COMPILER = "litert-torch", "tvm"


def format_of(runtime: str) -> Format:
    """The format of the artifacts that ``runtime`` (or engine) takes."""
    return FORMATS.get(runtime, "onnx")


def precisions_of(form: str) -> tuple[str, ...]:
    """What a format can be exported in, fp32 first."""
    from exporters import onnx, pt2, tflite, tvm

    formats = {
        "onnx": onnx.PRECISIONS, "tflite": tflite.PRECISIONS, "tvm": tvm.PRECISIONS, "pt2": pt2.PRECISIONS
    }  # fmt: skip
    return formats[form]


def precision_of(runtime: str) -> str:
    """The precision that ``runtime`` (or engine) takes by default."""
    return PRECISIONS.get(runtime, "fp32")


@contextmanager
def open_exporter(runtime: str, target: str = "native", *, tuned: bool = True) -> Iterator[Exporter]:
    """The exporter for what ``runtime`` (or an engine) takes; a converter or compiler it starts ends with the block.

    ``target`` is what a compiler compiles for: this machine's processor, or another by TVM's name
    (``raspberry-pi/4b-aarch64``); ``tuned`` lets it use what tuning found. Raises :class:`ToolchainError`, now or
    when something is exported, if a toolchain that is needed is not installed.
    """
    if format_of(runtime) == "onnx":
        from exporters.onnx import OnnxExporter

        yield OnnxExporter()
        return
    if format_of(runtime) == "pt2":
        from exporters.pt2 import Pt2Exporter

        yield Pt2Exporter()
        return
    if format_of(runtime) == "tvm":
        with closing(ToolchainCompiler(target, tuned=tuned)) as compiler:
            yield TvmExporter(compiler)
        return
    converter = ToolchainConverter()
    try:
        yield TfliteExporter(converter, by_tensor=runtime == "tflite")
    finally:
        converter.close()


def exporter_for(device: Device) -> AbstractContextManager[Exporter]:
    """The exporter for what runs on a device; a compiler compiles for its processor, not for this machine's."""
    target = device.tvm_target if isinstance(device, SshDevice) else None
    if isinstance(device, SshDevice) and device.runtime == "tvm" and target is None:  # one of another runtime, changed
        raise DeviceError(
            f"{device.name} does not say what to compile for; put tvm_target: below it in devices.yaml, e.g."
            " raspberry-pi/4b-aarch64"
        )
    if isinstance(device, HardwareDevice) and device.provider == "cuda":
        target = "cuda"
    return open_exporter(device.runtime, target or "native")


class ToolchainConverter:
    """Implements :class:`exporters.tflite.Converter` by the toolchain litert-torch, started at the first call.

    One that dies (a crash in native code) is started again at the next.
    """

    def __init__(self) -> None:
        toolchain = get_toolchain(_CONVERTER)
        versions = [f"{name}-{toolchain.versions[name]}" for name in (_CONVERTER, "ai-edge-quantizer")]
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
        process = self._process or ToolProcess.open(_CONVERTER)
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


class ToolchainCompiler:
    """Implements :class:`exporters.tvm.Compiler` by the toolchain tvm, started at once: it alone knows the target.

    One that dies (a crash in native code) is started again at the next call.
    """

    def __init__(self, target: str = "native", *, tuned: bool = True) -> None:
        toolchain = get_toolchain(_COMPILER)
        self._target = target
        self._records = str(tuned_file()) if tuned else ""
        self._process: ToolProcess | None = ToolProcess.open(_COMPILER)
        try:
            described = self._process.call("describe", target=target, records=self._records)
        except BaseException:
            self.close()
            raise
        scripts = hashlib.sha256()
        for script in sorted(toolchain.tool.parent.glob("tvm_*.py")):
            scripts.update(script.read_bytes())
        version = toolchain.versions["apache-tvm"]
        parts = [f"tvm-{version}", described["name"], f"schedules-{scripts.hexdigest()[:8]}"]
        self.producer = "/".join(parts + [f"tuned-{described['tuned']}"] * bool(described["tuned"]))

    def compile(self, graph: Path, library: Path, precision: str, log: Path) -> Mapping[str, Any]:
        """See :class:`exporters.tvm.Compiler`; raises :class:`ToolchainError` if it is not installed any more."""
        process = self._process or ToolProcess.open(_COMPILER)
        self._process = process
        try:
            facts: Mapping[str, Any] = process.call(
                "compile_graph",
                graph=str(graph.absolute()),
                library=str(library.absolute()),
                log=str(log.absolute()),
                precision=precision,
                target=self._target,
                records=self._records,
            )
        except ToolRefusalError as exc:
            raise CompilationError(str(exc)) from exc
        except ToolchainError as exc:
            self.close()
            raise CompilationError(str(exc)) from exc
        return facts

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.close()


if TYPE_CHECKING:
    _: tuple[type[Converter], type[Compiler]] = (ToolchainConverter, ToolchainCompiler)
