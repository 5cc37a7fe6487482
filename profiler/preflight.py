"""What will disturb a measurement on a device, judged from plain data that the device gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, Protocol, runtime_checkable

from profiler.fingerprint import fingerprint
from profiler.preflight_checks import BUSY_CORES, CHECKS
from profiler.survey import Finding, Survey
from profiler.target import Target

Verdict = Literal["quiet", "usable", "disturbed", "unusable"]

SHARED = 0.01
"""Share of one thread's time lost to others, above which wall time tells of them rather than of the program."""
COARSE_NS = 10_000
"""Step of a clock of which a sample of 2 ms has 200, the least that will do."""


@runtime_checkable
class Surveyor(Protocol):
    """A session that can look for what would disturb a measurement on its device."""

    def survey(self, seconds: float) -> dict[str, object]:
        """Facts before and after ``seconds`` of a thread's work, its samples, clocks and busy processes."""
        ...


@dataclass(frozen=True, slots=True)
class ClockAdvice:
    """The clock that suits a device now (``wall`` or ``thread_cpu``), and why."""

    clock: Literal["wall", "thread_cpu"]
    reason: str


@dataclass(frozen=True, slots=True)
class Preflight:
    """Findings about a target; ``unknown`` names the checks whose facts the device does not tell."""

    target: Target
    findings: tuple[Finding, ...]
    unknown: tuple[str, ...]
    clock: ClockAdvice
    fingerprint: str

    @property
    def verdict(self) -> Verdict:
        """``unusable`` if anything fails, ``disturbed`` if something disturbs now, ``usable`` if anything
        else is worth a warning or the noise could not be looked at, else ``quiet``."""
        if any(finding.level == "fail" for finding in self.findings):
            return "unusable"
        warnings = [finding for finding in self.findings if finding.level == "warn"]
        if any(finding.disturbs for finding in warnings):
            return "disturbed"
        return "usable" if warnings or "noise" in self.unknown else "quiet"

    def as_dict(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "target": str(self.target),
            "verdict": self.verdict,
            "fingerprint": self.fingerprint,
            "clock": {"used": self.target.clock, "suggested": self.clock.clock, "reason": self.clock.reason},
            "findings": [asdict(finding) for finding in self.findings],
            "unknown": list(self.unknown),
        }


def judge(survey: Mapping[str, object], target: Target) -> Preflight:
    """Judge what :meth:`Surveyor.survey` told of ``target``; the same data give the same judgement."""
    seen = Survey(survey, target)
    findings, unknown = [], []
    for name, check in CHECKS.items():
        finding = check(seen)
        if finding is None:
            unknown.append(name)
        else:
            findings.append(finding)
    advice = advise_clock(seen)
    findings.append(_clock_choice(target, advice))
    return Preflight(target, tuple(findings), tuple(unknown), advice, fingerprint(seen.facts, target.clock))


def advise_clock(seen: Survey) -> ClockAdvice:
    """Thread CPU time where others take time from one thread (or could), wall time everywhere else."""
    if seen.gpu:
        return ClockAdvice("wall", "a GPU works on its own, so only wall time contains its work")
    if seen.target.threads > 1:
        return ClockAdvice("wall", f"the CPU time of {seen.target.threads} threads is not what a user waits for")
    if seen.cpu_step_ns is None or seen.cpu_step_ns > COARSE_NS:
        return ClockAdvice("wall", "the clock of a thread's CPU time is too coarse here")
    lost, others = seen.lost_share or 0.0, seen.others_cores or 0.0
    if lost > SHARED or others > BUSY_CORES:
        return ClockAdvice(
            "thread_cpu", f"others used {others:.1f} cores and took {max(0.0, lost):.1%} of one thread's time just now"
        )
    if seen.facts.get("hypervisor"):
        return ClockAdvice("thread_cpu", "a virtual machine shares its cores, though nobody took any just now")
    return ClockAdvice("wall", "nobody took time from one thread, and wall time is what a user waits for")


def _clock_choice(target: Target, advice: ClockAdvice) -> Finding:
    if target.clock == advice.clock:
        return Finding("clock", "ok", f"{target.clock}, as suggested: {advice.reason}")
    return Finding(
        "clock",
        "warn" if target.clock == "wall" else "ok",
        f"{target.clock}; suggested is {advice.clock}: {advice.reason}",
        f"put `clock: {advice.clock}` below {target.device} in devices.yaml, and profile anew: no table mixes clocks",
    )
