"""Whole runs of :func:`profiler.measure` on a device of known truth, and how far they are from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from contracts.graphs import linear
from truth.device import TARGET, Noise, TimedVisit, Truth, TruthDevice
from truth.scripts import scripted

from profiler import Journal, JournalContent, Plan, PlanItem, Program, measure, read_journal
from profiler.reference_track import BOUND

HALF_WIDTH = 0.02
FAR = 2 * HALF_WIDTH
"""A converged latency further than this from the truth is wrongly called so: twice what was promised."""

ITEMS = 25


def programs(folder: Path, items: int = ITEMS) -> list[Program]:
    """So many programs with outputs to compare."""
    return [Program.single(linear(folder / f"{size}.onnx", size)) for size in range(1, items + 1)]


def truths(programs: Sequence[Program], seed: int) -> dict[str, Truth]:
    """Latencies of 0.05 to 5 ms, any mix of compute and memory, 1 to 3 % between processes."""
    rng = np.random.default_rng([seed, 7])
    return {
        program.sha256: Truth(
            float(np.exp(rng.uniform(np.log(0.05), np.log(5)))),
            float(rng.uniform()),
            float(rng.choice([0.01, 0.02, 0.03])),
        )
        for program in programs
    }


@lru_cache(maxsize=64)
def population(noise: Noise, process_spread: float, samples: int) -> float:
    """THE functional of infinitely many rounds on the undisturbed device, over the latency."""
    rng, rounds = np.random.default_rng(9), 300_000
    ordered = np.sort(noise.factors(rng, rounds * samples).reshape(rounds, samples), axis=1)
    return float(
        np.median(ordered[:, : (samples + 1) // 2].mean(axis=1) * np.exp(process_spread * rng.standard_normal(rounds)))
    )


@dataclass
class Figures:
    """What is asked of simulated measurements, collected over runs."""

    errors: list[float] = field(default_factory=list)
    covered: list[bool] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    rounds: list[int] = field(default_factory=list)
    drift_before: list[float] = field(default_factory=list)
    drift_after: list[float] = field(default_factory=list)
    found: int = 0
    falsely: int = 0
    missed: int = 0

    def add(self, content: JournalContent, device: TruthDevice, known: dict[str, Truth]) -> None:
        """Compare what a journal says with the truth."""
        for item in content.header.items:
            truth = known[item.program]
            measured = content.measurements[str(device.target), item.name]
            true_ms = truth.latency_ms * population(device.noise, truth.process_spread, content.header.plan.samples)
            error = measured.latency_ms(device.target.clock) / true_ms - 1
            low_ms, high_ms = measured.interval_ms(device.target.clock)
            status = measured.status(device.target.clock)
            self.errors.append(error)
            self.covered.append(low_ms <= true_ms <= high_ms)
            self.statuses[status] += 1
            self.wrong += status == "converged" and abs(error) > FAR
            self.rounds.append(len(measured.rounds))
            for taken in measured.rounds:
                visit = device.visits[item.program, taken.wall_ns]
                self._add_visit(visit, taken.correction, taken.quarantined is not None)

    def _add_visit(self, visit: TimedVisit, correction: float, quarantined: bool) -> None:
        disturbance = visit.disturbance
        beyond = visit.clock_jumped or disturbance <= 0 or abs(math.log(disturbance)) > BOUND
        self.found += beyond and quarantined
        self.falsely += quarantined and not beyond
        self.missed += beyond and not quarantined
        if not quarantined and not beyond:
            self.drift_before.append(math.log(disturbance))
            self.drift_after.append(math.log(disturbance * correction))

    @property
    def bias(self) -> float:
        return float(np.mean(self.errors))

    @property
    def coverage(self) -> float:
        return float(np.mean(self.covered))

    @property
    def coverage_tolerance(self) -> float:
        """Three binomial standard errors of 95 %."""
        return 3 * math.sqrt(0.95 * 0.05 / len(self.covered))

    @property
    def precision(self) -> float:
        return self.found / max(1, self.found + self.falsely)

    @property
    def recall(self) -> float:
        return self.found / max(1, self.found + self.missed)

    @property
    def drift(self) -> tuple[float, float]:
        """Root mean square of the device's share in the visits that count, before and after correction."""
        before, after = (np.asarray(values) for values in (self.drift_before, self.drift_after))
        return float(np.sqrt(np.mean(before**2))), float(np.sqrt(np.mean(after**2)))

    def __str__(self) -> str:
        before, after = self.drift
        return (
            f"{len(self.errors):5d} bias {self.bias:+6.2%} coverage {self.coverage:5.1%}"
            f" drift {before:5.2%} -> {after:5.2%}"
            f" quarantined {self.found + self.falsely:5d} precision {self.precision:.3f} recall {self.recall:.3f}"
            f" rounds {np.mean(self.rounds):4.1f} {dict(self.statuses)} wrong {self.wrong}"
        )


def simulate(
    kind: str, seed: int, programs: Sequence[Program], folder: Path, rounds: int = 30
) -> tuple[JournalContent, TruthDevice, dict[str, Truth]]:
    """One run of the real driver under a script of that kind, until all is converged or has had its rounds."""
    disturbed = scripted(kind, seed)
    known = truths(programs, seed)
    device = TruthDevice(known, disturbed.script, disturbed.noise, seed)
    items = tuple(PlanItem(f"item{n}", "operator", program) for n, program in enumerate(programs))
    plan = Plan(items, rounds=rounds, seed=seed, half_width=HALF_WIDTH)
    path = folder / f"{kind}-{seed}.jsonl"
    with Journal.open(path, plan.header([TARGET], workload={}, subject={})) as journal:
        measure([device.open], plan, journal)
    content = read_journal(path)
    path.unlink()
    return content, device, known
