"""From a search space to what the profiler times: every operator, some whole models, one plan."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from exporters import Artifact, Exporter
from exporters.cache import export_cached
from hwnas.families.base import Family, GraphStage, ModelGraphs, Vocabularies
from hwnas.families.deployed import as_deployed, precision_in
from hwnas.families.fingerprint import code_fingerprint
from hwnas.files import artifact_cache, write_json
from hwnas.latency import decompose, operators_of
from hwnas.sampling import ModelChoice, Sampling, choose_models
from hwnas.space import SearchSpace
from hwnas.workload import Workload
from latency_luts import Calibration, LatencyLut, OperatorSpec
from latency_luts.errors import LutMismatchError
from latency_luts.lines import require_replaceable
from latency_luts.rows import DISPATCH
from profiler import (
    Device,
    Journal,
    JournalContent,
    Opener,
    Plan,
    PlanItem,
    Program,
    Stage,
    Target,
    TimingSession,
    measure,
    read_journal,
)
from profiler.anchor import Anchor
from profiler.devices import host_of
from profiler.exporting import exporter_for
from profiler.hardware import HardwareDevice, LocalDevice
from profiler.lock import alone_on
from profiler.measuring import Progress as MeasureProgress
from profiler.openings import opener_of

if TYPE_CHECKING:
    from torch import nn

    from exporters import GraphInputs

Progress = Callable[[int, int, str], None]


def quietly(done: int, total: int, note: str) -> None:
    """Progress that is shown to nobody."""


_ROUND_S, _LOAD_S = 0.5, 0.01
"""Guesses: what a round takes beside its visits, and loading an operator."""


def build_plan(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    sampling: Sampling,
    exporter: Exporter,
    cache: Path,
    progress: Progress,
    operators: Sequence[OperatorSpec] | None = None,
) -> Plan:
    """Export the operators (all of ``space`` by default) and whole models, and lay out their measurement.

    Artifacts are taken from ``cache`` where they were exported before from the same code.
    """
    if operators is None:
        operators = operators_of(space, family, workload)
    models = choose_models(space, sampling)
    code = code_fingerprint(family)
    total = len(operators) + 1 + len(models)
    uses = expected_uses(space, family, workload)
    items: list[PlanItem] = []
    for operator in (DISPATCH, *operators):
        progress(len(items), total, operator.kind)
        build = _dispatch if operator == DISPATCH else partial(family.module, operator)
        artifact = export_cached(f"{code}/{operator}", build, cache, exporter, precision=operator.precision)
        items.append(PlanItem(str(operator), "operator", Program.single(artifact), {}, uses.get(operator, 1.0)))
    for model in models:
        progress(len(items), total, f"model {model.candidate.key}")
        items.append(model_item(space, family, workload, model, exporter, cache, code))
    progress(total, total, "")
    return Plan(
        items=tuple(items),
        rounds=sampling.rounds,
        samples=sampling.samples,
        min_sample_ms=sampling.min_sample_ms,
        seed=sampling.seed,
        min_rounds=sampling.min_rounds,
        half_width=sampling.half_width,
        budget_s=sampling.budget_s,
        memory_limit_bytes=sampling.memory_limit_mib * 2**20,
    )


def expected_uses(space: SearchSpace, family: Family, workload: Workload) -> dict[OperatorSpec, float]:
    """How often a random candidate pays each operator, every choice uniform and apart from the others."""
    values = {choice.name: len(choice.values) for choice in space.choices}
    uses: dict[OperatorSpec, float] = {}
    for term in family.terms(space, workload):
        paid = term.count / math.prod(values[name] for name in term.when)
        uses[term.operator] = uses.get(term.operator, 0.0) + paid
    return uses


def model_item(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    choice: ModelChoice,
    exporter: Exporter,
    cache: Path,
    code: str,
) -> PlanItem:
    """A whole model with seeded weights (latency does not depend on them), on the true decoding loop."""
    candidate = choice.candidate
    built: list[ModelGraphs] = []

    def graphs() -> ModelGraphs:
        if not built:
            import torch

            torch.manual_seed(0)
            vocabularies = Vocabularies(workload.vocabulary, workload.vocabulary)
            built.append(family.graphs(family.model(space, candidate, vocabularies), workload))
        return built[0]

    shape = f"{code}/{exporter.format}/{space.fingerprint}/{candidate.key}/{sorted(workload.as_dict().items())}"
    layout = cache / f"{hashlib.sha256(shape.encode()).hexdigest()[:16]}.stages.json"
    program = _cached_program(layout, shape, graphs, exporter, cache, precision_in(family))
    operators = decompose(space, family, workload, candidate)
    meta = {
        "role": choice.role,
        "candidate": candidate.as_dict(),
        "operators": {str(operator): count for operator, count in operators.items()},
    }
    return PlanItem(candidate.key, "model", program, meta)


def _cached_program(
    layout: Path, shape: str, graphs: Callable[[], ModelGraphs], exporter: Exporter, cache: Path, precision: str
) -> Program:
    """The program of a whole model; the model is built only if a graph of it was not exported before."""
    try:
        stages = [GraphStage(**entry) for entry in json.loads(layout.read_text(encoding="utf-8"))]
    except (FileNotFoundError, ValueError, TypeError):  # none, or damaged
        stages = list(graphs().stages)
        write_json(layout, [asdict(stage) for stage in stages])
    artifacts = {
        stage.graph: export_cached(
            f"{shape}/{stage.graph}", partial(_graph, graphs, stage.graph), cache, exporter, precision=precision
        )
        for stage in stages
    }
    return program_of(stages, artifacts)


def _graph(graphs: Callable[[], ModelGraphs], name: str) -> tuple[nn.Module, GraphInputs]:
    return graphs().graphs[name]


def program_of(stages: Sequence[GraphStage], artifacts: Mapping[str, Artifact]) -> Program:
    """Wire exported graphs as the family says they run."""
    return Program(
        tuple(
            Stage(
                name=stage.graph,
                artifact=artifacts[stage.graph],
                repeat=stage.repeat,
                feeds=dict(stage.feeds),
                carry=dict(stage.carry),
                initial={name: tuple(shape) for name, shape in stage.initial.items()},
                counter=stage.counter,
            )
            for stage in stages
        )
    )


def _dispatch() -> tuple[nn.Module, GraphInputs]:
    import torch
    from torch import nn

    from exporters import GraphInputs

    return nn.ReLU(), GraphInputs({"x": torch.zeros(1)}, ("y",))  # not Identity: TFLite has no operator for that


def profile_space(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    device: Device,
    out: Path,
    sampling: Sampling | None = None,
    *,
    cache: Path | None = None,
    exporting: Progress = quietly,
    measuring: Progress = quietly,
    waiting: Callable[[str], None] | None = None,
    at_level_of: LatencyLut | None = None,
) -> LatencyLut:
    """Measure every operator of ``space`` on ``device`` and write the calibrated table to ``out``.

    The journal stands beside the table (:func:`journal_of`); the same call after an interruption
    goes on where it stopped. Latencies are told at the level that the device had when ``at_level_of`` was measured
    (:mod:`profiler.anchor`). For ``waiting`` see :func:`opened`. Raises :class:`profiler.ProfilerError`
    if the device or an artifact fails or somebody else measures there, :class:`latency_luts.LutError`
    if no table can be derived, or (before anything is measured) if there are whole models to
    calibrate on, but too few, or if ``out`` is a file of another kind.
    """
    sampling, cache = sampling or Sampling.usual(device), cache or artifact_cache()
    family = as_deployed(family, device.runtime)
    require_replaceable(out)
    if sampling.calibration:
        Calibration.require_enough(sum(model.role == "calibration" for model in choose_models(space, sampling)))
    if at_level_of is not None:
        there = at_level_of.target
        anchor_of(at_level_of, replace(there, device=device.name, threads=device.threads, clock=device.effective_clock))
    with exporter_for(device) as exporter:
        plan = build_plan(space, family, workload, sampling, exporter, cache, exporting)
    journal_path = journal_of(out)
    with open_for(device, waiting) as opener:
        target = target_of(opener)
        anchor = None if at_level_of is None else anchor_of(at_level_of, target)
        subject = {"space": space.name, "fingerprint": space.fingerprint}
        content = run_plan([opener], [target], plan, journal_path, workload.as_dict(), subject, measuring, anchor)
    table = LatencyLut.derive(content, target)
    if sampling.calibration:
        table = table.calibrated()
    table.save(out)
    return table


def anchor_of(table: LatencyLut, target: Target) -> Anchor:
    """The level of ``target`` when ``table`` was measured.

    Its runtime may have been another, which the reference workloads do not use. Raises :class:`LutMismatchError` if the
    table is of another device, number of threads or clock, of a GPU where this is none (:attr:`Target.place`), or tells
    of no reference workloads.
    """
    if table.target.place != target.place:
        raise LutMismatchError(f"the table is of {table.target}, this is {target}: levels are of one device and clock")
    if table.anchor is None:
        raise LutMismatchError(
            f"the table of {table.target} tells no level of its device; take one that was measured here"
        )
    return table.anchor


@contextmanager
def opened(
    device: Device, waiting: Callable[[str], None] | None = None, *, as_it_is: bool = False
) -> Iterator[TimingSession]:
    """A session on ``device``, closed at the end of the block, with nobody else measuring there.

    ``waiting`` is told who does, and then waited; without it :class:`profiler.DeviceBusyError` is raised.
    A board that is hot or throttled is waited for, unless it is wanted ``as_it_is``.
    """
    with open_for(device, waiting, as_it_is=as_it_is) as opener, closing(opener()) as session:
        yield session


@contextmanager
def open_for(
    device: Device, waiting: Callable[[str], None] | None = None, *, as_it_is: bool = False
) -> Iterator[Opener]:
    """What opens sessions on ``device``, with nobody else measuring there until the end of the block.

    For ``waiting`` and ``as_it_is`` see :func:`opened`.
    """
    with (
        alone_on(host_of(device), waiting=waiting),
        opener_of(device, waiting, as_it_is=as_it_is) as opener,
    ):
        yield opener


def target_of(opener: Opener) -> Target:
    """The target of the sessions that are opened: a device tells its runtime's version only then."""
    with closing(opener()) as session:
        return session.target


def run_plan(
    openers: Sequence[Opener],
    targets: Sequence[Target],
    plan: Plan,
    journal: Path,
    workload: Mapping[str, int],
    subject: Mapping[str, str],
    progress: Progress,
    anchor: Anchor | None = None,
) -> JournalContent:
    """Bring the journal at ``journal`` to the end of ``plan`` and read it; what it holds is not repeated.

    With ``anchor`` the latencies of every target are told at that level (:mod:`profiler.anchor`).
    """
    anchors = {} if anchor is None else {str(target): anchor for target in targets}
    header = plan.header(targets, workload=dict(workload), subject=dict(subject), anchors=anchors)

    def show(seen: MeasureProgress) -> None:
        number = f"round {seen.round + 1}" + (f" of {seen.rounds}" if seen.round < seen.rounds else " (repeated)")
        progress(seen.done, seen.total, number if seen.phase == "measure" else "checking parity")

    with Journal.open(journal, header) as opened_journal:
        measure(openers, plan, opened_journal, show)
    return read_journal(journal)


def require_target(table: Target, device: Device) -> None:
    """Refuse to mix a table's latencies with those of another device, or of the same one set up otherwise.

    The runtime's version is known only to a session. Raises :class:`LutMismatchError`.
    """
    there_device = device.name if device.name in table.device.split(",") else table.device
    on_gpu = isinstance(device, HardwareDevice) and device.provider == "cuda"
    there = (there_device, table.runtime_name, table.threads, table.clock, table.on_gpu)
    here = (device.name, device.runtime, device.threads, device.effective_clock, on_gpu)
    if there != here:
        runs = f"{device.runtime} on a GPU" if on_gpu else device.runtime
        raise LutMismatchError(
            f"the table is of {table}, but {device.name!r} is {runs} with threads={device.threads}"
            f" on the clock {device.effective_clock}; profile that device, or name the table's"
        )


def on_runtime_of(table: Target, device: Device) -> Device:
    """This machine with the table's runtime, for ``hwnas profile --runtime`` makes tables of any; else ``device``."""
    if not isinstance(device, LocalDevice) or device.name != table.device:
        return device
    return device.model_copy(update={"runtime": table.runtime_name})


def estimate_s(space: SearchSpace, family: Family, workload: Workload, sampling: Sampling) -> float:
    """Rough seconds a profile takes: exports, and samples at a guessed 10 GMAC/s. Progress tells better."""
    operators = len(operators_of(space, family, workload)) + 1
    visit_s = sampling.samples * sampling.min_sample_ms / 1000
    models = choose_models(space, sampling)
    sentence_s = [
        workload.batch * workload.beam * family.count(space, model.candidate, workload, "full").macs / 10e9
        for model in models
    ]
    export_s = sum(0.2 + family.count(space, m.candidate, workload, "full").params / 50e6 for m in models)
    whole_s = sum(sampling.samples * max(sampling.min_sample_ms / 1000, seconds) for seconds in sentence_s)
    rounds = sampling.rounds if sampling.half_width is None else min(sampling.rounds, 1.3 * sampling.min_rounds)
    seconds = rounds * (_ROUND_S + operators * (visit_s * 1.5 + _LOAD_S) + whole_s)
    return 0.05 * operators + export_s + min(seconds, sampling.budget_s or seconds)


def journal_of(table: Path) -> Path:
    """Where the raw samples of a table are: ``x86.lut.jsonl`` -> ``x86.lut.journal.jsonl``."""
    return table.with_name(table.name.removesuffix(".jsonl") + ".journal.jsonl")
