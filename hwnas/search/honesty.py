"""How good a search was: its progress and hypervolume beside random search of equal cost, and its regret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from hwnas.errors import MissingExtraError
from hwnas.search.nsga2 import Objectives, pareto_front

Array = npt.NDArray[np.float64]

POINTS = 40
"""Places along a search at which its progress is told."""


def require_hypervolume() -> None:
    """Raise :class:`MissingExtraError` if hypervolumes cannot be told, before a search is made for them."""
    try:
        import pymoo  # noqa: F401
    except ImportError as exc:
        raise MissingExtraError("hypervolumes need pymoo: pip install 'hwnas[cosearch]'") from exc


@dataclass(frozen=True, slots=True)
class Box:
    """The best and the worst of each objective, shape (objectives,), that hypervolumes are shares of."""

    best: Array
    worst: Array

    @classmethod
    def of(cls, *figures: Objectives) -> Self:
        """Around everything that the compared searches evaluated, each of shape (candidates, objectives)."""
        every = np.concatenate(figures)
        return cls(every.min(axis=0), every.max(axis=0))

    def share(self, figures: Objectives) -> float:
        """Share of the box that some candidate of shape (candidates, objectives) betters: the hypervolume.

        Of Zitzler & Thiele 1999, with the worst as reference point. Raises as :func:`require_hypervolume`.
        """
        require_hypervolume()
        from pymoo.indicators.hv import HV

        span = np.where(self.worst > self.best, self.worst - self.best, 1.0)
        inside = (figures - self.best) / span
        inside = inside[(inside < 1).all(axis=1)]
        return float(HV(ref_point=np.ones(len(span)))(inside[pareto_front(inside)])) if len(inside) else 0.0


def best_so_far(losses: Sequence[float]) -> Array:
    """The lowest loss after each evaluation."""
    best: Array = np.minimum.accumulate(np.asarray(losses, dtype=np.float64))
    return best


def evaluations_to(figures: Objectives, box: Box, share: float) -> int | None:
    """Evaluations after which the hypervolume is at least ``share``; ``None`` if it never is."""
    if box.share(figures) < share:
        return None
    low, high = 1, len(figures)
    while low < high:  # it never falls, so it can be bisected
        middle = (low + high) // 2
        low, high = (low, middle) if box.share(figures[:middle]) >= share else (middle + 1, high)
    return low


@dataclass(frozen=True, slots=True)
class SeedRecord:
    """What the search of one seed came to."""

    seed: int
    evaluations: int
    best_loss: float
    hypervolume: float


@dataclass(frozen=True, slots=True)
class Record:
    """What searches came to, and best loss and hypervolume on the way of the first, after so many evaluations."""

    seeds: tuple[SeedRecord, ...]
    evaluations: tuple[int, ...]
    best_loss: tuple[float, ...]
    hypervolume: tuple[float, ...]

    def as_dict(self) -> dict[str, object]:
        """JSON-able; ``best_loss`` is that of all seeds."""
        return {
            "best_loss": min(its.best_loss for its in self.seeds),
            "seeds": [asdict(its) for its in self.seeds],
            "progress": {
                "evaluations": list(self.evaluations),
                "best_loss": list(self.best_loss),
                "hypervolume": list(self.hypervolume),
            },
        }


def compare(ours: Mapping[int, Objectives], theirs: Mapping[int, Objectives]) -> tuple[Record, Record | None]:
    """What searches and their rivals (if any) came to, by their seeds; the loss is the first objective.

    Hypervolumes are shares of one box, around everything that any of them evaluated.
    """
    box = Box.of(*ours.values(), *theirs.values())
    return _record(ours, box), _record(theirs, box) if theirs else None


def _record(searches: Mapping[int, Objectives], box: Box) -> Record:
    seeds = tuple(SeedRecord(seed, len(its), float(its[:, 0].min()), box.share(its)) for seed, its in searches.items())
    first = next(iter(searches.values()))
    places = sorted({round((place + 1) * len(first) / POINTS) for place in range(POINTS)} - {0})
    losses = best_so_far(first[:, 0].tolist())
    return Record(
        seeds,
        evaluations=tuple(places),
        best_loss=tuple(float(losses[place - 1]) for place in places),
        hypervolume=tuple(box.share(first[:place]) for place in places),
    )


@dataclass(frozen=True, slots=True)
class Regrets:
    """How far above a known optimum searches of different seeds ended, in the loss's unit."""

    gaps: tuple[float, ...]

    @property
    def found(self) -> float:
        """Share of the seeds that found it."""
        return float(np.mean([gap <= 0 for gap in self.gaps]))

    @property
    def median(self) -> float:
        """Median regret."""
        return float(np.median(self.gaps))

    @property
    def worst(self) -> float:
        """Greatest regret."""
        return max(self.gaps)
