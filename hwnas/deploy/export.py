"""From a trained SubTransformer to a proven bundle: export, parity, decoding, latency, quality, manifest."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.data.task import Task, require_vocabulary
from hwnas.deploy.bundle import (
    JOURNAL,
    Promise,
    Proof,
    Subject,
    replacing,
    write_graphs,
    write_manifest,
    write_support,
)
from hwnas.deploy.measured import measure_bundle
from hwnas.deploy.verify import DecodingReport, compare_decoding, open_bundle
from hwnas.errors import DeployError
from hwnas.families.base import Family
from hwnas.files import artifact_cache
from hwnas.profiling import Progress, program_of, quietly
from hwnas.space import Candidate, SearchSpace
from hwnas.workload import Workload
from profiler import Device
from profiler.exporting import format_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from hwnas.deploy.runner import Bundle

EXAMPLES = 5
"""Inputs whose answers the manifest tells, so that whoever runs the bundle elsewhere can compare."""


def export_bundle(
    space: SearchSpace,
    family: Family,
    candidate: Candidate,
    model: nn.Module,
    task: Task,
    workload: Workload,
    device: Device,
    promise: Promise,
    out: Path,
    *,
    cache: Path | None = None,
    decoded: int = 500,
    with_quality: bool = True,
    say: Callable[[str], None] = lambda message: None,
    measuring: Progress = quietly,
    waiting: Callable[[str], None] | None = None,
) -> dict[str, object]:
    """Write the bundle of ``model`` to ``out`` and return its manifest.

    Every graph is compared with PyTorch on ``device``, the first ``decoded`` test inputs are
    decoded by the bundle's runner and by PyTorch (with ``workload.beam`` hypotheses; 1 is greedy),
    and the whole decoding loop is timed on ``device`` for ``workload``; the raw samples go with the
    bundle. Raises :class:`profiler.errors.ParityError` or :class:`DeployError` if either comparison
    fails, :class:`WorkloadError` if ``workload`` has another number of output symbols than the
    model. After any failure ``out`` is what it was before. For ``waiting`` see :func:`hwnas.profiling.opened`.
    """
    from hwnas.decoding import MaxTokens

    require_vocabulary(workload, task)
    if format_of(device.runtime) != "onnx":
        raise DeployError(
            f"a bundle holds ONNX graphs, and {device.name} runs {device.runtime};"
            " name a device of devices.yaml with runtime: onnxruntime"
        )
    max_tokens = MaxTokens.for_model(model)
    with replacing(out) as folder:
        say("exporting")
        stages, artifacts = write_graphs(family, model, workload, folder)
        write_support(task, folder)
        subject = Subject(space, candidate, workload, task, stages, artifacts, max_tokens, device.threads, promise)
        write_manifest(folder, subject)
        say(f"measuring on {device.name}")
        measured = measure_bundle(
            candidate.key,
            program_of(stages, artifacts),
            artifacts,
            device,
            folder / JOURNAL,
            workload=workload.as_dict(),
            about={"space": space.name, "fingerprint": space.fingerprint},
            meta={"role": "bundle", "candidate": candidate.as_dict()},
            cache=cache or artifact_cache(),
            measuring=measuring,
            waiting=waiting,
        )
        errors = [max(entry[which] for entry in measured.parity.values()) for which in ("max_abs_error", "tolerance")]
        bundle = open_bundle(folder)
        decoding = _decoded_alike(bundle, model, task, decoded, errors, say)
        quality = None
        if with_quality:
            say("scoring the test split")
            quality = _quality(model, family, task, workload.beam)
        proof = Proof(decoding=decoding, **measured.as_dict())  # type: ignore[arg-type]
        return write_manifest(folder, subject, proof=proof, quality=quality, examples=_examples(bundle, task))


def _decoded_alike(
    bundle: Bundle, model: nn.Module, task: Task, number: int, errors: Sequence[float], say: Callable[[str], None]
) -> DecodingReport:
    """Decode with both; what the first of ``errors`` does not explain may be explained by the next, larger one.

    The parity error was seen on one input; over thousands of steps it may be exceeded, up to the
    tolerance. The report says which was needed.
    """
    taken = [text for text in task.references["test"] if bundle.takes(bundle.source.encode(text))]
    sources = taken[:: max(1, len(taken) // number)][:number]
    say(f"decoding {len(sources)} test inputs with the bundle and with PyTorch")
    for error in errors:
        report = compare_decoding(bundle, model, task, sources, error)
        if not report.different:
            break
    else:
        raise DeployError(
            f"the bundle decodes {report.different} of {report.inputs} inputs otherwise than PyTorch,"
            f" e.g. {'; '.join(report.examples)}; it is not written"
        )
    return report


def _examples(bundle: Bundle, task: Task) -> dict[str, str]:
    """Some inputs of the test split that the bundle takes, and what it answers to each."""
    from hwnas.deploy.runner import BundleError

    found: dict[str, str] = {}
    texts = list(task.references["test"])
    for text in texts[:: max(1, len(texts) // EXAMPLES)][:EXAMPLES]:
        with suppress(BundleError):
            found[text] = bundle(text)
    return found


def _quality(model: nn.Module, family: Family, task: Task, beam: int) -> dict[str, object]:
    """The task's metric on the whole test split, by PyTorch, decoded as the bundle does."""
    from hwnas.evaluation import quality_of

    measured = quality_of(model, family, task, "test", beam=beam)
    return {**measured, "split": "test", "decoder": "greedy" if beam == 1 else f"beam of {beam}", "by": "PyTorch"}
