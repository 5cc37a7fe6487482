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
from typing import Any

from exporters import Artifact, Exporter
from exporters.artifact import sha256_of
from hwnas import __version__
from hwnas.data.task import Task
from hwnas.decoding import MaxTokens
from hwnas.deploy.verify import DecodingReport
from hwnas.errors import DeployError
from hwnas.families.base import GraphStage, ModelGraphs
from hwnas.files import write_text
from hwnas.space import Candidate, SearchSpace
from hwnas.workload import Workload
from profiler.interval import Status

SCHEMA = 1
MANIFEST, RUNNER, JOURNAL = "manifest.json", "hwnas_run.py", "measured.journal.jsonl"
DEPLOYED = "deployed.{device}.journal.jsonl"


@dataclass(frozen=True, slots=True)
class Promise:
    """What the search promised: limit and prediction in ms; ``None`` where nothing was asked.

    ``predicted_for`` is the target whose table the prediction is from.
    """

    limit_ms: float | None = None
    predicted_ms: float | None = None
    predicted_for: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What a bundle is of: the candidate, what is asked of it, and how it is decoded.

    The runner searches with ``workload.beam`` hypotheses (1: greedy), as hwnas.decoding does.
    """

    space: SearchSpace
    candidate: Candidate
    workload: Workload
    task: Task
    stages: tuple[GraphStage, ...]
    artifacts: Mapping[str, Artifact]
    max_tokens: MaxTokens
    threads: int
    promise: Promise
    length_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Proof:
    """What was seen: latency on the device, how far it can be trusted, parity of every graph, decoding compared."""

    target: str
    clock: str
    threads: int
    measured_ms: float
    interval_ms: tuple[float, float]
    rounds: int
    status: Status
    parity: Mapping[str, Mapping[str, float]]
    decoding: DecodingReport
    environment: Mapping[str, object]


def write_graphs(graphs: ModelGraphs, folder: Path, exporter: Exporter, precision: str) -> dict[str, Artifact]:
    """Export a model's deployable graphs into ``folder``."""
    return {
        name: exporter.export(module, inputs, folder / f"{name}.{exporter.format}", precision=precision)
        for name, (module, inputs) in graphs.graphs.items()
    }


def write_support(task: Task, folder: Path) -> None:
    """The vocabularies and the runner."""
    vocabularies = {"source": task.source_vocabulary.as_dict(), "target": task.target_vocabulary.as_dict()}
    (folder / "vocabulary.json").write_text(json.dumps(vocabularies, ensure_ascii=False), encoding="utf-8")
    here = Path(__file__).parent
    shutil.copyfile(here / "runner.py", folder / RUNNER)
    shutil.copyfile(here / "graphs.py", folder / "hwnas_graphs.py")
    shutil.copyfile(here.parent / "data" / "vocabulary.py", folder / "hwnas_vocabulary.py")


def write_manifest(
    folder: Path,
    subject: Subject,
    *,
    proof: Proof | None = None,
    quality: Mapping[str, object] | None = None,
    quality_change: Mapping[str, object] | None = None,
    examples: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Write ``manifest.json`` over every other file of ``folder``, and return it."""
    versions = {name: _version(name) for name in ("torch", "onnx", "onnxruntime", "numpy")}
    space, task, promise = subject.space, subject.task, subject.promise
    manifest: dict[str, object] = {
        "schema": SCHEMA,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "format": next(artifact.format for artifact in subject.artifacts.values()),
        "precision": max((artifact.precision for artifact in subject.artifacts.values()), key=lambda p: p != "fp32"),
        "family": space.family,
        "space": {"name": space.name, "fingerprint": space.fingerprint},
        "architecture": subject.candidate.as_dict(),
        "task": {"name": task.name, "fingerprint": task.fingerprint, "metric": task.metric},
        "workload": subject.workload.as_dict(),
        "stages": [asdict(stage) for stage in subject.stages],
        "graphs": {
            name: {
                "inputs": [asdict(tensor) for tensor in artifact.inputs],
                "outputs": [asdict(tensor) for tensor in artifact.outputs],
            }
            for name, artifact in subject.artifacts.items()
        },
        "decoding": {"beam": subject.workload.beam, "length_penalty": subject.length_penalty},
        "max_tokens": asdict(subject.max_tokens),
        "threads": subject.threads,
        "limit_ms": promise.limit_ms,
        "predicted_ms": promise.predicted_ms,
        "predicted_for": promise.predicted_for,
        "proof": None if proof is None else asdict(proof),
        "quality": quality,
        "quality_change": quality_change,
        "examples": examples,
        "versions": {"hwnas": __version__, "python": platform.python_version(), **versions},
        "files": _files_in(folder),
    }
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return manifest


def add_deployment(folder: Path, device: str, seen: Mapping[str, object], journal: Path | None) -> dict[str, object]:
    """Add to the manifest what was seen on ``device``, in place of what stood there; and its journal, if any.

    Returns the manifest. The bundle's other files stay what they are.
    """
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    name = DEPLOYED.format(device=device)
    if journal is not None:
        shutil.copyfile(journal, folder / name)
    else:
        (folder / name).unlink(missing_ok=True)
    manifest["deployments"] = {**(manifest.get("deployments") or {}), device: dict(seen)}
    kept = {*manifest["files"], name}
    manifest["files"] = {path: entry for path, entry in _files_in(folder).items() if path in kept}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return manifest


def _files_in(folder: Path) -> dict[str, dict[str, object]]:
    return {
        path.name: {"sha256": sha256_of(path), "size_bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A fresh folder that takes the place of ``out`` if the block succeeds, and vanishes if not.

    What an export killed outright left beside ``out`` is cleared, and an old bundle it had put
    aside comes back. Raises :class:`DeployError` if ``out`` exists and is no bundle, or has files
    in it that are not the bundle's: they are not ours to replace.
    """
    partial, previous = (out.with_name(f".{out.name}.{what}") for what in ("partial", "previous"))
    if previous.is_dir() and not out.exists():
        previous.rename(out)
    refuse_what_is_no_bundle(out)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if out.exists():
            shutil.rmtree(previous, ignore_errors=True)
            out.rename(previous)
        partial.rename(out)
    finally:
        if previous.is_dir() and not out.exists():
            previous.rename(out)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)


def refuse_what_is_no_bundle(out: Path) -> None:
    """Raises :class:`DeployError` if something is at ``out`` that an export may not replace."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / MANIFEST).is_file() or not (out / RUNNER).is_file():
        raise DeployError(f"{out} exists and is no bundle; choose another --out")
    try:
        files = set(json.loads((out / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (ValueError, KeyError, TypeError) as exc:
        raise DeployError(f"{out / MANIFEST} is damaged; remove {out}, or choose another --out") from exc
    others = sorted({path.name for path in out.iterdir()} - files - {MANIFEST, "__pycache__"})
    if others:
        raise DeployError(f"{out} holds {others[0]!r}, which is not of the bundle; move it, or choose another --out")
