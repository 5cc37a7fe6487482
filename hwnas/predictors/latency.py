"""Latency of candidates from a whole-model predictor: what a search needs of it, without a table."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import numpy.typing as npt

from hwnas.errors import PredictorError
from hwnas.families.seq2seq.features import FEATURES, FeaturesOfGenes
from hwnas.predictors.model_file import FittedModel
from hwnas.space import Candidate, Genes, SearchSpace

Array = npt.NDArray[np.float64]

_REACH = 2.0
"""How far beyond the training rows an average may go: a mean of six layers hardly ever reaches its ends."""
_AVERAGES = tuple(name.endswith("_avg") for name in FEATURES)


class PredictorLatency:
    """A fitted predictor for the candidates of a seq2seq space (a ``BoundedLatency``)."""

    def __init__(self, space: SearchSpace, model: FittedModel) -> None:
        """Raises :class:`SpaceError` for another family, :class:`PredictorError` for sizes it was not fitted on."""
        self.space, self.model, self.workload = space, model, model.workload
        self._features = FeaturesOfGenes(space)
        self._check_reach()

    def _check_reach(self) -> None:
        ends = self._features(self.space.encode_many([self.space.extreme(0), self.space.extreme(-1)]))
        for name, average, (low, high), (least, most) in zip(
            FEATURES, _AVERAGES, ends.T.tolist(), self.model.ranges, strict=True
        ):
            reach = _REACH if average else 1.0
            if low < least / reach or high > most * reach:
                raise PredictorError(
                    f"the predictor was fitted on {name} from {least:g} to {most:g}; space {self.space.name!r}"
                    f" has {low:g} to {high:g}: fit one on rows of this space, or search with --table"
                )

    def latency_ms(self, genes: Genes) -> Array:
        """Milliseconds for genes of shape (candidates, choices), any integer type; shape (candidates,)."""
        return self.model.predictor.predict_ms(self._features(genes))

    def of(self, candidate: Candidate) -> float:
        """Milliseconds of one candidate."""
        return float(self.latency_ms(self.space.encode(candidate)[None])[0])

    @property
    def bounded(self) -> bool:
        """Whether the held-out rows are enough for intervals at the usual 0.95."""
        try:
            return self._quantile(1, 0.975) > -math.inf
        except PredictorError:
            return False

    @property
    def origin(self) -> str:
        """Where the numbers are from, to be shown with them."""
        source = self.model.source
        return f"learnt ({self.model.model}) from {source.train_rows} whole models of {source.name}"

    @property
    def fingerprint(self) -> str:
        """Digest of the model: what predictions and their bounds follow from."""
        document = [self.model.source.sha256, self.model.predictor.as_dict(), self.model.log_errors.tolist()]
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]

    def interval_of(self, candidate: Candidate, confidence: float = 0.95) -> tuple[float, float]:
        """What a fresh measurement of one candidate lies between, so often."""
        low, high = self.interval_ms(self.space.encode(candidate)[None], confidence)[0]
        return float(low), float(high)

    def interval_ms(self, genes: Genes, confidence: float = 0.95) -> Array:
        """What a fresh measurement of each lies between, so often; shape (candidates, 2).

        Split-conformal (Lei et al. 2018) on the log ratios of rows the model was not fitted on. It is
        of measurements as the set has them, its outliers and drift included. Raises
        :class:`PredictorError` where those rows are too few for the confidence.
        """
        tail = (1 - confidence) / 2
        factors = np.exp([-self._quantile(-1, 1 - tail), self._quantile(1, 1 - tail)])
        interval: Array = self.latency_ms(genes)[:, None] * factors
        return interval

    def upper_ms(self, genes: Genes, confidence: float) -> Array:
        """What a fresh measurement of each stays below, so often; shape (candidates,)."""
        upper: Array = self.latency_ms(genes) * math.exp(self._quantile(1, confidence))
        return upper

    def _quantile(self, sign: int, confidence: float) -> float:
        """The log ratio (times ``sign``) that a fresh row stays below with this confidence."""
        errors = np.sort(sign * self.model.log_errors)
        rank = math.ceil(confidence * (len(errors) + 1) - 1e-9)
        if not 0 < confidence < 1 or rank > len(errors):
            most = len(errors) / (len(errors) + 1)
            raise PredictorError(
                f"a confidence of {confidence:g} on one side cannot be told from {len(errors)} held-out rows;"
                f" they are enough for one above 0 and up to {most:.3f}"
            )
        return float(errors[rank - 1])
