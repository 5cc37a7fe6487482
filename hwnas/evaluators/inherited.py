"""The loss of a candidate with the SuperTransformer's weights: HAT's fitness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwnas.families.base import Family
from hwnas.space import Candidate

if TYPE_CHECKING:
    from hwnas.data.task import Pair
    from hwnas.supernet import SuperTransformer


class InheritedLoss:
    """Fitness as in HAT (section 3.2), but without label smoothing: validation loss with inherited weights.

    ``pairs`` is the part of the validation split that is used; call it with a candidate. It can be pickled,
    weights included.
    """

    def __init__(
        self, supernet: SuperTransformer, family: Family, pairs: Sequence[Pair], batch_size: int = 250
    ) -> None:
        self._supernet, self._family, self._pairs, self._batch_size = supernet, family, pairs, batch_size

    def __call__(self, candidate: Candidate) -> float:
        """Nats per target token."""
        from hwnas.evaluation import validation_loss

        with self._supernet.active(candidate) as model:
            return validation_loss(model, self._family, self._pairs, self._batch_size)
