"""Time a bundle's whole decoding loop on a device, its graphs compared with PyTorch there first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from exporters import Artifact
from hwnas.profiling import Progress, open_for, quietly, run_plan, target_of
from profiler import Device, Parity, Plan, PlanItem, Program
from profiler.interval import Status

ROUNDS, MIN_ROUNDS, HALF_WIDTH = 60, 20, 0.01
"""Rounds at most and at least, and the interval's half at which there are enough."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Latency on a device in ms, how far it can be trusted, and parity of every graph."""

    target: str
    clock: str
    threads: int
    measured_ms: float
    interval_ms: tuple[float, float]
    rounds: int
    status: Status
    parity: Mapping[str, Mapping[str, float]]
    environment: Mapping[str, object]

    def as_dict(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)


def measure_bundle(
    name: str,
    program: Program,
    artifacts: Mapping[str, Artifact],
    device: Device,
    journal: Path,
    *,
    workload: Mapping[str, int],
    about: Mapping[str, str],
    meta: Mapping[str, object],
    measuring: Progress = quietly,
    waiting: Callable[[str], None] | None = None,
) -> Measured:
    """Bring ``journal`` to its end and tell what it says of ``program``, called ``name`` there.

    Raises :class:`profiler.errors.ParityError` before anything is timed whose outputs are not PyTorch's.
    """
    item = PlanItem(name, "model", program, dict(meta))
    # samples as long as those of tables and finalists: longer ones hold more of the neighbours' disturbance
    plan = Plan((item,), rounds=ROUNDS, min_rounds=MIN_ROUNDS, half_width=HALF_WIDTH)
    with open_for(device, waiting) as opener:
        target = target_of(opener)
        content = run_plan([opener], [target], plan, journal, workload, about, measuring)
    measurement = content.measured(target, name)
    return Measured(
        target=str(target),
        clock=target.clock,
        threads=target.threads,
        measured_ms=measurement.latency_ms(target.clock),
        interval_ms=measurement.interval_ms(target.clock),
        rounds=len(measurement.rounds),
        status=measurement.status(target.clock),
        parity={graph: errors_of(content.parity[str(target), a.sha256]) for graph, a in artifacts.items()},
        environment=content.environment[0].facts,
    )


def errors_of(parity: Parity) -> dict[str, float]:
    """What a manifest tells of a graph's parity."""
    return {"max_abs_error": parity.max_abs_error, "tolerance": parity.tolerance}
