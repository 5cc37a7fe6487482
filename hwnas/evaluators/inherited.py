"""The loss of a candidate with the SuperTransformer's weights: HAT's fitness, whole, by the pair, or from a subset."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hwnas.families.base import Family, MixedPrecision
from hwnas.space import Candidate

if TYPE_CHECKING:
    from torch import nn

    from hwnas.data.task import Pair
    from hwnas.evaluators.subset import PairSubset
    from hwnas.supernet import SuperTransformer


@dataclass(frozen=True, slots=True)
class InheritedLoss:
    """Fitness as in HAT's evolutionary search, but without label smoothing: validation loss, weights inherited.

    ``pairs`` is the part of the validation split that is used; call it with a candidate. Where precision is a
    choice, it is evaluated in its own (:class:`hwnas.families.base.MixedPrecision`). Like the other two it can be
    pickled, weights included.
    """

    supernet: SuperTransformer
    family: Family
    pairs: Sequence[Pair]
    batch_size: int = 250

    def __call__(self, candidate: Candidate) -> float:
        """Nats per target token."""
        from hwnas.evaluation import validation_loss

        with self.supernet.active(candidate) as model, _as_deployed(self.family, model):
            return validation_loss(model, self.family, self.pairs, self.batch_size)


@dataclass(frozen=True, slots=True)
class PairLosses:
    """What a candidate loses on every pair."""

    supernet: SuperTransformer
    family: Family
    pairs: Sequence[Pair]

    def __call__(self, candidate: Candidate) -> npt.NDArray[np.float64]:
        """Nats, (pairs,), summed over each pair's target tokens."""
        from hwnas.evaluation import pair_losses

        with self.supernet.active(candidate) as model, _as_deployed(self.family, model):
            return pair_losses(model, self.family, self.pairs)


def _as_deployed(family: Family, model: nn.Module) -> AbstractContextManager[None]:
    return family.in_its_precisions(model) if isinstance(family, MixedPrecision) else nullcontext()


class SubsetLoss:
    """About the :class:`InheritedLoss` on all pairs, from a chosen few of them."""

    def __init__(self, supernet: SuperTransformer, family: Family, pairs: Sequence[Pair], subset: PairSubset) -> None:
        """``pairs`` are all of the split; those of the subset are its own."""
        self.pairs = tuple(pairs[number] for number in subset.chosen)
        self._losses = PairLosses(supernet, family, self.pairs)
        self._subset = subset

    def __call__(self, candidate: Candidate) -> float:
        """Nats per target token of the whole split."""
        return self._subset.loss(self._losses(candidate))
