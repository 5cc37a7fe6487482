"""The search of a space on devices: losses, hard limits, random search beside it, and winners measured in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.candidates import write_candidate
from hwnas.device_limits import DeviceLimits
from hwnas.evaluators.fitness import fitness, rescored
from hwnas.evaluators.pool import evaluating
from hwnas.families.base import Family
from hwnas.files import artifact_cache, write_json
from hwnas.finalists import Finalist, MeasuredFinalists, SearchLatency, measure_finalists, pick_winner, predicted
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits
from hwnas.objectives import costs_of
from hwnas.profiling import Progress, quietly
from hwnas.search.fronts import figures
from hwnas.search.honesty import compare, require_hypervolume
from hwnas.search.identity import fingerprint_of_limits
from hwnas.search.methods import METHODS, require_costs
from hwnas.search.outcome import Front, SearchOutcome
from hwnas.search.protocol import Evaluation
from hwnas.search.request import SearchRequest, kept_below
from hwnas.search.run import best_of
from hwnas.search.runs import BASELINE, JOURNAL, Runs
from hwnas.space import Candidate, SearchSpace
from latency_luts import LatencyLut
from profiler import Device

if TYPE_CHECKING:
    from hwnas.data.task import Task
    from hwnas.supernet import SuperTransformer

__all__ = ["BASELINE", "FINALISTS", "FRONT", "JOURNAL", "OUTCOME", "WINNER", "search_and_measure"]

FINALISTS, OUTCOME, FRONT, WINNER = "finalists.journal.jsonl", "search.json", "front.json", "winner.yml"
"""In a search's folder, beside its journal: the measurement of the best, what it found, its front and the winner."""


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
    elsewhere: Mapping[str, CandidateLimits] | None = None,
    device: Device | None = None,
    exclude: Sequence[Candidate] = (),
    cache: Path | None = None,
    searching: Progress = quietly,
    measuring: Progress = quietly,
    waiting: Callable[[str], None] | None = None,
    workers: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> SearchOutcome:
    """Search, measure the best on ``device`` (if any), and write what was found to ``out``.

    The winner is the finalist of lowest loss whose measured latency, with its 95 % interval, meets
    the limit (whose prediction does, if nothing is measured). Everything evaluated or measured is kept in journals in
    ``out``; the same call goes on where it was interrupted. ``limits`` need the :class:`TableLatency` of
    ``table``, or where that is ``None`` the latency of a whole-model predictor, or of the best of several runtimes;
    ``elsewhere`` are those of other devices, by their names, which candidates meet as predicted. For ``waiting`` see
    :func:`hwnas.profiling.opened`, for ``workers`` and ``say`` :func:`hwnas.evaluators.pool.evaluating`: the outcome
    does not depend on them. Raises :class:`hwnas.errors.WorkloadError` if the latencies are for another number of
    output symbols than the task has.
    """
    from hwnas.data.task import require_vocabulary

    latency = limits.latency
    assert isinstance(latency, SearchLatency)
    require_vocabulary(latency.workload, task)
    asked = DeviceLimits({"" if table is None else table.target.device: limits, **(elsewhere or {})})
    asked.check()
    searched = kept_below(asked, request)
    default = ("latency_ms",) if METHODS[request.method].front else ()
    objectives = default if request.objectives is None else request.objectives
    costs = costs_of(objectives, asked)
    require_costs(request.method, costs)
    judged = costs or costs_of(("latency_ms",), asked)
    assert judged is not None
    compared = request.baseline or request.seeds > 1 or costs is not None
    if compared:
        require_hypervolume()
    loss_of, known_as = fitness(space, family, supernet, task, pairs=request.validation_pairs, subset=request.subset)
    with evaluating(loss_of, workers, say=say) as evaluate:
        runs = Runs(
            space,
            family,
            supernet,
            task,
            loss_of.pairs,
            searched,
            evaluate,
            evaluator=known_as,
            latency=fingerprint_of_limits(searched),
            progress=searching,
            exclude=exclude,
        )
        results, rivals = runs.repeated(request, out, costs)
    found = [evaluation for result in results.values() for evaluation in result.evaluations]
    front = Front.of(space, found, judged)
    drawn = [evaluation for result in rivals.values() for evaluation in result.evaluations]
    best = {
        out: best_of(space, found, request.shortlist) if costs is None else front.spread(request.finalists),
        out / BASELINE: best_of(space, drawn, request.shortlist),
    }
    if request.subset is not None:
        best = rescored(space, family, supernet, task, best, request.finalists, workers=workers, say=say)
    if device is None:
        ended = MeasuredFinalists(_predicted(best[out], latency), None, ())
    else:
        ended = measure_finalists(
            space,
            family,
            [(evaluation.candidate, evaluation.loss) for evaluation in best[out]],
            table,
            latency,
            device,
            out / FINALISTS,
            rounds=request.rounds,
            cache=cache or artifact_cache(),
            measuring=measuring,
            waiting=waiting,
        )
    finalists = tuple(_with_needs(finalist, asked) for finalist in ended.finalists)
    ours, theirs = None, None
    if compared:
        ours, theirs = compare(
            {seed: figures(space, result.evaluations, judged) for seed, result in results.items()},
            {seed: figures(space, result.evaluations, judged) for seed, result in rivals.items()},
        )
    outcome = SearchOutcome(
        method=request.method,
        settings=request.settings.as_dict(),
        limits=asked.describe(),
        searched=searched.describe(),
        predictions=latency.origin,
        objectives=front.names,
        evaluations=len(found),
        cost=sum(runs.cost(request, result) for result in results.values()),
        finalists=finalists,
        winner=pick_winner(finalists, limits.latency_ms),
        drift=ended.drift,
        changed=ended.changed,
        record=ours,
        baseline=theirs,
        elsewhere={
            name: its.latency.origin
            for name, its in list(asked.devices.items())[1:]
            if isinstance(its.latency, SearchLatency)
        },
    )
    if theirs is not None:
        rival = tuple(_with_needs(finalist, asked) for finalist in _predicted(best[out / BASELINE], latency))
        beside = replace(
            outcome,
            method="random",
            settings={"evaluations": len(drawn)},
            evaluations=len(drawn),
            cost=len(drawn),
            finalists=rival,
            winner=pick_winner(rival, limits.latency_ms),
            drift=None,
            changed=(),
            record=theirs,
            baseline=None,
        )
        _write(out / BASELINE, space, beside, Front.of(space, drawn, judged), latency)
    _write(out, space, outcome, front, latency)
    return outcome


def _predicted(evaluations: Sequence[Evaluation], latency: SearchLatency) -> tuple[Finalist, ...]:
    return tuple(predicted(latency, evaluation.candidate, evaluation.loss) for evaluation in evaluations)


def _with_needs(finalist: Finalist, limits: DeviceLimits) -> Finalist:
    """With what else it takes: energy, where the latency table knows it, peak memory, and latency on other devices."""
    first = limits.first
    latency, energy_mj = first.latency, None
    if isinstance(latency, TableLatency) and "energy_mj" in latency.metrics:
        energy_mj = latency.metric("energy_mj").of(finalist.candidate)
    gene = first.space.encode_many([finalist.candidate])
    elsewhere = {
        name: float(its.latency.latency_ms(gene)[0])
        for name, its in list(limits.devices.items())[1:]
        if its.latency is not None
    }
    peak_memory_mib = first.peak_memory_of(finalist.candidate)
    return replace(finalist, energy_mj=energy_mj, peak_memory_mib=peak_memory_mib, elsewhere_ms=elsewhere or None)


def _write(folder: Path, space: SearchSpace, outcome: SearchOutcome, front: Front, latency: SearchLatency) -> None:
    write_json(folder / FRONT, front.as_list(latency))
    write_json(folder / OUTCOME, outcome.as_dict())
    if outcome.winner is None:
        (folder / WINNER).unlink(missing_ok=True)  # it was measured before, and no longer meets the limit
    else:
        write_candidate(folder / WINNER, space, outcome.winner.candidate, runtime=outcome.winner.runtime)
