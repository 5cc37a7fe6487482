"""Which loss a search goes by: on all validation pairs, on some spread evenly, or on a chosen subset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.errors import SearchError
from hwnas.evaluators.inherited import InheritedLoss, SubsetLoss
from hwnas.evaluators.pool import evaluating
from hwnas.evaluators.subset_file import ChosenSubset, SubsetOf
from hwnas.families.base import Family
from hwnas.search.journal import SearchJournal
from hwnas.search.protocol import Evaluation
from hwnas.search.run import best_of
from hwnas.space import SearchSpace

if TYPE_CHECKING:
    from hwnas.data.task import Pair, Task
    from hwnas.supernet import SuperTransformer

RESCORED = "rescored.journal.jsonl"
"""In a search's folder: its best on a subset, on all pairs."""


def fitness(
    space: SearchSpace,
    family: Family,
    supernet: SuperTransformer,
    task: Task,
    *,
    pairs: int | None = None,
    subset: ChosenSubset | None = None,
) -> tuple[InheritedLoss | SubsetLoss, str]:
    """The loss function, and how journals know it; ``pairs`` is a number of them, by default all.

    Raises :class:`SearchError` if both are given or the subset was chosen for other weights or data.
    """
    from hwnas.training import weights_digest

    valid, weights = task.pairs["valid"], weights_digest(supernet)
    known_as = f"{weights}/{task.fingerprint}"
    if subset is None:
        few = fixed_subset(valid, pairs)
        return InheritedLoss(supernet, family, few), f"{known_as}/{len(few)} pairs"
    if pairs is not None:
        raise SearchError(f"{pairs} validation pairs and a chosen subset of them; give one or the other")
    subset.require(SubsetOf(space.fingerprint, task.fingerprint, weights, len(valid)))
    return SubsetLoss(supernet, family, valid, subset.subset), f"{known_as}/subset {subset.digest}"


def rescored(
    space: SearchSpace,
    family: Family,
    supernet: SuperTransformer,
    task: Task,
    found: Mapping[Path, Sequence[Evaluation]],
    number: int,
    *,
    workers: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> dict[Path, tuple[Evaluation, ...]]:
    """Of candidates of searches, by their folders, the ``number`` of lowest loss on all pairs, best first.

    What is evaluated is kept in the folders, and not evaluated again.
    """
    loss_of, known_as = fitness(space, family, supernet, task)
    header = {"space": space.name, "fingerprint": space.fingerprint, "evaluator": known_as}
    best: dict[Path, tuple[Evaluation, ...]] = {}
    with evaluating(loss_of, workers, say=say) as evaluate:
        for folder, evaluations in found.items():
            again: list[Evaluation] = []
            if evaluations:
                with SearchJournal(folder / RESCORED, space, header) as kept:
                    again = list(kept.evaluated([evaluation.candidate for evaluation in evaluations], evaluate))
            best[folder] = best_of(space, again, number)
    return best


def fixed_subset(pairs: Sequence[Pair], number: int | None) -> tuple[Pair, ...]:
    """``number`` pairs spread evenly over ``pairs`` (all of them for ``None``); always the same ones."""
    if number is None or number >= len(pairs):
        return tuple(pairs)
    return tuple(pairs[i * len(pairs) // number] for i in range(number))
