"""From a trained SubTransformer to a proven bundle: export, parity, decoding, latency, quality, manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.data.task import Task
from hwnas.deploy.bundle import Promise, Proof, replacing, write_graphs, write_manifest, write_support
from hwnas.deploy.verify import compare_decoding, open_bundle
from hwnas.errors import DeployError
from hwnas.families.base import Family
from hwnas.profiling import Progress, opened, program_of, run_plan
from hwnas.space import Candidate, SearchSpace
from hwnas.workload import Workload
from profiler import Device, Plan, PlanItem, read_journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

ROUNDS = 20


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
    cache: Path,
    decoded: int = 500,
    with_quality: bool = True,
    say: Callable[[str], None],
    measuring: Progress,
) -> dict[str, object]:
    """Write the bundle of ``model`` to ``out`` and return its manifest.

    Every graph is compared with PyTorch on ``device``, the first ``decoded`` test inputs are
    decoded by the bundle's runner and by PyTorch, and the whole decoding loop is timed on
    ``device`` for ``workload``. Raises :class:`profiler.errors.ParityError` or
    :class:`DeployError` if either comparison fails: nothing is left at ``out`` then.
    """
    from hwnas.decoding import MaxTokens
    from hwnas.evaluation import quality_of

    max_tokens = MaxTokens()
    with replacing(out) as folder:
        say("exporting")
        stages, artifacts = write_graphs(family, model, workload, folder)
        write_support(task, folder)
        program = program_of(stages, artifacts)
        facts = {
            "space": space, "candidate": candidate, "workload": workload, "task": task, "stages": stages,
            "max_tokens": max_tokens, "threads": device.threads, "promise": promise,
        }  # fmt: skip
        write_manifest(folder, **facts, proof=None, quality=None)  # type: ignore[arg-type]
        say(f"measuring on {device.name}")
        journal = out.with_name(out.name + ".journal.jsonl")
        journal.unlink(missing_ok=True)
        item = PlanItem(candidate.key, "model", program, {"role": "bundle", "candidate": candidate.as_dict()})
        plan = Plan((item,), rounds=ROUNDS, samples=5, min_sample_ms=10.0, seed=0)
        with opened(device, cache) as session:
            target = session.target
            environment = session.facts()
            subject = {"space": space.name, "fingerprint": space.fingerprint}
            run_plan(session, plan, journal, workload.as_dict(), subject, measuring)
        content = read_journal(journal)
        measurement = content.measurements[str(target), candidate.key]
        parity = {
            name: {
                "max_abs_error": content.parity[str(target), artifact.sha256].max_abs_error,
                "tolerance": content.parity[str(target), artifact.sha256].tolerance,
            }
            for name, artifact in artifacts.items()
        }
        sources = list(task.references["test"])[:decoded]
        say(f"decoding {len(sources)} test inputs with the bundle and with PyTorch")
        worst = max(entry["max_abs_error"] for entry in parity.values())
        decoding = compare_decoding(open_bundle(folder), model, task, sources, max_tokens, worst)
        if decoding.different:
            raise DeployError(
                f"the bundle decodes {decoding.different} of {decoding.inputs} inputs otherwise than PyTorch,"
                f" e.g. {'; '.join(decoding.examples)}; it is not written"
            )
        quality = None
        if with_quality:
            say("scoring the test split")
            quality = quality_of(model, family, task, "test")
        proof = Proof(
            target=str(target),
            clock=target.clock,
            threads=target.threads,
            measured_ms=measurement.latency_ms(target.clock),
            interval_ms=measurement.interval_ms(target.clock),
            rounds=len(measurement.rounds),
            parity=parity,
            decoding=decoding,
            environment=environment,
        )
        return write_manifest(folder, **facts, proof=proof, quality=quality)  # type: ignore[arg-type]
