"""What a device's state did to each visit: corrected within bounds by reference workloads, quarantined beyond.

Two reference workloads run beside what is measured, one bound by compute and one by memory. How much
slower they are than at their best, r_c and r_m, tells how much slower an item is: r_c^mix * r_m^(1 - mix),
with the item's own mix of the two fitted from its own rounds. Disturbance beyond 25 %, or of which
the references around a visit tell different things, is not corrected but thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from profiler.anchor import Anchor
from profiler.reference_track import BOUND, ReferenceTrack, reference_track, time_of

Workload = Literal["compute", "memory"]
Floats = npt.NDArray[np.float64]
Key = tuple[int, int, str]

_COMMON_MIX, _MIX_SPREAD = 0.5, 0.3
_OWN_ROUNDS = 5
_OWN_MULTIPLE = 6.0
_FITTING = 0.1
_ODD = 0.01
_FITS = 3


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference workload's latency on the target's clock, at a position of a round.

    The latency is best told by its fastest sample, for all it has to show is the device's state; ``hard``
    is a reason that rules it out.
    """

    round: int
    position: int
    workload: Workload
    latency_ms: float
    hard: str | None = None

    @property
    def counts(self) -> bool:
        """Whether it tells anything."""
        return self.hard is None and self.latency_ms > 0


@dataclass(frozen=True, slots=True)
class Visit:
    """An item's raw latency at a position of a round; ``hard`` a reason that rules it out by itself."""

    round: int
    position: int
    item: str
    latency_ms: float
    hard: str | None = None

    @property
    def key(self) -> Key:
        """What it is found by in a :class:`DriftReport`."""
        return self.round, self.position, self.item


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What the references say of one target's run.

    ``rounds`` has for every round the mean ratio of each workload to its undisturbed level,
    ``levels_ms`` those levels and ``level_spreads`` their standard deviations (0 where nothing is
    corrected), ``mix`` each item's share of compute. ``anchored`` is the factor that brings the
    session to another's level (None: it is told at its own), ``unanchored`` why it could not be brought there.
    """

    corrections: Mapping[Key, tuple[float, str | None]] = field(default_factory=dict)
    rounds: Mapping[int, Mapping[Workload, float]] = field(default_factory=dict)
    levels_ms: Mapping[Workload, float] = field(default_factory=dict)
    level_spreads: Mapping[Workload, float] = field(default_factory=dict)
    mix: Mapping[str, float] = field(default_factory=dict)
    anchored: float | None = None
    unanchored: str | None = None

    def correction(self, visit: Visit) -> tuple[float, str | None]:
        """The factor that takes the drift out of ``visit``, and why it is quarantined if it is."""
        factor, why = self.corrections.get(visit.key, (1.0, visit.hard))
        return factor * (self.anchored or 1.0), why

    def at(self, anchor: Anchor, facts: Mapping[str, object]) -> DriftReport:
        """The same told at another session's level, if it can be; ``facts`` are the device's."""
        compute_ms = self.levels_ms.get("compute")
        why = anchor.refusal(compute_ms, facts)
        anchored = None if why or compute_ms is None else anchor.factor(compute_ms)
        return replace(self, anchored=anchored, unanchored=why)

    def level_spread(self, item: str) -> float:
        """Standard deviation, as a share, of what the correction of all rounds of an item is off in common."""
        mix = self.mix.get(item, _COMMON_MIX)
        compute, memory = (self.level_spreads.get(workload, 0.0) for workload in ("compute", "memory"))
        return math.hypot(mix * compute, (1 - mix) * memory)

    @property
    def quarantined(self) -> Mapping[Key, str]:
        """The visits that do not count, with their reasons."""
        return MappingProxyType({key: why for key, (_, why) in self.corrections.items() if why is not None})

    def as_dict(self) -> dict[str, object]:
        """JSON-able: levels, ratios by round, the range of corrections, quarantined visits by round and reason.

        At another session's level also its factor (``anchored``), or why it could not be told there (``unanchored``).
        """
        factors = [factor for factor, why in self.corrections.values() if why is None]
        quarantined: dict[str, dict[str, int]] = {}
        for (number, _, _), why in sorted(self.quarantined.items()):
            reasons = quarantined.setdefault(str(number), {})
            reasons[why] = reasons.get(why, 0) + 1
        return {
            "levels_ms": dict(self.levels_ms),
            "rounds": {str(number): dict(ratios) for number, ratios in sorted(self.rounds.items())},
            "correction": [min(factors), max(factors)] if factors else None,
            "visits": len(self.corrections),
            "quarantined": quarantined,
            **({} if self.anchored is None else {"anchored": self.anchored}),
            **({} if self.unanchored is None else {"unanchored": self.unanchored}),
        }


def drift_report(references: Sequence[Reference], visits: Sequence[Visit]) -> DriftReport:
    """Correction or quarantine of every visit of one target; a pure function of all that was taken.

    Without references nothing is corrected, and quarantined is what is ruled out by itself or by
    its distance from the item's other rounds.
    """
    if not visits:
        return DriftReport()
    return _Fit(references, visits).report()


class _Fit:
    """Visits as arrays, in the order given; log latencies, and log ratios of the device at each visit."""

    def __init__(self, references: Sequence[Reference], visits: Sequence[Visit]) -> None:
        self.references, self.visits = references, visits
        time, length = time_of(
            [r.round for r in references] + [v.round for v in visits],
            [r.position for r in references] + [v.position for v in visits],
        )
        self.tracks = _tracks(references, time[: len(references)], length)
        self.log_ms = np.log([max(visit.latency_ms, 1e-12) for visit in visits])
        self.hard = np.array([visit.hard is not None or visit.latency_ms <= 0 for visit in visits])
        self.names, self.item = np.unique([visit.item for visit in visits], return_inverse=True)
        _, self.round = np.unique([visit.round for visit in visits], return_inverse=True)
        states = {workload: np.stack(track.at(time[len(references) :])) for workload, track in self.tracks.items()}
        nothing = np.zeros((3, len(visits)))
        compute, memory = states.get("compute"), states.get("memory")
        self.memory = next((state for state in (memory, compute) if state is not None), nothing)
        self.excess = (compute - memory) if compute is not None and memory is not None else nothing
        """Compute's log ratio less memory's, (3, visits): by the references before, after, and usual."""

    def report(self) -> DriftReport:
        self._forget_lone_references()
        mix = np.full(len(self.names), _COMMON_MIX)
        good = ~self.hard & (np.abs(self._log_ratio(mix)) <= BOUND).all(axis=0)
        for _ in range(_FITS):
            mix = self._mix(good)
            chosen, torn = self._chosen(mix, good)
            beyond = np.abs(chosen) > BOUND
            own = self._beyond_own(self.log_ms - chosen, ~self.hard & ~beyond & ~torn)
            good = ~self.hard & ~beyond & ~torn & ~own
        corrections: dict[Key, tuple[float, str | None]] = {}
        for i, visit in enumerate(self.visits):
            why = None
            if self.hard[i]:
                why = visit.hard or "the clock ran backwards"
            elif beyond[i]:
                why = f"the device was over {math.exp(BOUND) - 1:.0%} slower"
            elif torn[i]:
                why = "the references around it disagree"
            elif own[i]:
                why = "far from the item's other rounds"
            corrections[visit.key] = (math.exp(-chosen[i]) if why is None else 1.0, why)
        levels = {workload: track.level_ms for workload, track in self.tracks.items()}
        fitted = {str(name): float(share) for name, share in zip(self.names, mix, strict=True)}
        spreads = {workload: track.level_spread for workload, track in self.tracks.items()}
        return DriftReport(corrections, self._by_round(), levels, spreads, fitted)

    def _log_ratio(self, mix: Floats) -> Floats:
        ratio: Floats = self.memory + mix[self.item] * self.excess
        return ratio

    def _chosen(self, mix: Floats, good: npt.NDArray[np.bool_]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Log ratio of every visit, and whether it cannot be told.

        At a jump, and where the references tell of more than can be corrected, it is the one that
        fits the item's other rounds: as before, as after, or as usual.
        """
        candidates = self._log_ratio(mix)
        told_so: Floats = candidates[0]
        doubtful = (candidates[0] != candidates[1]) | (np.abs(told_so) > BOUND)
        if not doubtful.any():
            return told_so, doubtful
        middle, rounds = self._middles(self.log_ms - told_so, good & ~doubtful)
        known = rounds[self.item] >= _OWN_ROUNDS
        residuals = np.abs(self.log_ms - candidates - middle[self.item])
        best = residuals.argmin(axis=0)
        told = known & (residuals.min(axis=0) <= _FITTING)
        chosen = np.where(doubtful & told, np.take_along_axis(candidates, best[None, :], axis=0)[0], told_so)
        return chosen, doubtful & ~told

    def _forget_lone_references(self) -> None:
        """Take the device for as usual in rounds in which only the references were in another state.

        A process may slow down a reference alone, by where its buffers lie. The visits of a round
        decide together which of the two they fit.
        """
        candidates = self._log_ratio(np.full(len(self.names), _COMMON_MIX))
        good = ~self.hard & (candidates[0] == candidates[1]) & (np.abs(candidates[0]) <= BOUND)
        odd = good & (np.abs(candidates[0] - candidates[2]) > _ODD)
        middle, rounds = self._middles(self.log_ms - candidates[0], good & ~odd)
        off = np.minimum(np.abs(self.log_ms - candidates - middle[self.item]), BOUND)
        voting = odd & (rounds[self.item] >= _OWN_ROUNDS)
        lone = odd & (np.bincount(self.round, weights=voting * (off[0] - off[2])) > 0)[self.round]
        for state in (self.memory, self.excess):
            state[:2, lone] = state[2, lone]

    def _middles(self, values: Floats, good: npt.NDArray[np.bool_]) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Median of each item's good values (0 without any), and how many there are."""
        count = np.bincount(self.item[good], minlength=len(self.names))
        ordered = values[good][np.lexsort((values[good], self.item[good]))]
        middle, some = np.zeros(len(self.names)), count > 0
        first = (np.cumsum(count) - count)[some]
        middle[some] = (ordered[first + (count[some] - 1) // 2] + ordered[first + count[some] // 2]) / 2
        return middle, count

    def _spreads(self, distance: Floats, good: npt.NDArray[np.bool_]) -> Floats:
        """Robust standard deviation of each item's good visits from their distances to the median."""
        return self._middles(distance, good)[0] / 0.6745

    def _mix(self, good: npt.NDArray[np.bool_]) -> Floats:
        """Each item's share of compute, in [0, 1]: least squares of its rounds, shrunk to the share of all.

        Rounds off the median count for less (Huber 1981, "Robust Statistics", section 7.8, weights cut at 1.5).
        """
        good = good & (self.excess[0] == self.excess[1])
        excess, response = self.excess[0], self.log_ms - self.memory[0]
        response = response - self._middles(response, good)[0][self.item]
        spread = np.maximum(1e-4, self._spreads(np.abs(response), good))
        weight = good * np.minimum(1.0, 1.5 * spread[self.item] / np.maximum(np.abs(response), 1e-12))

        def total(values: Floats) -> Floats:
            return np.bincount(self.item, weights=weight * values, minlength=len(self.names)).astype(np.float64)

        known = np.maximum(total(np.ones(len(weight))), 1e-12)
        excess = excess - (total(excess) / known)[self.item]
        products, squares = total(excess * response), total(excess**2)
        own_shrink: Floats = (spread / _MIX_SPREAD) ** 2
        shrink = float(np.median(own_shrink))
        common = np.clip((products.sum() + shrink * _COMMON_MIX) / (squares.sum() + shrink), 0.0, 1.0)
        mix: Floats = np.clip((products + own_shrink * common) / (squares + own_shrink), 0.0, 1.0)
        return mix

    def _beyond_own(self, corrected: Floats, good: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Visits further than 25 % (and six robust standard deviations) from the item's other rounds."""
        middle, count = self._middles(corrected, good)
        distance = np.abs(corrected - middle[self.item])
        far = distance > np.maximum(BOUND, _OWN_MULTIPLE * self._spreads(distance, good))[self.item]
        return good & far & (count >= _OWN_ROUNDS)[self.item]

    def _by_round(self) -> dict[int, dict[Workload, float]]:
        found: dict[int, dict[Workload, float]] = {}
        for workload, track in self.tracks.items():
            for number in np.unique(track.rounds):
                here = track.log_ratio[track.rounds == number]
                found.setdefault(int(number), {})[workload] = math.exp(here.mean())
        return found


def _tracks(references: Sequence[Reference], time: Floats, length: float) -> dict[Workload, ReferenceTrack]:
    tracks: dict[Workload, ReferenceTrack] = {}
    workloads: tuple[Workload, ...] = ("compute", "memory")
    for workload in workloads:
        of = [i for i, reference in enumerate(references) if reference.workload == workload and reference.counts]
        of.sort(key=lambda i: time[i])
        if of:
            tracks[workload] = reference_track(
                time[of],
                np.array([references[i].round for i in of]),
                np.array([references[i].latency_ms for i in of]),
                length,
            )
    return tracks


def hard_reason(
    wall_ns: Sequence[int], cpu_ns: Sequence[int], threads: int = 1, resolution_ns: float = 1e3, tolerance: float = 0.05
) -> str | None:
    """Why a visit's samples rule it out by themselves, or None.

    One thread cannot spend more CPU time than passes: where it seems to, the wall clock was set back.
    """
    if min(wall_ns, default=1) <= 0 or min(cpu_ns, default=0) < 0:
        return "the clock ran backwards"
    if threads == 1 and any(
        cpu > wall * (1 + tolerance) + 2 * resolution_ns for wall, cpu in zip(wall_ns, cpu_ns, strict=True)
    ):
        return "more CPU time than wall time: the clock was set back"
    return None
