"""An exported graph on disk, with what is needed to prove it: seeded inputs and PyTorch's outputs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from exporters.errors import ArtifactError

Format = Literal["onnx", "tflite", "tvm", "pt2"]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Name, numpy dtype name and shape; a ``str`` in the shape is a dynamic axis."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A graph file plus its reference: an ``.npz`` of ``input/NAME`` and ``output/NAME`` arrays.

    ``tolerance`` is the largest absolute difference from the reference outputs that still
    counts as equal (1e-4 x max(1, largest absolute reference value) in fp32). Parity can thus
    be checked on a device that has no torch. ``streamed_bytes`` are the weights that every call
    reads in whole; a table of which a call takes some rows (an embedding) is not counted.
    """

    path: Path
    format: Format
    precision: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    sha256: str
    size_bytes: int
    producer: str
    reference: Path
    tolerance: float
    streamed_bytes: int

    @property
    def sidecar(self) -> Path:
        """Where :meth:`save` puts the description: ``model.onnx`` -> ``model.onnx.json``."""
        return self.path.with_name(self.path.name + ".json")

    def save(self) -> None:
        """Write the sidecar, atomically; paths in it are relative to it."""
        document = asdict(self) | {"path": self.path.name, "reference": self.reference.name}
        partial = self.sidecar.with_name(self.sidecar.name + ".partial")
        partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.sidecar)

    @classmethod
    def load(cls, path: Path, *, verify: bool = True) -> Artifact:
        """Read the artifact at ``path`` back from its sidecar.

        Raises :class:`ArtifactError` if the graph, sidecar or reference is missing, or (with
        ``verify``) if the graph's content is not the one that was exported.
        """
        sidecar = path.with_name(path.name + ".json")
        try:
            document = json.loads(sidecar.read_text(encoding="utf-8"))
            artifact = cls(
                **document
                | {
                    "path": path,
                    "reference": path.with_name(document["reference"]),
                    "inputs": tuple(_tensor_info(entry) for entry in document["inputs"]),
                    "outputs": tuple(_tensor_info(entry) for entry in document["outputs"]),
                }
            )
        except FileNotFoundError:
            raise ArtifactError(f"{path} has no description {sidecar.name}; export it again") from None
        except (KeyError, TypeError, ValueError) as exc:
            raise ArtifactError(f"{sidecar} is damaged ({exc}); export it again") from exc
        if not path.is_file() or not artifact.reference.is_file():
            raise ArtifactError(f"{path} or its reference is missing; export it again")
        if verify and sha256_of(path) != artifact.sha256:
            raise ArtifactError(f"{path} is not the file that was exported; export it again")
        return artifact


def _tensor_info(entry: dict[str, object]) -> TensorInfo:
    return TensorInfo(str(entry["name"]), str(entry["dtype"]), tuple(entry["shape"]))  # type: ignore[arg-type]


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
