"""The table of a simulated device: every operator of a space estimated by its engine, and some whole models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast

from exporters import Artifact
from hwnas.families.base import Family
from hwnas.families.deployed import as_deployed
from hwnas.files import artifact_cache, write_json
from hwnas.profiling import Progress, build_plan, quietly
from hwnas.sampling import Sampling
from hwnas.space import Candidate, SearchSpace
from hwnas.workload import Workload
from latency_luts import LatencyLut, OperatorRow, OperatorSpec, Subject, WholeModel
from latency_luts.lines import require_replaceable
from latency_luts.rows import DISPATCH, Role
from profiler import LocalDevice, Parity, PlanItem, Program, TimingSession, check_parity, open_session
from profiler.exporting import format_of, open_exporter
from profiler.journal import parity_from_record, parity_record
from profiler.simulators.device import SimulatedDevice
from profiler.simulators.estimate import Estimate, Estimator, Primitive, total
from profiler.simulators.registry import open_estimator

COVERAGE = "coverage"
"""The metric of a row that says what share of its compiled nodes the accelerator itself runs."""

FUNCTIONAL = "estimate of one call, of a pure function of artifact and configuration"

_RUNTIME: Mapping[str, Literal["onnxruntime", "litert"]] = {"onnx": "onnxruntime", "tflite": "litert"}
"""What runs an artifact here, to prove it: a simulated device itself runs nothing."""


def estimate_space(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    device: SimulatedDevice,
    out: Path,
    sampling: Sampling | None = None,
    *,
    cache: Path | None = None,
    exporting: Progress = quietly,
    estimating: Progress = quietly,
) -> LatencyLut:
    """Estimate every operator of ``space`` on ``device`` and write the table to ``out``.

    There is nothing to calibrate: a prediction is the plain sum. The ``check`` models of ``sampling`` are
    estimated as they are deployed (each stage as often as it runs), to tell what the sum is off by.
    An artifact is used once its outputs, on this machine's runtime, were PyTorch's. Raises
    :class:`profiler.errors.SimulationError` if the engine cannot take an artifact or an operator of it.
    """
    sampling, cache = replace(sampling or Sampling(), calibration=0), cache or artifact_cache()
    require_replaceable(out)
    estimator = open_estimator(device, cache / "estimates")
    with open_exporter(device.engine) as exporter:
        plan = build_plan(space, as_deployed(family, device.engine), workload, sampling, exporter, cache, exporting)
    items = [item for item in plan.items if item.name != str(DISPATCH)]
    rows, models = {}, []
    with prover(device, cache) as prove:
        for number, item in enumerate(items):
            estimating(number, len(items), item.name)
            error = max(prove(stage.artifact) for stage in item.program.stages)
            if item.role == "operator":
                row = _row(OperatorSpec.parse(item.name), item, estimate_program(estimator, item.program), error)
                rows[row.operator] = row
            else:
                models.append(_whole_model(item, estimate_program(estimator, item.program), error))
    estimating(len(items), len(items), "")
    table = LatencyLut(
        target=device.target(estimator.provenance.version),
        workload=workload.as_dict(),
        subject=Subject(space.name, space.fingerprint),
        rows=rows,
        models=tuple(models),
        source="estimated",
        provenance=estimator.provenance.as_dict(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        functional=FUNCTIONAL,
    )
    table.save(out)
    return table


def estimate_program(estimator: Estimator, program: Program) -> Estimate:
    """Of stages that run one after another; a primitive's figures are those of all its stage's repetitions."""
    primitives: list[Primitive] = []
    for stage in program.stages:
        for primitive in estimator.estimate(stage.artifact).primitives:
            energy = primitive.energy_mj
            primitives.append(
                replace(
                    primitive,
                    name=f"{stage.name}{primitive.name}",
                    latency_ms=stage.repeat * primitive.latency_ms,
                    energy_mj=None if energy is None else stage.repeat * energy,
                )
            )
    return total(tuple(primitives), estimator.provenance)


def estimate_candidates(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    candidates: Sequence[Candidate],
    device: SimulatedDevice,
    *,
    cache: Path | None = None,
    exporting: Progress = quietly,
) -> dict[Candidate, Estimate]:
    """Whole models as they are deployed, by candidate."""
    cache = cache or artifact_cache()
    estimator = open_estimator(device, cache / "estimates")
    programs = candidate_programs(space, family, workload, candidates, device, cache, exporting)
    return {candidate: estimate_program(estimator, program) for candidate, program in programs.items()}


def candidate_programs(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    candidates: Sequence[Candidate],
    device: SimulatedDevice,
    cache: Path,
    exporting: Progress = quietly,
) -> dict[Candidate, Program]:
    """The exported, proven programs of whole models in the format that the device's engine reads."""
    sampling = Sampling(calibration=0, check=0, extra=tuple(candidates))
    with open_exporter(device.engine) as exporter:
        kind = as_deployed(family, device.engine)
        plan = build_plan(space, kind, workload, sampling, exporter, cache, exporting, operators=())
    programs = {item.name: item.program for item in plan.items}
    with prover(device, cache) as prove:
        for program in programs.values():
            for stage in program.stages:
                prove(stage.artifact)
    return {candidate: programs[candidate.key] for candidate in candidates}


def left_to_host(table: LatencyLut) -> dict[str, float]:
    """Kinds of operators of which a declared host runs a part: the least share that is left to the accelerator."""
    shares: dict[str, float] = {}
    for operator, row in table.rows.items():
        share = row.metrics.get(COVERAGE, 1.0)
        if share < 1:
            shares[operator.kind] = min(share, shares.get(operator.kind, 1.0))
    return shares


@contextmanager
def prover(device: SimulatedDevice, cache: Path) -> Iterator[_Prover]:
    """A function that gives an artifact's largest difference from PyTorch; each is run once and remembered."""
    found = _Prover(LocalDevice(name="here", kind="local", runtime=_RUNTIME[format_of(device.engine)]), cache)
    try:
        yield found
    finally:
        found.close()


class _Prover:
    """Runs artifacts on this machine; the session is opened for the first one that is not known yet."""

    def __init__(self, device: LocalDevice, cache: Path) -> None:
        self._device, self._cache = device, cache
        self._session: TimingSession | None = None

    def __call__(self, artifact: Artifact) -> float:
        """The largest absolute difference; raises :class:`profiler.ParityError` if it is too large."""
        path = self._cache / "proofs" / f"{artifact.sha256}.json"
        try:
            parity = parity_from_record(json.loads(path.read_text(encoding="utf-8")))
            if parity.passed and parity.tolerance == artifact.tolerance:
                return parity.max_abs_error
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or damaged
            pass
        parity = self._run(artifact)
        write_json(path, parity_record(self._device.runtime, artifact.sha256, parity))
        return parity.max_abs_error

    def _run(self, artifact: Artifact) -> Parity:
        session = self._session or open_session(self._device)
        self._session = session
        handle = session.load(Program.single(artifact))
        outputs = session.run(handle)
        session.unload(handle)
        return check_parity(artifact, outputs, self._device.runtime)

    def close(self) -> None:
        """End the session, if there is one."""
        if self._session is not None:
            self._session.close()


def _metrics(estimate: Estimate) -> Mapping[str, float]:
    energy = {} if estimate.energy_mj is None else {"energy_mj": estimate.energy_mj}
    return energy | {COVERAGE: estimate.coverage}


def _row(operator: OperatorSpec, item: PlanItem, estimate: Estimate, parity_error: float) -> OperatorRow:
    artifact = item.program.stages[0].artifact
    return OperatorRow(
        operator=operator,
        latency_ms=estimate.latency_ms,
        rounds=0,
        samples=0,
        artifact_sha256=artifact.sha256,
        parity_error=parity_error,
        metrics=_metrics(estimate),
        streamed_bytes=artifact.streamed_bytes,
    )


def _whole_model(item: PlanItem, estimate: Estimate, parity_error: float) -> WholeModel:
    counts = cast("Mapping[str, int]", item.meta["operators"])
    return WholeModel(
        model=item.name,
        role=cast("Role", item.meta["role"]),
        candidate=cast("Mapping[str, int]", item.meta["candidate"]),
        operators={OperatorSpec.parse(spec): count for spec, count in counts.items()},
        latency_ms=estimate.latency_ms,
        halves_ms=(estimate.latency_ms, estimate.latency_ms),
        rounds=0,
        samples=0,
        artifact_sha256=item.program.sha256,
        parity_error=parity_error,
        metrics=_metrics(estimate),
    )
