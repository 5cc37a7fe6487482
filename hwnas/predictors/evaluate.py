"""How well a model predicts rows it has not seen: HAT's splits, many of them, and what else may be known."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields

import numpy as np
import numpy.typing as npt

from hwnas.errors import PredictorError
from hwnas.predictors.dataset import LatencySet, Rows, Split
from hwnas.predictors.drift import fit_drift
from hwnas.predictors.mlp import HatMlp
from hwnas.predictors.protocol import Predictor
from hwnas.predictors.quarantine import judge_rows
from hwnas.predictors.regression import GaussianProcess, GradientBoosting
from hwnas.predictors.structured import FlopsLinear, Structured
from hwnas.ranks import spearman
from hwnas.workload import Workload

Array = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]

MODELS: dict[str, type[Predictor]] = {
    "structured": Structured,
    "mlp": HatMlp,
    "gbdt": GradientBoosting,
    "gp": GaussianProcess,
    "flops": FlopsLinear,
}
LEAST_TRAIN_ROWS = 10


@dataclass(frozen=True, slots=True)
class Score:
    """Fractions, not per cent: ``mape`` 0.02 is a mean absolute error of 2 % of the truth.

    ``within_5`` and ``within_10`` are the shares of rows predicted within 5 and 10 %; ``spearman``
    is the rank correlation, 0 where all predictions are equal.
    """

    mape: float
    within_5: float
    within_10: float
    spearman: float

    @classmethod
    def of(cls, predicted_ms: Array, latency_ms: Array) -> Score:
        """Of predictions (rows,) against what was measured (rows,)."""
        error = np.abs(predicted_ms / latency_ms - 1)
        return cls(
            mape=float(error.mean()),
            within_5=float((error <= 0.05).mean()),
            within_10=float((error <= 0.10).mean()),
            spearman=spearman(predicted_ms, latency_ms),
        )

    def as_dict(self) -> dict[str, float]:
        """The fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FitRequest:
    """What to fit and how to test it. ``train_rows`` ``None`` is HAT's 80 % of the set.

    With ``drift_corrected`` a prediction for a row of the set includes the drift of the device at
    that row, told from training rows near it; what is learnt is the latency without it. With
    ``quarantine`` the model is not fitted on training rows that are outliers among the training
    rows (they still tell of the drift); the rows that test are always all.
    """

    model: str = "structured"
    train_rows: int | None = None
    splits: int = 10
    seed: int = 0
    drift_corrected: bool = False
    quarantine: bool = False

    def rows_of(self, total: int) -> int:
        """How many rows of a set of ``total`` to train on; raises :class:`PredictorError` if it has not so many."""
        there = len(Split.of(total, 0, 0).train)
        wanted = there if self.train_rows is None else self.train_rows
        if not LEAST_TRAIN_ROWS <= wanted <= there:
            raise PredictorError(
                f"{wanted} rows to train on: the set has {total} rows, 80 % of them ({there}) to train on;"
                f" give {LEAST_TRAIN_ROWS} to {there}"
            )
        return wanted


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model fitted on one split's training rows, and its score on that split's test rows."""

    predictor: Predictor
    trained_on: Rows
    left_out: int
    score: Score


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The same fit on every split."""

    request: FitRequest
    train_rows: int
    fits: tuple[Fitted, ...]

    @property
    def mean(self) -> Score:
        """Mean of every score over the splits."""
        return self._over_splits(np.mean)

    @property
    def sd(self) -> Score:
        """Standard deviation of every score over the splits."""
        return self._over_splits(np.std)

    def _over_splits(self, statistic: Callable[[Sequence[float]], np.floating]) -> Score:
        return Score(*(float(statistic([getattr(fit.score, f.name) for fit in self.fits])) for f in fields(Score)))

    def as_dict(self) -> dict[str, object]:
        """JSON-able: the means at the top, their standard deviations in ``sd``, and every split."""
        return {
            "model": self.request.model,
            "train_rows": self.train_rows,
            "splits": self.request.splits,
            "seed": self.request.seed,
            "drift_corrected": self.request.drift_corrected,
            "quarantine": self.request.quarantine,
            **self.mean.as_dict(),
            "sd": self.sd.as_dict(),
            "left_out": [fit.left_out for fit in self.fits],
            "per_split": [fit.score.as_dict() for fit in self.fits],
        }


def evaluate(
    rows: LatencySet, request: FitRequest, workload: Workload, progress: Progress = lambda done, total: None
) -> Evaluation:
    """Fit and test on every split; the splits of HAT's MLP side by side, on as many threads as there are cores.

    Raises :class:`PredictorError` for a model that is not known or more rows than there are.
    """
    if request.model not in MODELS:
        raise PredictorError(f"model {request.model!r} is unknown; known: {', '.join(MODELS)}")
    if request.splits < 1:
        raise PredictorError(f"{request.splits} splits: at least 1 is needed")
    train_rows = request.rows_of(len(rows))
    jobs = 1
    if request.model == "mlp":
        import torch

        torch.set_num_threads(1)
        jobs = min(request.splits, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    fits: list[Fitted] = []
    with ThreadPoolExecutor(jobs) as pool:
        pending = [pool.submit(fit_split, rows, request, number, workload) for number in range(request.splits)]
        try:
            for future in pending:
                fits.append(future.result())
                progress(len(fits), request.splits)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Evaluation(request, train_rows, tuple(fits))


def fit_split(rows: LatencySet, request: FitRequest, number: int, workload: Workload) -> Fitted:
    """Fit on the first ``train_rows`` of a split's training part, test on its test part."""
    split = Split.of(len(rows), request.seed, number)
    known = split.train[: request.rows_of(len(rows))]
    chosen, in_order = known, np.sort(known)
    if request.quarantine:
        flagged = [verdict.flagged for verdict in judge_rows(rows.take(in_order))]
        chosen = known[~np.isin(known, in_order[flagged])]
    latency_ms, at_test = rows.latency_ms[chosen], np.ones(len(split.test))
    if request.drift_corrected:
        drift = fit_drift(rows, in_order)
        latency_ms, at_test = latency_ms / np.exp(drift.at(chosen)), np.exp(drift.at(split.test))
    predictor = MODELS[request.model].fit(
        rows.features[chosen], latency_ms, workload=workload, seed=1000 * request.seed + number
    )
    predicted_ms = predictor.predict_ms(rows.features[split.test]) * at_test
    score = Score.of(predicted_ms, rows.latency_ms[split.test])
    return Fitted(predictor, chosen, len(known) - len(chosen), score)
