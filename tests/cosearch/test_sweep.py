"""The Pareto front of a grid of accelerators, and its impossible points."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hwnas import accelerator_sweep
from hwnas.accelerator_sweep import Point, pareto, sweep_device
from profiler import load_devices
from profiler.devices import SHIPPED
from profiler.errors import SimulationError, ToolchainError
from profiler.simulators.estimate import Estimate, Provenance


def point(latency_ms: float, energy_mj: float | None, area_mm2: float | None = None) -> Point:
    return Point({}, latency_ms, energy_mj, area_mm2, "c", "uncalibrated", pareto=False)


def marked(*points: Point) -> list[bool]:
    return [found.pareto for found in pareto(points)]


def test_what_no_other_betters_is_marked() -> None:
    assert marked(point(1, 3), point(2, 2), point(2, 3), point(3, 1)) == [True, True, False, True]
    assert marked(point(1, 3, 9), point(2, 3, 8), point(2, 3, 9)) == [True, True, False]


def test_energy_that_only_some_know_is_no_objective() -> None:
    assert marked(point(1, None), point(2, 2), point(1, 9)) == [True, False, True]
    assert marked() == []


@dataclass(frozen=True)
class Rows:
    """In an estimator's place."""

    rows: int
    provenance: Provenance


def test_a_point_that_cannot_take_the_models_is_refused_and_a_dead_tool_is_an_error(monkeypatch, tmp_path) -> None:
    device = load_devices(SHIPPED).get("edge-16x16")
    provenance = accelerator_sweep.open_estimator(device).provenance

    def estimate(rows, _program):
        if rows == 8:
            raise SimulationError("too small")
        if rows == 64:
            raise ToolchainError("died")
        return Estimate(1.0, 1.0, (), provenance)

    monkeypatch.setattr(accelerator_sweep, "candidate_programs", lambda *_: {0: "program"})
    monkeypatch.setattr(
        accelerator_sweep, "open_estimator", lambda point: Rows(point.engine_parameters.rows, provenance)
    )
    monkeypatch.setattr(accelerator_sweep, "estimate_program", lambda rows, program: estimate(rows.rows, program))

    def sweep(*rows: int):
        return sweep_device(None, None, None, [], device, {"rows": rows}, cache=tmp_path)

    found = sweep(8, 16, 32)
    assert [point.parameters["rows"] for point in found.points] == [16, 32]
    assert found.refused == ("too small",)
    with pytest.raises(SimulationError, match="no accelerator of the grid can be: too small"):
        sweep(8)
    with pytest.raises(ToolchainError, match="died"):
        sweep(16, 64)
