"""The runtime's own profile of a candidate's whole model, beside what a table says its operators cost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hwnas.changed import changed_since
from hwnas.explain import Explanation
from hwnas.families.base import Family
from hwnas.families.deployed import as_in_table
from hwnas.families.fingerprint import code_fingerprint
from hwnas.latency import TableLatency
from hwnas.profiling import model_item, opened
from hwnas.sampling import ModelChoice
from hwnas.scopes import Scopes
from latency_luts import OperatorSpec
from profiler import Device, Program, RoundSamples, SessionError, TimingSession, check_parity
from profiler.devices import require_measures
from profiler.exporting import exporter_for
from profiler.hardware import HardwareDevice
from profiler.primitives import Primitive, ProfilingSession, primitives

PROFILES, CALLS = 3, 200
"""Profiles that are taken, and calls of the model in each: what lasts ``PROFILE_MS``, but ten to ``CALLS``."""
PROFILE_MS = 3000.0
_SAMPLES, _SAMPLE_MS = 10, 10.0
_PROFILED = ("onnxruntime", "litert", "tvm")
"""Runtimes that tell times of nodes."""


@dataclass(frozen=True, slots=True)
class Beside:
    """An operator (or a kind, where nodes could be told apart no further) in the table and in the profile.

    Shares are of what all operators take together, in the one and in the other.
    """

    operator: str
    table_ms: float
    profile_ms: float
    table_share: float
    profile_share: float


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """The runtime's profile of the whole model beside the table.

    ``timed_ms`` is the unprofiled model, timed in the same process on the target's clock;
    ``profile_ms`` the sum of all nodes, ``elsewhere_ms`` of those that belong to no operator (both
    on the wall clock), ``primitives_ms`` by kind of node. ``moved_share`` is the part of the
    operators' time that the two place differently (total variation distance of the shares),
    ``None``, and no rows, if no node could be placed: kernels of LiteRT and TVM have no names of ours.
    ``changed`` says how the device differs from when the table was made.
    """

    rows: tuple[Beside, ...]
    timed_ms: float
    profile_ms: float
    elsewhere_ms: float
    moved_share: float | None
    primitives_ms: Mapping[str, float]
    changed: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """For ``--json``."""
        return asdict(self)


def require_profile(device: Device) -> None:
    """Refuse a device that is not measured, or whose runtime has no profile of its nodes."""
    require_measures(device)
    if device.runtime not in _PROFILED:
        raise SessionError(f"{device.name} runs {device.runtime}, which tells no times of nodes; leave --measure out")
    if isinstance(device, HardwareDevice) and device.provider != "cpu":
        raise SessionError(f"{device.name} runs on a GPU, whose kernels are not timed one by one; leave --measure out")


def measured_check(
    explanation: Explanation,
    model: TableLatency,
    family: Family,
    device: Device,
    cache: Path,
    waiting: Callable[[str], None] | None = None,
) -> CrossCheck:
    """Time and profile the candidate's whole model (seeded weights) on ``device`` and put it beside the table.

    Raises :class:`profiler.ProfilerError` if the device fails, its runtime cannot profile, its
    outputs are not PyTorch's, or somebody else measures there (see :func:`hwnas.profiling.opened`).
    """
    require_profile(device)
    choice = ModelChoice(explanation.candidate, "extra")
    deployed = as_in_table(family, model.lut)
    with exporter_for(device) as exporter:
        code = code_fingerprint(deployed)
        program = model_item(model.space, deployed, model.workload, choice, exporter, cache, code).program
    with opened(device, waiting) as session:
        if not isinstance(session, ProfilingSession):
            raise SessionError(f"{device.name} cannot be profiled node by node; explain without --measure")
        _prove(session, program)
        handle = session.load(program)
        timed_ms = _timed_ms(session, handle)
        calls = max(10, min(CALLS, int(PROFILE_MS / timed_ms)))
        nodes = primitives(*(session.profile(handle, calls) for _ in range(PROFILES)))
        changed = changed_since(model.lut, session.facts())
    return cross_check(explanation, model, family, nodes, timed_ms, changed)


def _prove(session: TimingSession, program: Program) -> None:
    """Nothing is timed whose outputs are not the reference's."""
    for artifact in {stage.artifact.sha256: stage.artifact for stage in program.stages}.values():
        alone = session.load(Program.single(artifact))
        check_parity(artifact, session.run(alone), str(session.target))
        session.unload(alone)


def _timed_ms(session: TimingSession, handle: str) -> float:
    """The mean of the faster half of some samples, as in a round of a profile, on the target's clock."""
    first = min(session.time(handle, 1, 5), key=lambda sample: sample.wall_ns)
    calls = max(1, math.ceil(_SAMPLE_MS * 1e6 / max(1, first.wall_ns)))
    taken = session.time(handle, calls, _SAMPLES)
    samples = RoundSamples(0, calls, tuple(s.wall_ns for s in taken), tuple(s.cpu_ns for s in taken))
    return samples.latency_ms(session.target.clock)


def cross_check(
    explanation: Explanation,
    model: TableLatency,
    family: Family,
    nodes: Sequence[Primitive],
    timed_ms: float,
    changed: tuple[str, ...] = (),
) -> CrossCheck:
    """Put the nodes of the candidate's whole model beside its explanation."""
    owners = Scopes(model.space, family, model.terms, explanation.candidate).owners(nodes)
    merged = {kind for kind, operator in filter(None, owners) if operator is None}
    in_table: defaultdict[str, float] = defaultdict(float)
    for cost in explanation.costs:
        in_table[_label(cost.operator.kind, cost.operator, merged)] += cost.total_ms
    in_profile: defaultdict[str, float] = defaultdict(float)
    elsewhere_ms = 0.0
    for node, owner in zip(nodes, owners, strict=True):
        if owner is None:
            elsewhere_ms += node.latency_ms
        else:
            in_profile[_label(*owner, merged)] += node.latency_ms
    placed = bool(in_profile)
    labels = dict.fromkeys([*in_table, *in_profile]) if placed else ()
    sums = [sum(side.values()) or 1.0 for side in (in_table, in_profile)]
    rows = [
        Beside(label, in_table[label], in_profile[label], in_table[label] / sums[0], in_profile[label] / sums[1])
        for label in labels
    ]
    by_kind: defaultdict[str, float] = defaultdict(float)
    for node in nodes:
        by_kind[node.op] += node.latency_ms
    return CrossCheck(
        rows=tuple(rows),
        timed_ms=timed_ms,
        profile_ms=sum(node.latency_ms for node in nodes),
        elsewhere_ms=elsewhere_ms,
        moved_share=sum(abs(row.table_share - row.profile_share) for row in rows) / 2 if placed else None,
        primitives_ms=dict(sorted(by_kind.items(), key=lambda item: -item[1])),
        changed=changed,
    )


def _label(kind: str, operator: OperatorSpec | None, merged: set[str]) -> str:
    return kind if operator is None or kind in merged else str(operator)
