"""From a trained SubTransformer to a proven bundle: export, parity, decoding, latency, quality, manifest."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.data.task import Task, require_vocabulary
from hwnas.decoding import MaxTokens
from hwnas.deploy.board import opened_where_it_runs
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
from hwnas.deploy.calibration import on_real_data
from hwnas.deploy.measured import measure_bundle
from hwnas.deploy.verify import Comparison, compare_decoding
from hwnas.errors import DeployError
from hwnas.families.base import Family
from hwnas.families.deployed import as_deployed, own_family
from hwnas.profiling import Progress, program_of, quietly
from hwnas.space import Candidate, SearchSpace
from hwnas.workload import Workload
from profiler import Device
from profiler.exporting import FIXED_SHAPES, exporter_for, format_of

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
    precision: str = "fp32",
    decoded: int = 500,
    with_quality: bool = True,
    quality: dict[str, object] | None = None,
    say: Callable[[str], None] = lambda message: None,
    measuring: Progress = quietly,
    waiting: Callable[[str], None] | None = None,
) -> dict[str, object]:
    """Write the bundle of ``model`` to ``out``, in the format ``device`` runs, and return its manifest.

    Every graph is compared with PyTorch on ``device``, the first ``decoded`` test inputs are
    decoded by the bundle's runner and by PyTorch (with ``workload.beam`` hypotheses; 1 is greedy),
    and the whole decoding loop is timed on ``device`` for ``workload``; the raw samples go with the
    bundle. Raises :class:`profiler.errors.ParityError` or :class:`DeployError` if either comparison
    fails, :class:`WorkloadError` if ``workload`` has another number of output symbols than the
    model. In another ``precision`` than fp32, or where the candidate has precisions of its own, answers may
    differ: what that costs in the task's metric is told, and ranges are taken from answers to training inputs.
    ``quality`` is filled if it is empty, and told: other bundles of the same model need not be scored again. After
    any failure ``out`` is what it was before. For ``waiting`` see :func:`hwnas.profiling.opened`.
    """
    require_vocabulary(workload, task)
    deployed = as_deployed(own_family(family), device.runtime, precision)
    fixed = format_of(device.runtime) in FIXED_SHAPES
    if fixed and workload.batch > 1:
        raise DeployError(f"a bundle answers one input at a time, not {workload.batch}; export it with --batch 1")
    max_tokens = MaxTokens.for_model(model)
    if fixed:
        max_tokens = replace(max_tokens, limit=workload.target_tokens)
    with replacing(out) as folder, exporter_for(device) as exporter:
        graphs, sentences = deployed.graphs(model, workload), 0
        mixed = any(inputs.precisions for _, inputs in graphs.graphs.values())
        exact = precision == "fp32" and not mixed
        say(f"exporting {exporter.format} in {'mixed precision' if mixed else precision}")
        if not exact:
            calibrated = on_real_data(graphs, task, workload, max_tokens)
            graphs, sentences = calibrated.graphs, calibrated.sentences
        artifacts = write_graphs(graphs, folder, exporter, precision)
        write_support(task, folder)
        subject = Subject(
            space, candidate, workload, task, graphs.stages, artifacts, max_tokens, device.threads, promise
        )
        write_manifest(folder, subject)
        say(f"measuring on {device.name}")
        measured = measure_bundle(
            candidate.key,
            program_of(graphs.stages, artifacts),
            artifacts,
            device,
            folder / JOURNAL,
            workload=workload.as_dict(),
            about={"space": space.name, "fingerprint": space.fingerprint},
            meta={"role": "bundle", "candidate": candidate.as_dict()},
            measuring=measuring,
            waiting=waiting,
        )
        errors = [max(entry[which] for entry in measured.parity.values()) for which in ("max_abs_error", "tolerance")]
        with opened_where_it_runs(folder, device, waiting) as bundle:
            compared = _decoded_alike(bundle, model, task, decoded, errors, exact, say)
            examples = _examples(bundle, task)
        change = None if exact else _change(task, compared) | {"calibrated_on": sentences}
        if with_quality and not quality:
            say("scoring the test split")
            quality = {} if quality is None else quality
            quality |= _quality(model, family, task, workload.beam)
        proof = Proof(decoding=compared.report, **measured.as_dict())  # type: ignore[arg-type]
        return write_manifest(folder, subject, proof=proof, quality=quality, quality_change=change, examples=examples)


def _decoded_alike(
    bundle: Bundle,
    model: nn.Module,
    task: Task,
    number: int,
    errors: Sequence[float],
    exact: bool,
    say: Callable[[str], None],
) -> Comparison:
    """Decode with both; what the first of ``errors`` does not explain may be explained by the next, larger one.

    The parity error was seen on one input; over thousands of steps it may be exceeded, up to the
    tolerance. The report says which was needed. All must be explained if the bundle is ``exact``, in fp32.
    """
    taken = [text for text in task.references["test"] if bundle.takes(bundle.source.encode(text))]
    if not taken:
        raise DeployError(
            f"no test input has at most the {bundle.longest} tokens that this bundle takes;"
            " export it with more --source-tokens and --target-tokens"
        )
    sources = taken[:: max(1, len(taken) // number)][:number]
    say(f"decoding {len(sources)} test inputs with the bundle and with PyTorch")
    for error in errors if exact else errors[:1]:
        compared = compare_decoding(bundle, model, task, sources, error)
        if not compared.report.different:
            break
    if compared.report.different and exact:
        report = compared.report
        raise DeployError(
            f"the bundle decodes {report.different} of {report.inputs} inputs otherwise than PyTorch,"
            f" e.g. {'; '.join(report.examples)}; it is not written"
        )
    return compared


def _change(task: Task, compared: Comparison) -> dict[str, object]:
    """The task's metric on the same inputs, by PyTorch in fp32 and by the bundle."""
    from hwnas.evaluation import scores

    references = [task.references["test"][source] for source in compared.sources]
    found = {
        who: scores(task, [task.target_vocabulary.decode(ids) for ids in answers], references)
        for who, answers in (("by_pytorch", compared.wanted), ("by_bundle", compared.given))
    }
    return {"split": "test", "inputs": len(references), **found}


def _examples(bundle: Bundle, task: Task) -> dict[str, str]:
    """Some inputs of the test split that the bundle takes, and what it answers to each."""
    from hwnas.deploy.graphs import BundleError

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
