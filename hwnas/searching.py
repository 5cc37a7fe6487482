"""The search of a space on a device: inherited-weight loss, hard limits, and winners measured in the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hwnas.candidates import write_candidate
from hwnas.changed import changed_during
from hwnas.errors import InfeasibleError, SearchError
from hwnas.evaluators.inherited import InheritedLoss
from hwnas.evaluators.pool import evaluating
from hwnas.families.base import Family
from hwnas.files import artifact_cache, write_json
from hwnas.finalists import Finalist, SearchLatency, measure_finalists, pick_winner, predicted_interval
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits
from hwnas.predictors.latency import PredictorLatency
from hwnas.profiling import Progress, quietly
from hwnas.search.evolution import Evolution, EvolutionSettings
from hwnas.search.protocol import Evaluator
from hwnas.search.random_search import RandomSearch
from hwnas.search.run import SearchResult, run_search, search_header
from hwnas.space import Candidate, SearchSpace
from latency_luts import LatencyLut
from profiler import Device, read_journal

if TYPE_CHECKING:
    from hwnas.data.task import Pair, Task
    from hwnas.supernet import SuperTransformer

JOURNAL, FINALISTS = "search.journal.jsonl", "finalists.journal.jsonl"
"""In a search's folder: every candidate it evaluated."""

CONFIDENCE = 0.95
MARGIN = 0.02

Method = Literal["evolution", "random"]


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """How to search: method, HAT's settings, seed, and how many pairs and finalists are looked at.

    ``validation_pairs`` ``None`` scores on the whole validation split, as HAT does. A table is off
    by a little and a device is never twice the same, so the search stays below the latency limit: it
    holds the limit against what a measurement stays below at ``confidence``, or predictions to the
    share ``1 - margin`` of it. If neither is given, the confidence is 0.95 where the latency model
    knows intervals, else the margin 0.02. What was measured is held to the limit itself.
    """

    method: Method = "evolution"
    settings: EvolutionSettings = field(default_factory=EvolutionSettings)
    seed: int = 0
    validation_pairs: int | None = None
    finalists: int = 5
    rounds: int = 40
    margin: float | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        if self.margin is not None and not 0 <= self.margin < 1:
            raise SearchError(f"search: the margin is {self.margin}; it must be a share in [0, 1), like 0.02")
        if self.confidence is not None and not 0.5 <= self.confidence < 1:
            raise SearchError(
                f"search: the confidence is {self.confidence}; it must be a share in [0.5, 1), like {CONFIDENCE}"
            )
        if self.margin is not None and self.confidence is not None:
            raise SearchError("search: a confidence and a margin are two ways to stay below the limit; give one")


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What a search found.

    ``limits`` are those asked for, ``searched`` those the search kept to stay below them.
    ``predictions`` says what the predicted latencies are from. ``drift`` is the device's latency
    now over the table's; ``None`` if unknown. ``changed`` says how the device differs from when the
    table was made.
    """

    method: Method
    limits: str
    searched: str
    predictions: str
    evaluations: int
    finalists: tuple[Finalist, ...]
    winner: Finalist | None
    drift: float | None
    changed: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """JSON-able."""
        return {
            "method": self.method,
            "limits": self.limits,
            "searched": self.searched,
            "predictions": self.predictions,
            "evaluations": self.evaluations,
            "finalists": [finalist.as_dict() for finalist in self.finalists],
            "winner": None if self.winner is None else self.winner.as_dict(),
            "drift": self.drift,
            "changed": list(self.changed),
        }


def search_space(
    space: SearchSpace,
    family: Family,
    evaluate: Evaluator,
    limits: CandidateLimits,
    *,
    method: Method,
    settings: EvolutionSettings,
    seed: int,
    evaluator: str,
    latency: str,
    journal: Path,
    progress: Progress,
    exclude: Sequence[Candidate] = (),
) -> SearchResult:
    """Run one search method; ``random`` spends as many evaluations as ``evolution`` with these settings.

    ``evaluator`` and ``latency`` say in the journal what the losses and latencies are from, so
    that others are never mixed in. The same call after an interruption repeats no evaluation. Raises
    :class:`hwnas.errors.InfeasibleError` before anything is evaluated if no candidate can meet
    the limits.
    """
    limits.check()
    probes = limits.probes()
    searcher = (
        Evolution(space, limits, settings, seed=seed, probes=probes, exclude=exclude)
        if method == "evolution"
        else RandomSearch(space, limits, evaluations=settings.evaluations, seed=seed, probes=probes, exclude=exclude)
    )
    apart = {"excluded": _digest(sorted(candidate.key for candidate in exclude))} if exclude else {}
    header = search_header(
        space,
        searcher=method,
        settings={**settings.as_dict(), **apart},
        seed=seed,
        limits=limits.describe(),
        evaluator=evaluator,
        latency=latency,
    )
    return run_search(
        searcher,
        evaluate,
        space,
        journal,
        header=header,
        progress=lambda p: progress(p.evaluations, settings.evaluations, f"best loss {p.best_loss:.4f}"),
    )


def search_and_measure(
    space: SearchSpace,
    family: Family,
    supernet: SuperTransformer,
    task: Task,
    table: LatencyLut | None,
    limits: CandidateLimits,
    request: SearchRequest,
    out: Path,
    *,
    device: Device | None = None,
    exclude: Sequence[Candidate] = (),
    cache: Path | None = None,
    searching: Progress = quietly,
    measuring: Progress = quietly,
    waiting: Callable[[str], None] | None = None,
    workers: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> SearchOutcome:
    """Search, measure the best on ``device`` (if any), and write ``search.json`` and ``winner.yml`` to ``out``.

    The winner is the finalist of lowest loss whose measured latency, with its 95 % interval, meets
    the limit (whose prediction does, if nothing is measured). Everything evaluated or measured is kept in journals in
    ``out``; the same call goes on where it was interrupted. ``limits`` need the :class:`TableLatency` of
    ``table``, or a whole-model predictor's latency where that is ``None``. For ``waiting`` see
    :func:`hwnas.profiling.opened`, for ``workers`` and ``say`` :func:`hwnas.evaluators.pool.evaluating`: the
    outcome does not depend on them. Raises :class:`hwnas.errors.WorkloadError` if the latencies are for
    another number of output symbols than the task has.
    """
    from hwnas.data.task import require_vocabulary
    from hwnas.training import weights_digest

    latency = limits.latency
    assert isinstance(latency, SearchLatency)
    require_vocabulary(latency.workload, task)
    limits.check()
    searched = _below(limits, request)
    out.mkdir(parents=True, exist_ok=True)
    pairs = fixed_subset(task.pairs["valid"], request.validation_pairs)
    with evaluating(InheritedLoss(supernet, family, pairs), workers, say=say) as evaluate:
        result = search_space(
            space,
            family,
            evaluate,
            searched,
            method=request.method,
            settings=request.settings,
            seed=request.seed,
            evaluator=f"{weights_digest(supernet)}/{task.fingerprint}/{len(pairs)} pairs",
            latency=_fingerprint(latency, searched.confidence is not None),
            journal=out / JOURNAL,
            progress=searching,
            exclude=exclude,
        )
    best = result.top(request.finalists, space)
    losses = [(evaluation.candidate, evaluation.loss) for evaluation in best]
    drift: float | None = None
    changed: tuple[str, ...] = ()
    if device is None:
        finalists = tuple(
            Finalist(c, loss, latency.of(c), predicted_interval_ms=predicted_interval(latency, c)) for c, loss in losses
        )
    else:
        finalists, drift = measure_finalists(
            space,
            family,
            losses,
            table,
            latency,
            device,
            out / FINALISTS,
            rounds=request.rounds,
            cache=cache or artifact_cache(),
            measuring=measuring,
            waiting=waiting,
        )
        changed = () if table is None else changed_during(table, read_journal(out / FINALISTS))
    finalists = tuple(_with_needs(finalist, limits) for finalist in finalists)
    winner = pick_winner(finalists, limits.latency_ms)
    outcome = SearchOutcome(
        method=request.method,
        limits=limits.describe(),
        searched=searched.describe(),
        predictions=latency.origin,
        evaluations=len(result.evaluations),
        finalists=finalists,
        winner=winner,
        drift=drift,
        changed=changed,
    )
    write_json(out / "search.json", outcome.as_dict())
    if winner is None:
        (out / "winner.yml").unlink(missing_ok=True)  # it was measured before, and no longer meets the limit
    else:
        write_candidate(out / "winner.yml", space, winner.candidate)
    return outcome


def _with_needs(finalist: Finalist, limits: CandidateLimits) -> Finalist:
    """With what else it takes: energy, where the latency table knows it, and peak memory."""
    latency, energy_mj = limits.latency, None
    if isinstance(latency, TableLatency) and "energy_mj" in latency.metrics:
        energy_mj = latency.metric("energy_mj").of(finalist.candidate)
    return replace(finalist, energy_mj=energy_mj, peak_memory_mib=limits.peak_memory_of(finalist.candidate))


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


def _fingerprint(latency: SearchLatency, bounded: bool) -> str:
    return latency.fingerprint if isinstance(latency, PredictorLatency) else fingerprint_of(latency.lut, bounded)


def fingerprint_of(table: LatencyLut, bounded: bool = False) -> str:
    """Digest of a table's latencies and calibration: what predictions follow from; ``bounded``, their bounds too."""
    calibration = None if table.calibration is None else table.calibration.as_dict()
    content: list[object] = [sorted((str(spec), ms) for spec, ms in table.latencies_ms.items()), calibration]
    if bounded:
        content += [
            sorted((str(spec), row.interval_ms) for spec, row in table.rows.items()),
            sorted((model.role, model.model, model.latency_ms) for model in table.models),
            table.session_sd,
        ]
    return _digest(content)


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def fixed_subset(pairs: Sequence[Pair], number: int | None) -> tuple[Pair, ...]:
    """``number`` pairs spread evenly over ``pairs`` (all of them for ``None``); always the same ones."""
    if number is None or number >= len(pairs):
        return tuple(pairs)
    return tuple(pairs[i * len(pairs) // number] for i in range(number))
