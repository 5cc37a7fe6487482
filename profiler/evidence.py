"""From a journal's records to what they say: measurements corrected for drift, and what does not count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from profiler.drift import DriftReport, Reference, Visit, drift_report, hard_reason
from profiler.errors import JournalError
from profiler.journal import Environment, JournalContent, JournalHeader, parity_from_record
from profiler.measurement import Measurement, RoundSamples
from profiler.parity import Parity
from profiler.schedule import Key
from profiler.throttling import meanwhile

_JIFFY_NS = 1e7
_STOLEN_SHARE = 0.2
_CLOCK_SHARE, _CLOCK_READING_NS = 1e-3, 1e5
_CLOCK_CHANGED = 0.01


class Evidence:
    """Collects records one by one; :meth:`content` is what those before a round say, whatever came later."""

    def __init__(self, header: JournalHeader) -> None:
        self.header = header
        self._targets = {str(target): target for target in header.targets}
        self._resolution_ns: dict[str, float] = {}
        self._taken: dict[str, dict[tuple[str, int], tuple[RoundSamples, Visit]]] = {}
        self._references: dict[str, dict[tuple[int, int, str], Reference]] = {}
        self._environment: list[Environment] = []
        self._cores: dict[str, int] = {}
        self._at_s = self._ready_s = 0.0
        self._round_ended_s: dict[int, float] = {}
        self.budget_s, self._budget_round = header.plan.budget_s, 0
        self.parity: dict[Key, Parity] = {}
        self.calls: dict[Key, int] = {}
        self.call_ms: dict[Key, float] = {}
        self._took_s: dict[Key, dict[int, float]] = {}
        self.failed: dict[Key, str] = {}

    @classmethod
    def collected(cls, header: JournalHeader, records: Iterable[Mapping[str, Any]], path: Path) -> Evidence:
        """What the journal at ``path`` holds after its header; raises :class:`JournalError` naming a bad line."""
        evidence = cls(header)
        for number, record in enumerate(records, start=2):
            try:
                evidence.add(record)
            except KeyError as exc:
                raise JournalError(f"journal {path}: line {number} lacks {exc}; it was not written by hwnas") from exc
            except (TypeError, ValueError, ArithmeticError, AttributeError) as exc:
                raise JournalError(f"journal {path}: line {number} is no record of hwnas's ({exc})") from exc
        return evidence

    def add(self, record: Mapping[str, Any]) -> None:
        """Take in a record; raises ``KeyError`` for one that lacks something, and whatever else for nonsense."""
        if "at_s" in record:
            self._add_time(record["kind"], record.get("round"), float(record["at_s"]))
        match record.get("kind"):
            case "sample":
                self._add_sample(record)
            case "reference":
                self._add_reference(record)
            case "parity":
                self.parity[record["target"], record["artifact"]] = parity_from_record(record)
            case "calibration":
                key = record["target"], record["item"]
                self.calls[key], self.call_ms[key] = record["calls"], record["call_ms"]
            case "failure":
                self.failed[record["target"], record["item"]] = record["reason"]
            case "environment":
                found = Environment(record["target"], record["at"], record.get("round"), record["facts"])
                self._environment.append(found)
                self._resolution_ns[found.target] = clock_step_ns(found.facts)
                cores = found.facts.get("cores")
                self._cores[found.target] = cores if isinstance(cores, int) and cores > 0 else 1
            case "budget":
                self.budget_s, self._budget_round = record["budget_s"], record["round"]

    def _add_time(self, kind: str, number: int | None, at_s: float) -> None:
        """Only what a round took counts for the rounds after it: sessions that a resumed run opens do not."""
        self._at_s = max(self._at_s, at_s)
        if number is not None and kind in ("sample", "reference"):
            self._round_ended_s[number] = max(self._round_ended_s.get(number, 0.0), at_s)
        elif kind in ("parity", "calibration") and not self._round_ended_s:
            self._ready_s = at_s

    def check_same_cpu(self, target: str, facts: Mapping[str, object], path: Path) -> None:
        """Raise :class:`JournalError` if a run that began on one model of CPU, or GPU, would go on on another."""
        for name in ("cpu_model", "gpu_name"):
            began_on = next((e.facts.get(name) for e in self._environment if e.target == target), None)
            found = facts.get(name)
            if began_on is not None and found is not None and began_on != found:
                raise JournalError(
                    f"journal {path} was begun on {began_on}, {target} is {found} now; give another --out"
                )

    @property
    def ended(self) -> bool:
        """Whether a run that measured something came to its end, and nothing was taken after that."""
        return len(self) > 0 and self._environment[-1:] != [] and self._environment[-1].at == "end"

    def has(self, key: Key, number: int) -> bool:
        """Whether the item was sampled in that round."""
        return (key[1], number) in self._taken.get(key[0], {})

    def has_reference(self, target: str, number: int, position: int, workload: str) -> bool:
        """Whether that reference was taken."""
        return (number, position, workload) in self._references.get(target, {})

    @property
    def last_round(self) -> int:
        """The highest number of a round of which anything was taken; at least the first of the latest budget, or 0."""
        return max([*self._rounds_taken(), self._budget_round])

    @property
    def next_round(self) -> int:
        """The number of the first round of which nothing was taken."""
        return max(self._rounds_taken(), default=-1) + 1

    def _rounds_taken(self) -> list[int]:
        numbers = [number for taken in self._taken.values() for _, number in taken]
        return numbers + [number for taken in self._references.values() for number, _, _ in taken]

    def __len__(self) -> int:
        """How many visits were made."""
        return sum(len(taken) for taken in self._taken.values())

    def visit_s(self, key: Key, before: int) -> float | None:
        """How long the last visit to an item took, loading it included; None if there was none."""
        known = [(number, took_s) for number, took_s in self._took_s.get(key, {}).items() if number < before]
        return max(known)[1] if known else None

    def overhead_s(self, number: int) -> float:
        """What a round takes beside its visits, judged by the one before it (1 s before the first)."""
        if number == 0:
            return 1.0
        visits_s = sum(took.get(number - 1, 0.0) for took in self._took_s.values())
        return max(0.0, self.elapsed_s(number) - self.elapsed_s(number - 1) - visits_s)

    def elapsed_s(self, before: int | None = None) -> float:
        """Time spent measuring in all, or until the round ``before`` began: before round 0, on making ready."""
        if before is None:
            return self._at_s
        ended = (at_s for number, at_s in self._round_ended_s.items() if number < before)
        return max(ended, default=self._ready_s)

    def resolution_ns(self, target: str) -> float:
        """The step of the clock that counts, as last told."""
        return self._resolution_ns.get(target, 1.0)

    def content(self, before: int | None = None) -> JournalContent:
        """What the records of the rounds before ``before`` (all of them for None) say."""
        measurements: dict[Key, Measurement] = {}
        drift: dict[str, DriftReport] = {}
        for target in self._taken:
            drift[target], found = self._corrected(target, before)
            measurements |= {
                (target, item): self._measurement(samples, drift[target].level_spread(item))
                for item, samples in found.items()
            }
        items = {item.name for item in self.header.items}
        return JournalContent(
            self.header,
            measurements,
            dict(self.parity),
            tuple(self._environment),
            {key: calls for key, calls in self.calls.items() if key[1] in items},
            drift,
            dict(self.failed),
            self.elapsed_s(before),
        )

    def _corrected(self, target: str, before: int | None) -> tuple[DriftReport, dict[str, list[RoundSamples]]]:
        throttled = self._throttled(target)
        of_before = [
            (samples, visit)
            for samples, visit in self._taken[target].values()
            if before is None or samples.round < before
        ]
        clock_khz = _usual_khz([samples for samples, _ in of_before])
        taken = [
            (samples, replace(visit, hard=visit.hard or _of_board(samples, clock_khz, throttled)))
            for samples, visit in of_before
        ]
        references = [r for r in self._references.get(target, {}).values() if before is None or r.round < before]
        report = drift_report(references, [visit for _, visit in taken])
        anchor = self.header.anchors.get(target)
        if anchor is not None:
            report = report.at(anchor, self._facts(target))
        found: dict[str, list[RoundSamples]] = {}
        for samples, visit in taken:
            correction, why = report.correction(visit)
            found.setdefault(visit.item, []).append(replace(samples, correction=correction, quarantined=why))
        return report, found

    def _facts(self, target: str) -> Mapping[str, object]:
        """What the device told when it was last begun with."""
        started = [entry.facts for entry in self._environment if entry.target == target and entry.at == "start"]
        return started[-1] if started else {}

    def _measurement(self, samples: Sequence[RoundSamples], level_spread: float) -> Measurement:
        plan = self.header.plan
        ordered = tuple(sorted(samples, key=lambda r: r.round))
        if plan.half_width is None:
            return Measurement(ordered, min_rounds=min(plan.min_rounds, plan.rounds), level_spread=level_spread)
        return Measurement(ordered, half_width=plan.half_width, min_rounds=plan.min_rounds, level_spread=level_spread)

    def _add_sample(self, record: Mapping[str, Any]) -> None:
        name, item, number = record["target"], record["item"], record["round"]
        samples = RoundSamples(
            number,
            record["calls"],
            tuple(record["wall_ns"]),
            tuple(record["cpu_ns"]),
            position=record.get("position"),
            facts=record.get("facts", {}),
            cold_ms=record.get("cold_ms"),
        )
        target = self._targets.get(name)
        clock = "wall" if target is None else target.clock
        resolution_ns = self.resolution_ns(name)
        visit = Visit(
            number,
            len(self._taken.get(name, {})) if samples.position is None else samples.position,
            item,
            samples.raw_ms(clock),
            hard_reason(samples.wall_ns, samples.cpu_ns, 1 if target is None else target.threads, resolution_ns)
            or disturbed(samples, resolution_ns, self._cores.get(name, 1)),
        )
        self._taken.setdefault(name, {})[item, number] = samples, visit
        self.failed.pop((name, item), None)
        if "took_s" in record:
            self._took_s.setdefault((name, item), {})[number] = record["took_s"]

    def _add_reference(self, record: Mapping[str, Any]) -> None:
        target = self._targets.get(record["target"])
        clock = "wall" if target is None else target.clock
        wall_ns, cpu_ns = record["wall_ns"], record["cpu_ns"]
        resolution_ns = self.resolution_ns(record["target"])
        reference = Reference(
            record["round"],
            record["position"],
            record["workload"],
            min(wall_ns if clock == "wall" else cpu_ns) / record["calls"] / 1e6,
            hard_reason(wall_ns, cpu_ns, 1 if target is None else target.threads, resolution_ns),
        )
        key = reference.round, reference.position, reference.workload
        self._references.setdefault(record["target"], {})[key] = reference

    def _throttled(self, target: str) -> dict[int, str]:
        """The rounds at whose start or end a board was throttled, or within which it had been."""
        found: dict[int, str] = {}
        seen = [e for e in self._environment if e.target == target and isinstance(e.facts.get("throttled_bits"), int)]
        for position, this in enumerate(seen):
            if this.round is None:
                continue
            bits = [int(str(e.facts["throttled_bits"])) for e in seen[position : position + 2]]
            if meanwhile(bits):
                found[this.round] = f"the board was throttled (bits {max(bits):#x})"
        return found


def disturbed(samples: RoundSamples, resolution_ns: float = 1.0, cores: int = 1) -> str | None:
    """Why what was counted meanwhile rules a visit out, or None.

    The host of a virtual machine took at least a fifth of the time (what it took is counted over
    all ``cores``), or the clock was slewed.
    """
    facts = samples.facts
    stolen_ns = facts.get("steal_jiffies", 0) * _JIFFY_NS / cores
    if stolen_ns >= 2 * _JIFFY_NS and stolen_ns > _STOLEN_SHARE * sum(samples.wall_ns):
        return "the host took the CPU away"
    wall_ns, raw_ns = facts.get("wall_ns", 0), facts.get("raw_ns", 0)
    if raw_ns and abs(wall_ns - raw_ns) > max(_CLOCK_SHARE * raw_ns, _CLOCK_READING_NS) + 2 * resolution_ns:
        return "the clock jumped"
    return None


def _usual_khz(taken: Iterable[RoundSamples]) -> float | None:
    """The clock a board had in the middle of its visits; None if it does not tell."""
    told = [samples.facts["load_khz"] for samples in taken if samples.facts.get("load_khz")]
    return median(told) if told else None


def _of_board(samples: RoundSamples, clock_khz: float | None, throttled: Mapping[int, str]) -> str | None:
    """Why a board's state rules a visit out, or None; a visit that tells of throttling does not count by its round."""
    if "throttles" not in samples.facts:
        found = throttled.get(samples.round)
    else:
        found = "the device was throttled" if samples.facts["throttles"] else None
    here_khz = samples.facts.get("load_khz")
    if found is None and here_khz and clock_khz and abs(here_khz / clock_khz - 1) > _CLOCK_CHANGED:
        return "the board's clock was another"
    return found


def clock_step_ns(facts: Mapping[str, object]) -> float:
    """The coarser of the steps of a machine's two clocks; 1 ns if it does not tell."""
    told = facts.get("clock_resolution_ns")
    steps = told.values() if isinstance(told, Mapping) else ()
    return max((float(step) for step in steps if isinstance(step, int | float)), default=1.0)
