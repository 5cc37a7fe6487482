"""PyTorch module -> checked TFLite file, through a converter that runs in an environment of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from exporters.artifact import Artifact, Format, TensorInfo, sha256_of
from exporters.errors import ExportError
from exporters.protocol import Exporter, GraphInputs, refuse_mixed
from exporters.reference import Arrays, arrays_of, reference_of, refuse_twins, tolerance_of
from exporters.traced import save, traced
from exporters.whole import whole

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic")
"""``int8``: weights and activations, inputs and outputs too, by ranges seen on representative inputs.
``int8-dynamic``: weights in int8, activations quantised at run time, inputs and outputs in fp32.
``fp16``: weights in float16, which the runtime widens when it loads them; all else in fp32."""


class ConversionError(Exception):
    """What the converter says went wrong, in one line."""


class Converter(Protocol):
    """Turns a saved program of ``torch.export`` into a TFLite file; see ``litert_torch_tool.convert``."""

    @property
    def producer(self) -> str:
        """The converter's and the quantiser's names and versions."""
        ...

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
        """Write ``target``, its tensors named so, and say what is in it; raises :class:`ConversionError`."""
        ...


@dataclass(frozen=True, slots=True)
class TfliteExporter:
    """Exports graphs of fixed shapes, those of the example inputs: ``GraphInputs.dynamic`` is left out of account.

    Inputs of int64 become int32. The reference stays in PyTorch's types, as real numbers: who runs
    the file quantises what goes in and turns back what comes out.
    """

    converter: Converter
    by_tensor: bool = False
    """``int8-dynamic`` has one scale a weight, not one a channel: what TensorFlow Lite up to 2.14 needs."""

    @property
    def format(self) -> Format:
        """``tflite``."""
        return "tflite"

    @property
    def producer(self) -> str:
        """torch's version, which traces the module, and the converter's."""
        from importlib import metadata

        scales = "/by-tensor" if self.by_tensor else ""
        return f"torch-{metadata.version('torch')}/{self.converter.producer}{scales}"

    def export(self, module: nn.Module, inputs: GraphInputs, path: Path, *, precision: str = "fp32") -> Artifact:
        """Write ``module`` to ``path``, with ``PATH.npz`` (reference) and ``PATH.json`` (sidecar).

        Raises :class:`ExportError` if the precision is not supported, torch cannot trace the module,
        two of its weight matrices hold equal values, the disk is full, or the converter fails; what
        that printed is then kept in ``PATH.log``.
        """
        if precision not in PRECISIONS:
            raise ExportError(
                f"{path.name}: precision {precision!r} is not supported; supported: {', '.join(PRECISIONS)}"
            )
        refuse_mixed(inputs, path.name)
        module.eval()
        refuse_twins(module, path.name)
        reference = reference_of(module, inputs, path.name)
        with whole(path) as (graph, npz), tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
            program, representative = Path(folder) / "program.pt2", Path(folder) / "representative.npz"
            save(traced(module, inputs, path.name), program)
            np.savez(representative, **_representative(inputs, path.name))  # type: ignore[arg-type]
            facts = self._convert(module, inputs, precision, program, representative, graph, path)
            np.savez(npz, **reference)  # type: ignore[arg-type]
            artifact = Artifact(
                path=path,
                format=self.format,
                precision=precision,
                inputs=_tensors(facts["inputs"]),
                outputs=_tensors(facts["outputs"]),
                sha256=sha256_of(graph),
                size_bytes=graph.stat().st_size,
                producer=self.producer,
                reference=path.with_name(path.name + ".npz"),
                tolerance=tolerance_of(reference, precision),
                streamed_bytes=int(facts["streamed_bytes"]),
            )
            artifact.sidecar.unlink(missing_ok=True)
            npz.replace(artifact.reference)
            graph.replace(path)
            artifact.save()
        return artifact

    def _convert(
        self,
        module: nn.Module,
        inputs: GraphInputs,
        precision: str,
        program: Path,
        representative: Path,
        graph: Path,
        path: Path,
    ) -> Mapping[str, Any]:
        log = path.with_name(path.name + ".log")
        if self.by_tensor and precision == "int8-dynamic":
            precision = "int8-dynamic-by-tensor"
        try:
            facts = self.converter.convert(
                program, representative, tuple(inputs.tensors), inputs.outputs, precision, graph, log
            )
        except ConversionError as exc:
            where = f"; all it printed is in {log}" if log.is_file() else ""
            raise ExportError(f"{path.name}: {type(module).__name__} was not converted: {exc}{where}") from exc
        with suppress(OSError):
            log.unlink(missing_ok=True)  # of an earlier failure
        foreign = sorted(name for name in facts["operators"] if name.startswith("custom "))
        if foreign:
            raise ExportError(f"{path.name}: the graph needs {', '.join(foreign)}, which plain LiteRT does not have")
        return facts


def _representative(inputs: GraphInputs, name: str) -> Arrays:
    """``NUMBER/NAME``: the reference inputs are always seen, for parity is checked on them."""
    samples = (inputs.tensors, *inputs.representative)
    for sample in inputs.representative:
        for key, tensor in inputs.tensors.items():
            if key not in sample or sample[key].shape != tensor.shape:
                found = f"shape {tuple(sample[key].shape)}" if key in sample else "nothing"
                raise ExportError(
                    f"{name}: representative input {key} must have the shape {tuple(tensor.shape)}, not {found}"
                )
    return {
        f"{number}/{key}": array for number, sample in enumerate(samples) for key, array in arrays_of(sample).items()
    }


def _tensors(entries: Sequence[Mapping[str, Any]]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(entry["name"], entry["dtype"], tuple(entry["shape"])) for entry in entries)


if TYPE_CHECKING:
    _: type[Exporter] = TfliteExporter
