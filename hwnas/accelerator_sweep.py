"""A grid over a simulated device's parameters for a set of models, and its Pareto front."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hwnas.errors import AcceleratorError
from hwnas.estimating import candidate_programs, estimate_program
from hwnas.families.base import Family
from hwnas.profiling import Progress, quietly
from hwnas.space import Candidate, SearchSpace
from hwnas.workload import Workload
from profiler.errors import SimulationError
from profiler.simulators.device import SimulatedDevice
from profiler.simulators.registry import open_estimator

Value = int | float | str | bool
LARGEST_GRID = 100_000


@dataclass(frozen=True, slots=True)
class Point:
    """One accelerator; ``area_mm2`` is ``None`` where the engine knows none, as ``energy_mj``."""

    parameters: Mapping[str, Value]
    latency_ms: float
    energy_mj: float | None
    area_mm2: float | None
    configuration: str
    fidelity: str
    pareto: bool

    def as_dict(self) -> dict[str, object]:
        """A flat row: the parameters that vary, then the figures."""
        return {
            **self.parameters,
            "latency_ms": self.latency_ms,
            "energy_mj": self.energy_mj,
            "area_mm2": self.area_mm2,
            "pareto": self.pareto,
            "source": "estimated",
            "fidelity": self.fidelity,
            "configuration": self.configuration,
        }


@dataclass(frozen=True, slots=True)
class Sweep:
    """The points of a grid in its order, and why others cannot be."""

    points: tuple[Point, ...]
    refused: tuple[str, ...]


def parse_grid(texts: Sequence[str]) -> dict[str, tuple[Value, ...]]:
    """``["rows=8,16", "dataflow=os,ws"]`` by parameter; raises :class:`AcceleratorError` for anything else."""
    grid: dict[str, tuple[Value, ...]] = {}
    for text in texts:
        name, given, values = text.partition("=")
        if not given or not name or not values or name in grid:
            again = " (given twice)" if name in grid else ""
            raise AcceleratorError(f"--vary {text}{again}: a parameter and its values are expected, like rows=8,16,32")
        grid[name] = tuple(_value(value) for value in values.split(","))
    size = math.prod(len(values) for values in grid.values())
    if size > LARGEST_GRID:
        raise AcceleratorError(f"the grid has {size} points, more than {LARGEST_GRID}; vary less")
    return grid


def _value(text: str) -> Value:
    """A number or truth value if it is one."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text


def sweep_device(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    models: Sequence[Candidate],
    device: SimulatedDevice,
    grid: Mapping[str, Sequence[Value]],
    *,
    cache: Path,
    exporting: Progress = quietly,
    estimating: Progress = quietly,
) -> Sweep:
    """Estimate ``models`` on every point of ``grid``.

    A point that cannot be, or cannot take an artifact, is refused. Raises :class:`SimulationError` if all are.
    """
    programs = list(candidate_programs(space, family, workload, models, device, cache, exporting).values())
    combinations = list(itertools.product(*grid.values()))
    found: list[Point] = []
    refused: list[str] = []
    for number, values in enumerate(combinations):
        varied = dict(zip(grid, values, strict=True))
        estimating(number, len(combinations), ", ".join(f"{name} {value}" for name, value in varied.items()))
        try:
            point = device.varied(varied)
            estimator = open_estimator(point)
            estimates = [estimate_program(estimator, program) for program in programs]
        except SimulationError as exc:
            refused.append(str(exc))
            continue
        energies = [estimate.energy_mj for estimate in estimates]
        known = [energy for energy in energies if energy is not None]
        found.append(
            Point(
                parameters=varied,
                latency_ms=sum(estimate.latency_ms for estimate in estimates),
                energy_mj=sum(known) if len(known) == len(energies) else None,
                area_mm2=getattr(point.engine_parameters, "area_mm2", None),
                configuration=estimator.provenance.configuration,
                fidelity=estimator.provenance.fidelity,
                pareto=False,
            )
        )
    estimating(len(combinations), len(combinations), "")
    if not found:
        raise SimulationError(f"no accelerator of the grid can be: {refused[0]}")
    return Sweep(pareto(found), tuple(refused))


def pareto(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points with those marked that no other one betters in latency, energy and area, where all know theirs."""
    known = [
        name for name in ("latency_ms", "energy_mj", "area_mm2") if all(getattr(p, name) is not None for p in points)
    ]

    def figures(point: Point) -> tuple[float, ...]:
        return tuple(getattr(point, name) for name in known)

    front: list[tuple[float, ...]] = []
    for here in sorted({figures(point) for point in points}):  # whatever betters a point stands before it
        if not any(all(a <= b for a, b in zip(other, here, strict=True)) for other in front):
            front.append(here)
    return tuple(replace(point, pareto=figures(point) in front) for point in points)
