"""How far what is cheaper than a loss may be trusted: its rank correlation with the loss, on a sample."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from hwnas.data.batching import batch_of_update
from hwnas.data.task import Task
from hwnas.errors import PredictorError
from hwnas.evaluators.choosing import random_candidates
from hwnas.evaluators.fitness import fitness
from hwnas.evaluators.pool import evaluating
from hwnas.evaluators.predicted import KINDS, held_out_spearman
from hwnas.evaluators.proxies import PROXIES, Subject, knowing
from hwnas.evaluators.subset_file import ChosenSubset
from hwnas.families.base import Family, KnownSublayers
from hwnas.profiling import Progress, quietly
from hwnas.ranks import spearman, spearman_interval
from hwnas.search.journal import SearchJournal
from hwnas.space import Candidate, SearchSpace
from hwnas.supernet import SuperTransformer

LEAST_SAMPLE = 12
"""Below that an interval tells little: at 12 candidates a correlation of 0.5 may be one of -0.15, or of 0.85."""
_BATCH = 64


@dataclass(frozen=True, slots=True)
class TrustRequest:
    """``sample`` random candidates are evaluated, on all validation pairs, so many of them, or a subset.

    ``proxies`` are of :data:`hwnas.evaluators.proxies.PROXIES`; ``None`` takes all the family has.
    """

    sample: int = 40
    proxies: tuple[str, ...] | None = None
    pairs: int | None = None
    subset: ChosenSubset | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sample < LEAST_SAMPLE:
            raise PredictorError(
                f"a sample of {self.sample} candidates is too small to correlate; take at least {LEAST_SAMPLE}"
            )


@dataclass(frozen=True, slots=True)
class Trust:
    """How a stand-in ranks the sample: 1 as the loss does, 0 not at all, -1 the other way round.

    ``weights`` are those of the model it looks at: ``none``, ``fresh`` (as initialised) or ``inherited``. What is
    ``learnt`` was fitted on four fifths of the sample, five times, and ranks the rest. ``seconds`` are those of one
    candidate; ``spearman`` is ``None`` where it told no number.
    """

    name: str
    weights: str
    spearman: float | None
    interval: tuple[float, float] | None
    seconds: float

    def as_dict(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)


def judge(
    space: SearchSpace,
    family: Family,
    supernet: SuperTransformer,
    task: Task,
    request: TrustRequest,
    kept: Path,
    *,
    workers: int = 1,
    progress: Progress = quietly,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Trust, ...]:
    """Every proxy at initialisation and with inherited weights, then every loss predictor, on one sample.

    Losses are kept in the folder ``kept`` and not evaluated again. Raises :class:`PredictorError` for an unknown
    proxy, :class:`hwnas.errors.SpaceError` for one the family has not what it needs for, or too small a space.
    """
    names = _names(family, request.proxies, say)
    sample = random_candidates(space, request.sample, request.seed)
    losses: list[float] = []
    loss_of, known_as = fitness(space, family, supernet, task, pairs=request.pairs, subset=request.subset)
    header = {"space": space.name, "fingerprint": space.fingerprint, "evaluator": known_as}
    path = kept / f"{hashlib.sha256(json.dumps(header).encode()).hexdigest()[:16]}.journal.jsonl"
    with evaluating(loss_of, workers, say=say) as evaluate, SearchJournal(path, space, header) as journal:
        for evaluation in journal.evaluated(sample, evaluate):
            losses.append(evaluation.loss)
            progress(len(losses), len(sample), "losses")
    batch = batch_of_update(task.pairs["train"], _BATCH, request.seed, 0)

    def fresh(candidate: Candidate) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(request.seed)
            return family.model(space, candidate, supernet.vocabularies)

    by_sizes = [name for name in names if not PROXIES[name].of_weights]
    by_weights = [name for name in names if PROXIES[name].of_weights]
    rows: list[Trust] = []
    for weights, some, model_of in (
        ("none", by_sizes, fresh),
        ("fresh", by_weights, fresh),
        ("inherited", by_weights, supernet.extract),
    ):
        for name in some:
            subjects = (Subject(model_of(candidate), family, batch) for candidate in sample)
            rows.append(_judged(name, weights, subjects, losses, progress))
    for kind in KINDS:
        began = time.perf_counter()
        correlation = held_out_spearman(space, sample, losses, kind, seed=request.seed)
        seconds = (time.perf_counter() - began) / len(sample)
        rows.append(Trust(kind, "learnt", correlation, spearman_interval(correlation, len(sample)), seconds))
    return tuple(rows)


def _names(family: Family, wanted: Sequence[str] | None, say: Callable[[str], None]) -> list[str]:
    for name in wanted or ():
        if name not in PROXIES:
            raise PredictorError(f"proxy {name!r} is unknown; known: {', '.join(PROXIES)}")
        if PROXIES[name].needs_sublayers:
            knowing(family)
    if wanted is not None or isinstance(family, KnownSublayers):
        return list(wanted or PROXIES)
    without = [name for name, proxy in PROXIES.items() if proxy.needs_sublayers]
    say(f"note: {', '.join(without)} left out: family {type(family).__name__} does not tell its sublayers")
    return [name for name in PROXIES if name not in without]


def _judged(name: str, weights: str, subjects: Iterable[Subject], losses: Sequence[float], progress: Progress) -> Trust:
    scores, spent = [], 0.0
    for subject in subjects:
        began = time.perf_counter()
        scores.append(PROXIES[name].score(subject))
        spent += time.perf_counter() - began
        progress(len(scores), len(losses), f"{name}, {weights} weights")
    seconds = spent / len(scores)
    if any(math.isnan(score) for score in scores):
        return Trust(name, weights, None, None, seconds)
    correlation = spearman(scores, [-loss for loss in losses])
    return Trust(name, weights, correlation, spearman_interval(correlation, len(scores)), seconds)
