"""Write a bundle: graphs, vocabularies, runner and a manifest of what was promised and what was proven."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from exporters import Artifact
from exporters.artifact import sha256_of
from exporters.onnx import OnnxExporter
from hwnas import __version__
from hwnas.data.task import Task
from hwnas.decoding import MaxTokens
from hwnas.deploy.verify import DecodingReport
from hwnas.errors import DeployError
from hwnas.families.base import Family, GraphStage
from hwnas.space import Candidate, SearchSpace
from hwnas.workload import Workload

if TYPE_CHECKING:
    from torch import nn

SCHEMA = 1
RUNNER = "hwnas_run.py"


@dataclass(frozen=True, slots=True)
class Promise:
    """What the search promised: limit and prediction in ms on ``target``; ``None`` where nothing was asked."""

    limit_ms: float | None
    predicted_ms: float | None


@dataclass(frozen=True, slots=True)
class Proof:
    """What was seen: latency on the device, parity of every graph, and the decoding compared."""

    target: str
    clock: str
    threads: int
    measured_ms: float
    interval_ms: tuple[float, float]
    rounds: int
    parity: Mapping[str, Mapping[str, float]]
    decoding: DecodingReport
    environment: Mapping[str, object]


def write_graphs(
    family: Family, model: nn.Module, workload: Workload, folder: Path
) -> tuple[tuple[GraphStage, ...], dict[str, Artifact]]:
    """Export a stand-alone model's deployable graphs into ``folder``; the stages say how they run."""
    graphs = family.graphs(model, workload)
    exporter = OnnxExporter()
    artifacts = {
        name: exporter.export(module, inputs, folder / f"{name}.onnx")
        for name, (module, inputs) in graphs.graphs.items()
    }
    return graphs.stages, artifacts


def write_support(task: Task, folder: Path) -> None:
    """The vocabularies and the runner."""
    vocabularies = {"source": task.source_vocabulary.as_dict(), "target": task.target_vocabulary.as_dict()}
    (folder / "vocabulary.json").write_text(json.dumps(vocabularies, ensure_ascii=False), encoding="utf-8")
    here = Path(__file__).parent
    shutil.copyfile(here / "runner.py", folder / RUNNER)
    shutil.copyfile(here.parent / "data" / "vocabulary.py", folder / "hwnas_vocabulary.py")


def write_manifest(
    folder: Path,
    *,
    space: SearchSpace,
    candidate: Candidate,
    workload: Workload,
    task: Task,
    stages: tuple[GraphStage, ...],
    max_tokens: MaxTokens,
    threads: int,
    promise: Promise,
    proof: Proof | None,
    quality: Mapping[str, object] | None,
) -> dict[str, object]:
    """Write ``manifest.json`` over every other file of ``folder``, and return it."""
    files = {
        path.name: {"sha256": sha256_of(path), "size_bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }
    versions = {name: _version(name) for name in ("torch", "onnx", "onnxruntime", "numpy")}
    manifest: dict[str, object] = {
        "schema": SCHEMA,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "family": space.family,
        "space": {"name": space.name, "fingerprint": space.fingerprint},
        "architecture": candidate.as_dict(),
        "task": {"name": task.name, "fingerprint": task.fingerprint},
        "workload": workload.as_dict(),
        "stages": [asdict(stage) for stage in stages],
        "max_tokens": asdict(max_tokens),
        "threads": threads,
        "limit_ms": promise.limit_ms,
        "predicted_ms": promise.predicted_ms,
        "proof": None if proof is None else asdict(proof),
        "quality": quality,
        "versions": {"hwnas": __version__, "python": platform.python_version(), **versions},
        "files": files,
    }
    (folder / "manifest.json").write_text(
        json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return manifest


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A fresh folder that takes the place of ``out`` if the block succeeds, and vanishes if not.

    Raises :class:`DeployError` if ``out`` exists and is no bundle: it is not ours to replace.
    """
    if out.exists() and not (out / "manifest.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise DeployError(f"{out} exists and is no bundle; choose another --out")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if out.exists():
            previous = out.with_name(out.name + ".previous")
            shutil.rmtree(previous, ignore_errors=True)
            out.rename(previous)
            partial.rename(out)
            shutil.rmtree(previous)
        else:
            partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
