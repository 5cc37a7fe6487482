"""What a device told of itself before a measurement, by meaning, and what can be found in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from profiler.target import Target

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``disturbs``: it does so now, rather than only if things go on so."""

    name: str
    level: Level
    value: str
    advice: str = ""
    disturbs: bool = False


class Survey:
    """A survey's numbers by meaning; ``None`` for what the device did not tell."""

    def __init__(self, survey: Mapping[str, Any], target: Target) -> None:
        self.target = target
        self.facts: Mapping[str, Any] = survey.get("facts") or {}
        self.after: Mapping[str, Any] = survey.get("after") or self.facts
        self.elapsed_s: float | None = survey.get("elapsed_s")
        self.processes: list[Mapping[str, Any]] = survey.get("processes") or []
        noise = survey.get("noise") or {}
        self.wall_ns: list[int] = noise.get("wall_ns") or []
        self.cpu_ns: list[int] = noise.get("cpu_ns") or []
        self.clocks: Mapping[str, Any] = survey.get("clock") or {}
        self.gpu = target.on_gpu

    def grown(self, name: str) -> float | None:
        """By how much a counter grew during the survey."""
        before, after = self.facts.get(name), self.after.get(name)
        return None if before is None or after is None else after - before

    def share_of_ticks(self, name: str) -> float | None:
        """A tick counter's growth, as a share of all cores' ticks."""
        part, total = self.grown(name), self.grown("total_jiffies")
        return None if part is None or not total else part / total

    @property
    def cores(self) -> int | None:
        """Cores this process may run on."""
        affinity = self.facts.get("affinity")
        return len(affinity) if affinity else self.facts.get("cores")

    @property
    def others_cores(self) -> float | None:
        """Cores that were kept busy by others than the survey's own thread."""
        idle, cores = self.share_of_ticks("idle_jiffies"), self.facts.get("cores")
        if idle is None or not cores or not self.elapsed_s or not self.cpu_ns:
            return None
        return max(0.0, (1 - idle) * float(cores) - sum(self.cpu_ns) / 1e9 / self.elapsed_s)

    @property
    def lost_share(self) -> float | None:
        """Share of the wall time of one busy thread in which it did not run."""
        return 1 - sum(self.cpu_ns) / sum(self.wall_ns) if self.wall_ns and self.cpu_ns else None

    @property
    def wall_step_ns(self) -> int | None:
        """The smallest step of the wall clock."""
        return (self.clocks.get("wall") or {}).get("step_ns")

    @property
    def cpu_step_ns(self) -> int | None:
        """The smallest step of the clock of a thread's CPU time."""
        return (self.clocks.get("cpu") or {}).get("step_ns")

    def pressure(self, what: str) -> float | None:
        """Share of the survey's time in which some task waited for ``cpu``, ``memory`` or ``io``."""
        totals = [_total_us(facts.get(f"pressure_{what}")) for facts in (self.facts, self.after)]
        if totals[0] is None or totals[1] is None or not self.elapsed_s:
            return None
        return (totals[1] - totals[0]) / 1e6 / self.elapsed_s


def _total_us(pressure: str | None) -> int | None:
    for word in (pressure or "").split("\n", maxsplit=1)[0].split():
        key, _, value = word.partition("=")
        if key == "total" and value.isdigit():
            return int(value)
    return None
