"""How far predictions are from the truth, with the noise floor of the truth beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from latency_luts.errors import LutError, LutFormatError
from latency_luts.rows import WholeModel


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Fractions, not per cent: ``mape`` 0.02 is a mean absolute error of 2 % of the truth.

    ``within_5`` and ``within_10`` are the shares of models predicted within 5 and 10 %;
    ``worst`` is the largest absolute relative error and ``worst_model`` whose it is.
    ``split_half_floor`` is the mean absolute difference of the two halves of the rounds over
    the truth. Each half has half the rounds, so it is about twice what the truth itself is off by
    where rounds err independently: well below it no prediction can be told from a better one.
    ``spearman`` is NaN-free: 1 for a single model.
    """

    models: int
    mape: float
    bias: float
    within_5: float
    within_10: float
    spearman: float
    worst: float
    worst_model: str
    split_half_floor: float

    def as_dict(self) -> dict[str, object]:
        """The fields by name, JSON-able."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, object]) -> CheckReport:
        """The inverse of :meth:`as_dict`; unknown names are ignored."""
        try:
            return cls(**{name: document[name] for name in cls.__slots__})  # type: ignore[arg-type]
        except KeyError as exc:
            raise LutFormatError(f"the table's held-out error lacks {exc}") from None


def check_report(models: Sequence[WholeModel], predicted_ms: npt.NDArray[np.float64]) -> CheckReport:
    """Compare predictions of shape (models,) with what was measured."""
    if not models:
        raise LutError("there is no whole model to check against; profile with check models")
    halves = [model.halves_ms for model in models]
    if None in halves:
        unknown = models[halves.index(None)].model
        raise LutError(f"whole model {unknown} tells nothing of its noise; check against models measured in rounds")
    truth = np.array([model.latency_ms for model in models])
    error = predicted_ms / truth - 1
    worst = int(np.argmax(np.abs(error)))
    return CheckReport(
        models=len(models),
        mape=float(np.mean(np.abs(error))),
        bias=float(np.mean(error)),
        within_5=float(np.mean(np.abs(error) <= 0.05)),
        within_10=float(np.mean(np.abs(error) <= 0.10)),
        spearman=_spearman(predicted_ms, truth),
        worst=float(np.abs(error[worst])),
        worst_model=models[worst].model,
        split_half_floor=float(np.mean(np.abs(np.subtract(*np.array(halves).T)) / truth)),
    )


def _spearman(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Rank correlation with ties at their mean rank."""
    if len(a) < 2:
        return 1.0
    ranks = [_mean_ranks(a), _mean_ranks(b)]
    centred = [rank - rank.mean() for rank in ranks]
    norm = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float((centred[0] * centred[1]).sum()) / norm if norm else 0.0


def _mean_ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: npt.NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks
