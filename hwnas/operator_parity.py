"""Runs a space's operators on a device and compares their outputs with PyTorch's; nothing is timed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hwnas.families.base import Family
from hwnas.families.deployed import as_deployed
from hwnas.latency import operators_of
from hwnas.profiling import Progress, build_plan, quietly
from hwnas.sampling import Sampling
from hwnas.space import SearchSpace
from hwnas.workload import Workload
from latency_luts import OperatorSpec
from profiler import Device, Parity, open_session
from profiler.exporting import exporter_for
from profiler.parity import compare, reference_tensors


@dataclass(frozen=True, slots=True)
class OperatorParity:
    """How far one operator's outputs on a device lie from PyTorch's."""

    operator: str
    parity: Parity


def chosen_operators(operators: Sequence[OperatorSpec], number: int | None) -> tuple[OperatorSpec, ...]:
    """So many of ``operators``, of every kind alike: the first of each kind, then the last, and so on inwards."""
    if number is None or number >= len(operators):
        return tuple(operators)
    kinds: dict[str, list[OperatorSpec]] = {}
    for operator in operators:
        kinds.setdefault(operator.kind, []).append(operator)
    chosen: list[OperatorSpec] = []
    end = 0
    while len(chosen) < number:
        chosen += [found.pop(end) for found in kinds.values() if found]
        end = -1 - end
    return tuple(operator for operator in operators if operator in chosen[:number])


def compare_operators(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    device: Device,
    cache: Path,
    *,
    number: int | None = None,
    exporting: Progress = quietly,
    comparing: Progress = quietly,
) -> tuple[str, tuple[OperatorParity, ...]]:
    """The target, and the parity of ``number`` of the space's operators there (all by default).

    A parity that is not passed is told, not raised.
    """
    family = as_deployed(family, device.runtime)
    operators = chosen_operators(operators_of(space, family, workload), number)
    sampling = Sampling(calibration=0, check=0)
    with exporter_for(device) as exporter:
        plan = build_plan(space, family, workload, sampling, exporter, cache, exporting, operators=operators)
    found = []
    with closing(open_session(device)) as session:
        target = str(session.target)
        for done, item in enumerate(plan.items):
            comparing(done, len(plan.items), item.name)
            artifact = item.program.stages[0].artifact
            handle = session.load(item.program)
            _, reference = reference_tensors(artifact)
            found.append(OperatorParity(item.name, compare(reference, session.run(handle), artifact.tolerance)))
            session.unload(handle)
        comparing(len(plan.items), len(plan.items), "")
    return target, tuple(found)
