"""Choosing the subset of validation pairs on which a search is to evaluate: from real losses to a file."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hwnas.errors import SearchError
from hwnas.evaluators.inherited import PairLosses
from hwnas.evaluators.pool import evaluating
from hwnas.evaluators.subset import LEAST_CANDIDATES, choose, cost_of, fidelity
from hwnas.evaluators.subset_file import ChosenSubset, SubsetOf
from hwnas.profiling import Progress, quietly
from hwnas.space import Candidate, SearchSpace

if TYPE_CHECKING:
    from hwnas.data.task import Task
    from hwnas.families.base import Family
    from hwnas.supernet import SuperTransformer

Array = npt.NDArray[np.float64]

HALVINGS = (6, 5.5, 5, 4.5, 4, 3.5, 3, 2.5, 2, 1.5, 1)
"""The sizes tried: all pairs so often halved, the smallest subset first."""


@dataclass(frozen=True, slots=True)
class SubsetRequest:
    """``candidates`` random ones are evaluated on all pairs. The smallest size of which the rank correlation, on
    candidates held out, reaches ``spearman`` is taken; ``pairs``, if given, is the size instead.

    Candidates near a limit differ less than random ones and are harder to rank, so ``spearman`` is higher than
    what is wanted there.
    """

    candidates: int = 32
    pairs: int | None = None
    spearman: float = 0.98
    seed: int = 0

    def __post_init__(self) -> None:
        if self.candidates < LEAST_CANDIDATES:
            raise SearchError(
                f"subset: {self.candidates} candidates to choose by; at least {LEAST_CANDIDATES} are needed"
            )
        if not 0 < self.spearman < 1:
            raise SearchError(f"subset: a rank correlation of {self.spearman}; it must be in (0, 1)")


def choose_subset(
    space: SearchSpace,
    family: Family,
    supernet: SuperTransformer,
    task: Task,
    request: SubsetRequest,
    kept: Path,
    *,
    workers: int = 1,
    progress: Progress = quietly,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[ChosenSubset, tuple[ChosenSubset, ...]]:
    """The subset, and what was tried to find it.

    The losses of every candidate are kept in the folder ``kept``: the same call goes on where it was interrupted.
    Raises :class:`SearchError` if the space has too few candidates, the size is no part of the pairs, a loss is no
    number, or no subset reaches the rank correlation asked for.
    """
    from hwnas.training import weights_digest

    pairs = task.pairs["valid"]
    if len(pairs) < 2:
        raise SearchError(f"subset: {len(pairs)} validation pairs have no part to choose; take data with 2 or more")
    of = SubsetOf(space.fingerprint, task.fingerprint, weights_digest(supernet), len(pairs))
    if request.pairs is not None and not 1 <= request.pairs < len(pairs):
        raise SearchError(f"subset: {request.pairs} of {len(pairs)} pairs; give at least 1 and fewer than all of them")
    sample = random_candidates(space, request.candidates, request.seed)
    loss_of = KeptLosses(PairLosses(supernet, family, pairs), kept, f"{of.data}/{of.weights}")
    rows: list[Array] = []
    with evaluating(loss_of, workers, say=say) as evaluate:
        for candidate, row in zip(sample, evaluate(sample), strict=True):
            if not np.isfinite(row).all():
                raise SearchError(
                    f"subset: the loss of candidate {candidate.key} is not finite on some pairs; train the"
                    " SuperTransformer anew, at a lower learning rate"
                )
            rows.append(row)
            progress(len(rows), len(sample), "candidates on all pairs")
    losses = np.stack(rows)
    sizes = (
        [request.pairs]
        if request.pairs
        else sorted({round(len(pairs) / 2**halvings) for halvings in HALVINGS} - {0, len(pairs)})
    )
    tried: list[ChosenSubset] = []
    for size in sizes:
        subset = choose(losses, pairs, size, seed=request.seed)
        held = fidelity(losses, pairs, size, seed=request.seed)
        share = cost_of(pairs, subset.chosen)
        tried.append(ChosenSubset(subset, of, len(sample), request.seed, held.spearman, held.error, share))
        if request.pairs is not None or held.spearman >= request.spearman:
            return tried[-1], tuple(tried)
    raise SearchError(
        f"subset: half of the {len(pairs)} pairs rank {len(sample)} random candidates at a Spearman of"
        f" {tried[-1].spearman:.3f} with all; {request.spearman:g} was asked for: ask for less, or by more candidates"
    )


def random_candidates(space: SearchSpace, number: int, seed: int) -> tuple[Candidate, ...]:
    """``number`` different ones, uniform by choice; raises :class:`SearchError` where the space has not so many."""
    if number > space.size():
        raise SearchError(f"{number} different candidates of space {space.name!r}, which has {space.size()}")
    rng = random.Random(f"{seed}/sample")
    found: dict[Candidate, None] = {}
    while len(found) < number:
        found[space.sample(rng)] = None
    return tuple(found)


@dataclass(frozen=True, slots=True)
class KeptLosses:
    """:class:`PairLosses` that are kept in a file per candidate, and read from there the next time.

    ``identity`` is of what they follow from besides the candidate: data and weights.
    """

    losses: PairLosses
    folder: Path
    identity: str

    def __call__(self, candidate: Candidate) -> Array:
        """Nats, (pairs,)."""
        name = hashlib.sha256(f"{self.identity}/{candidate.key}".encode()).hexdigest()[:16]
        path = self.folder / f"{name}.npy"
        if path.exists():
            try:
                known: Array = np.load(path)
            except (ValueError, EOFError) as exc:
                raise SearchError(f"{path} is damaged ({exc}); delete it, and run the same command again") from exc
            return known
        found = self.losses(candidate)
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{name}.partial.npy")
        np.save(partial, found)
        partial.replace(path)
        return found
