"""How a search is asked for, and how far below its limits it stays so that measurements meet them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hwnas.device_limits import DeviceLimits
from hwnas.errors import InfeasibleError, SearchError
from hwnas.evaluators.subset_file import ChosenSubset
from hwnas.finalists import SearchLatency
from hwnas.limits import CandidateLimits
from hwnas.search.evolution import EvolutionSettings
from hwnas.search.methods import Settings, method_named

CONFIDENCE = 0.95
MARGIN = 0.02
_SHORTLIST = 4
"""Candidates for each finalist that are evaluated on all pairs: the best on a subset is seldom far down the list."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """How to search: method, its settings, seed, and how many pairs and finalists are looked at.

    ``validation_pairs`` ``None`` scores on the whole validation split, as HAT does. A table is off
    by a little and a device is never twice the same, so the search stays below the latency limit: it
    holds the limit against what a measurement stays below at ``confidence``, or predictions to the
    share ``1 - margin`` of it. If neither is given, the confidence is 0.95 where the latency model
    knows intervals, else the margin 0.02. What was measured is held to the limit itself.

    ``objectives`` (of :data:`hwnas.objectives.OBJECTIVES`) are what it searches a front of; by default loss
    and latency where the method can, else the loss alone. ``seeds`` searches are made, of this seed and the
    next ones, and their best taken; with ``baseline`` random search of equal cost stands beside each.

    With a ``subset`` every candidate is evaluated on that, and the ``shortlist`` in the end on all pairs.
    """

    method: str = "evolution"
    settings: Settings = field(default_factory=EvolutionSettings)
    seed: int = 0
    validation_pairs: int | None = None
    finalists: int = 5
    rounds: int = 40
    margin: float | None = None
    confidence: float | None = None
    objectives: tuple[str, ...] | None = None
    seeds: int = 1
    baseline: bool = False
    subset: ChosenSubset | None = None

    def __post_init__(self) -> None:
        method_named(self.method)
        if self.margin is not None and not 0 <= self.margin < 1:
            raise SearchError(f"search: the margin is {self.margin}; it must be a share in [0, 1), like 0.02")
        if self.confidence is not None and not 0.5 <= self.confidence < 1:
            raise SearchError(
                f"search: the confidence is {self.confidence}; it must be a share in [0.5, 1), like {CONFIDENCE}"
            )
        if self.margin is not None and self.confidence is not None:
            raise SearchError("search: a confidence and a margin are two ways to stay below the limit; give one")
        if self.seeds < 1:
            raise SearchError(f"search: {self.seeds} seeds; at least 1 is needed")

    @property
    def shortlist(self) -> int:
        """How many of the best are looked at again before the finalists are named."""
        return self.finalists if self.subset is None else _SHORTLIST * self.finalists


def kept_below(limits: DeviceLimits, request: SearchRequest) -> DeviceLimits:
    """The limits a search keeps to meet those it was given; raises InfeasibleError if that leaves no candidate."""
    return DeviceLimits({device: _below(its, request) for device, its in limits.devices.items()})


def _below(limits: CandidateLimits, request: SearchRequest) -> CandidateLimits:
    """The limits a search keeps to meet those it was given; says so if that leaves no candidate."""
    if limits.latency_ms is None:
        return limits
    margin, confidence = request.margin, request.confidence
    if margin is None and confidence is None:
        bounded = isinstance(limits.latency, SearchLatency) and limits.latency.bounded
        margin, confidence = (None, CONFIDENCE) if bounded else (MARGIN, None)
    if margin is None:
        assert confidence is not None
        searched = replace(limits, confidence=confidence)
        kept = f"holds it at a confidence of {confidence:g}: lower that (--confidence)"
    else:
        searched = replace(limits, latency_ms=limits.latency_ms * (1 - margin))
        kept = f"keeps a margin of {margin:.1%} below it: lower the margin (--margin)"
    try:
        searched.check()
    except InfeasibleError as exc:
        raise InfeasibleError(
            f"{exc}; the limit is {limits.latency_ms:g} ms, the search {kept}, or raise the limit"
        ) from None
    return searched
