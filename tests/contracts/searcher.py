"""What every Searcher must do; subclass it and give ``make``: a searcher of a space under limits."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pytest

from hwnas.search.protocol import Evaluation, Limits, Searcher
from hwnas.space import Candidate, Choice, Genes, SearchSpace
from hwnas.workload import Workload

SPACE = SearchSpace(
    "contract",
    "none",
    (
        Choice("layers", (1, 2, 3)),
        Choice("width", (8, 16, 32, 64)),
        *(Choice(f"ffn.{i}", (1, 2, 3, 4), ("layers", i + 1) if i else None) for i in range(3)),
    ),
    {},
    Workload(),
)


class WidthLimit:
    """Allows candidates whose cost (a sum over the choices' indices) is at most ``most``."""

    def __init__(self, most: int) -> None:
        self.most = most

    def allows(self, genes: Genes) -> npt.NDArray[np.bool_]:
        allowed: npt.NDArray[np.bool_] = genes.sum(axis=1) <= self.most
        return allowed

    def describe(self) -> str:
        return f"cost <= {self.most}"


def loss_of(candidate: Candidate) -> float:
    """Deterministic and different for every candidate."""
    return random.Random(candidate.key).random() + 1 / sum(value for _, value in candidate.entries)


def run(searcher: Searcher, loss: Callable[[Candidate], float] = loss_of) -> list[Candidate]:
    """Everything it proposes until it is done."""
    proposed: list[Candidate] = []
    for _ in range(10_000):
        candidates = searcher.ask()
        if not candidates:
            return proposed
        proposed += candidates
        searcher.tell([Evaluation(candidate, loss(candidate)) for candidate in candidates])
    raise AssertionError("the searcher never ends")


class Make(Protocol):
    def __call__(
        self,
        space: SearchSpace,
        limits: Limits | None,
        *,
        seed: int = 0,
        evaluations: int = 60,
        exclude: Collection[Candidate] = (),
    ) -> Searcher: ...


class SearcherContract:
    @pytest.fixture
    def make(self) -> Make:
        """A searcher of about ``evaluations`` evaluations."""
        raise NotImplementedError

    def test_ends_and_never_proposes_a_candidate_twice(self, make: Make) -> None:
        proposed = run(make(SPACE, None))
        assert 0 < len(proposed) == len(set(proposed)) <= 60

    def test_proposes_canonical_candidates_of_the_space(self, make: Make) -> None:
        for candidate in run(make(SPACE, None)):
            assert SPACE.candidate(candidate.as_dict()) == candidate

    def test_keeps_the_limits(self, make: Make) -> None:
        proposed = run(make(SPACE, WidthLimit(5)))
        assert proposed
        assert WidthLimit(5).allows(SPACE.encode_many(proposed)).all()

    def test_the_same_seed_proposes_the_same_and_another_does_not(self, make: Make) -> None:
        first, again, other = (run(make(SPACE, WidthLimit(5), seed=seed)) for seed in (1, 1, 2))
        assert first == again
        assert first != other

    def test_stops_when_the_space_is_exhausted(self, make: Make) -> None:
        assert len(run(make(SPACE, None, evaluations=2 * SPACE.size()))) == SPACE.size()

    def test_stops_when_all_that_is_feasible_is_exhausted(self, make: Make) -> None:
        feasible = [c for c in SPACE if WidthLimit(1).allows(SPACE.encode_many([c]))[0]]
        assert set(run(make(SPACE, WidthLimit(1), evaluations=500))) == set(feasible)

    def test_leaves_out_what_it_is_told_to(self, make: Make) -> None:
        first = run(make(SPACE, None, seed=1))
        assert not set(first) & set(run(make(SPACE, None, seed=1, exclude=set(first))))
