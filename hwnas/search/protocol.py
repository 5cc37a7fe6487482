"""The seam between a search method and the loop that evaluates, journals and shows progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hwnas.space import Candidate, Genes


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A candidate with its fitness: validation loss in nats per token, lower is better."""

    candidate: Candidate
    loss: float


class Searcher(Protocol):
    """Proposes candidates and learns from their evaluations; deterministic given its seed."""

    def ask(self) -> tuple[Candidate, ...]:
        """The next candidates to evaluate, each meeting the limits; empty when it is done."""
        ...

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """The evaluations of what the last ``ask`` returned, in the same order."""
        ...


class Evaluator(Protocol):
    """Scores candidates, at once or one after another."""

    def __call__(self, candidates: Sequence[Candidate], /) -> Iterator[float]:
        """Their losses in this order, each as soon as it and all before it are known: so it is journaled at once."""
        ...


def one_by_one(loss_of: Callable[[Candidate], float]) -> Evaluator:
    """The evaluator that asks ``loss_of`` for each candidate in turn."""

    def evaluate(candidates: Sequence[Candidate]) -> Iterator[float]:
        return map(loss_of, candidates)

    return evaluate


class Costs(Protocol):
    """What candidates cost besides their loss: further objectives, all to be minimised, known without evaluation."""

    @property
    def names(self) -> tuple[str, ...]:
        """With their units: ``("latency_ms", "energy_mj")``."""
        ...

    def __call__(self, genes: Genes) -> npt.NDArray[np.float64]:
        """For genes of shape (candidates, choices); shape (candidates, names)."""
        ...


class LatencyModel(Protocol):
    """Latency of many candidates at once."""

    def latency_ms(self, genes: Genes) -> npt.NDArray[np.float64]:
        """Milliseconds for genes of shape (candidates, choices); shape (candidates,)."""
        ...


@runtime_checkable
class BoundedLatency(LatencyModel, Protocol):
    """A latency model that knows how far it may be off; what it cannot tell, it raises."""

    def interval_ms(self, genes: Genes, confidence: float = 0.95) -> npt.NDArray[np.float64]:
        """What a fresh measurement of each lies between, so often; shape (candidates, 2)."""
        ...

    def upper_ms(self, genes: Genes, confidence: float) -> npt.NDArray[np.float64]:
        """What a fresh measurement of each stays below, so often; shape (candidates,)."""
        ...


@runtime_checkable
class RangedLatency(BoundedLatency, Protocol):
    """A latency model that knows its ends over the whole space; ``None`` where they cannot be told."""

    def fastest(self) -> tuple[float, Candidate] | None:
        """The exact minimum and who has it."""
        ...

    def slowest(self) -> tuple[float, Candidate] | None:
        """The exact maximum and who has it."""
        ...

    def least_upper_ms(self, confidence: float) -> float | None:
        """What :meth:`upper_ms` of no candidate is below."""
        ...


class Limits(Protocol):
    """What a candidate must meet to be considered."""

    def allows(self, genes: Genes) -> npt.NDArray[np.bool_]:
        """For genes of shape (candidates, choices), which meet every limit; shape (candidates,)."""
        ...

    def describe(self) -> str:
        """``latency <= 0.5 ms, params <= 1 M``."""
        ...
