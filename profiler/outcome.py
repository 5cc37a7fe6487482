"""How a run went on one target, in a few figures: what converged, what failed, how far the device drifted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from profiler.fingerprint import changes
from profiler.interval import Status
from profiler.journal import JournalContent
from profiler.target import Target
from profiler.throttling import advice, meanwhile, named

_STATUSES: Mapping[Status, str] = {
    "converged": "converged",
    "budget": "ended before they did",
    "unstable": "unstable",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """``statuses`` counts items, ``quarantined`` visits by reason, ``failed`` gives reasons by item.

    A virtual clock has no statuses: what it counts needs no interval.

    ``correction`` are the least and the largest factor by which a visit was corrected for drift;
    ``changed`` says how the device differed when the run was gone on with, ``throttled`` what a board
    said of its voltage and heat in the course of the run (at its rounds' starts, or newly between them).
    """

    statuses: Mapping[Status, int]
    failed: Mapping[str, str]
    visits: int
    quarantined: Mapping[str, int]
    correction: tuple[float, float]
    elapsed_s: float
    changed: tuple[str, ...] = ()
    throttled: tuple[str, ...] = ()
    advice: str = ""

    @classmethod
    def of(cls, content: JournalContent, target: Target) -> Outcome:
        """What the journal says of ``target``."""
        measured = {name: found for (of, name), found in content.measurements.items() if of == str(target)}
        failed = {name: reason for (of, name), reason in content.failed.items() if of == str(target)}
        rounds = [taken for found in measured.values() for taken in found.rounds]
        found = [entry.facts for entry in content.environment if entry.target == str(target) and entry.at == "start"]
        changed = (change for facts in found[1:] for change in changes(found[0], facts, target.clock))
        told = [e.facts.get("throttled_bits") for e in content.environment if e.target == str(target)]
        throttled = meanwhile(bits for bits in told if isinstance(bits, int))
        factors = [taken.correction for taken in rounds if taken.quarantined is None]
        return cls(
            statuses=dict(
                Counter(
                    found.status(target.clock)
                    for name, found in measured.items()
                    if name not in failed and target.clock != "virtual"
                )
            ),
            failed=failed,
            visits=len(rounds),
            quarantined=dict(Counter(taken.quarantined for taken in rounds if taken.quarantined is not None)),
            correction=(min(factors, default=1.0), max(factors, default=1.0)),
            elapsed_s=content.elapsed_s,
            changed=tuple(dict.fromkeys(changed)),
            throttled=named(throttled),
            advice=advice(throttled) if throttled else "",
        )

    def as_dict(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        said = [
            *(f"{self.statuses.get(status, 0)} {words}" for status, words in _STATUSES.items() if self.statuses),
            *([f"{len(self.failed)} failed"] if self.failed else []),
        ]
        least, most = (1 / factor - 1 for factor in reversed(self.correction))
        thrown = sum(self.quarantined.values())
        reasons = "; ".join(f"{why}: {count}" for why, count in sorted(self.quarantined.items()))
        lines = [
            f"{', '.join(said) or 'instructions counted'}; the device was {least:+.1%} to {most:+.1%} off its level,"
            f" {thrown} of {self.visits} visits were quarantined{f' ({reasons})' if reasons else ''}",
            *(f"note: the device changed in the course of the run: {change}" for change in self.changed),
            *(
                [f"note: the board was throttled ({', '.join(self.throttled)}): {self.advice}"]
                if self.throttled
                else []
            ),
            *(f"FAILED: {name}: {reason}" for name, reason in self.failed.items()),
        ]
        return "\n".join(lines)
