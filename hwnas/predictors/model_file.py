"""A fitted predictor as a file that says what it is: JSON, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.errors import PredictorError, WorkloadError
from hwnas.families.seq2seq.features import FEATURES
from hwnas.files import write_json
from hwnas.predictors.dataset import LatencySet, Split
from hwnas.predictors.evaluate import MODELS, Evaluation, Score
from hwnas.predictors.protocol import Predictor
from hwnas.workload import Workload

KIND = "hwnas whole-model latency predictor"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Source:
    """The set a predictor was fitted on, and how many of its rows."""

    name: str
    sha256: str
    rows: int
    train_rows: int


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A predictor with where it is from and how well it predicts.

    ``ranges`` are least and greatest value of each of ``FEATURES`` among the training rows;
    ``log_errors`` the logarithms of measured over predicted on rows held out from training *and*
    test (HAT's validation rows), for intervals; ``score`` is on the test rows.
    """

    model: str
    predictor: Predictor
    workload: Workload
    source: Source
    ranges: tuple[tuple[float, float], ...]
    log_errors: npt.NDArray[np.float64]
    score: Score
    drift_corrected: bool
    quarantine: bool

    @classmethod
    def of(cls, rows: LatencySet, evaluation: Evaluation, workload: Workload) -> FittedModel:
        """The model of the first split: fitted on no row that its score or its errors are from."""
        request, fit = evaluation.request, evaluation.fits[0]
        trained = rows.features[fit.trained_on]
        valid = Split.of(len(rows), request.seed, 0).valid
        return cls(
            model=request.model,
            predictor=fit.predictor,
            workload=workload,
            source=Source(rows.name, rows.sha256, len(rows), len(fit.trained_on)),
            ranges=tuple(zip(trained.min(axis=0).tolist(), trained.max(axis=0).tolist(), strict=True)),
            log_errors=np.log(rows.latency_ms[valid] / fit.predictor.predict_ms(rows.features[valid])),
            score=fit.score,
            drift_corrected=request.drift_corrected,
            quarantine=request.quarantine,
        )

    def save(self, path: Path) -> None:
        """Write it as JSON; an old file stays until the new one is complete."""
        write_json(
            path,
            {
                "kind": KIND,
                "schema": SCHEMA,
                "model": self.model,
                "source": {name: getattr(self.source, name) for name in Source.__slots__},
                "drift_corrected": self.drift_corrected,
                "quarantine": self.quarantine,
                "score": self.score.as_dict(),
                "workload": self.workload.as_dict(),
                "ranges": dict(zip(FEATURES, self.ranges, strict=True)),
                "log_errors": self.log_errors.tolist(),
                "parameters": self.predictor.as_dict(),
            },
        )

    @classmethod
    def load(cls, path: Path) -> FittedModel:
        """Read what :meth:`save` wrote; raises :class:`PredictorError` for any other file."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as exc:
            raise PredictorError(f"{path} is not a predictor: {exc}") from exc
        if not isinstance(document, dict) or document.get("kind") != KIND:
            raise PredictorError(f"{path} is not a predictor; `hwnas predictor fit` makes one")
        if document.get("schema") != SCHEMA:
            raise PredictorError(f"{path} has schema {document.get('schema')!r}; this hwnas reads {SCHEMA}")
        if document.get("model") not in MODELS:
            raise PredictorError(f"{path}: model {document.get('model')!r} is unknown; known: {', '.join(MODELS)}")
        try:
            return cls._parse(document)
        except (KeyError, TypeError, ValueError, AttributeError, WorkloadError) as exc:
            raise PredictorError(f"{path} is damaged ({exc!r}); fit it again") from exc

    @classmethod
    def _parse(cls, document: Mapping[str, Any]) -> FittedModel:
        ranges = tuple((float(document["ranges"][name][0]), float(document["ranges"][name][1])) for name in FEATURES)
        return cls(
            model=document["model"],
            predictor=MODELS[document["model"]].from_dict(document["parameters"]),
            workload=Workload.from_dict(document["workload"]),
            source=Source(**document["source"]),
            ranges=ranges,
            log_errors=np.array([float(error) for error in document["log_errors"]]),
            score=Score(**document["score"]),
            drift_corrected=bool(document["drift_corrected"]),
            quarantine=bool(document["quarantine"]),
        )
