"""Estimates on disk, found again by engine, version, configuration, code, artifact and shapes."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from exporters import Artifact
from profiler.simulators.estimate import Estimate, Estimator, Primitive, Provenance
from profiler.simulators.onnx_shapes import reference_shapes
from profiler.simulators.registry import code_fingerprint


@dataclass(frozen=True, slots=True)
class CachedEstimator:
    """An :class:`Estimator` that asks ``estimator`` once for each artifact."""

    estimator: Estimator
    folder: Path

    @property
    def provenance(self) -> Provenance:
        """The engine's."""
        return self.estimator.provenance

    def estimate(self, artifact: Artifact) -> Estimate:
        """See :class:`Estimator`; a refusal is not kept."""
        path = self.folder / f"{self._key(artifact)}.estimate.json"
        try:
            return _from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or damaged
            estimate = self.estimator.estimate(artifact)
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text(json.dumps(asdict(estimate)), encoding="utf-8")
        partial.replace(path)
        return estimate

    def _key(self, artifact: Artifact) -> str:
        shapes = sorted(reference_shapes(artifact).items())
        content = [self.provenance.as_dict(), code_fingerprint(), artifact.sha256, artifact.precision, shapes]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _from_dict(document: dict[str, object]) -> Estimate:
    fields = dict(document)
    primitives = tuple(Primitive(**entry) for entry in fields.pop("primitives"))  # type: ignore[attr-defined]
    return Estimate(**fields | {"primitives": primitives, "provenance": Provenance(**fields["provenance"])})  # type: ignore[arg-type]
