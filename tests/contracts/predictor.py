"""What every whole-model Predictor must do; subclass it and give a ``kind`` fixture."""

from __future__ import annotations

import json

import numpy as np
import pytest
from predictors.generated_set import generated, random_features

from hwnas.errors import WorkloadError
from hwnas.predictors.protocol import Predictor
from hwnas.workload import Workload

ROWS = generated(60, noise=0.02)


def fitted(kind: type[Predictor], seed: int = 0) -> Predictor:
    return kind.fit(ROWS.features, ROWS.latency_ms, workload=Workload(), seed=seed)


class PredictorContract:
    @pytest.fixture
    def kind(self) -> type[Predictor]:
        raise NotImplementedError

    def test_a_batch_equals_single_predictions(self, kind: type[Predictor]) -> None:
        predictor, probe = fitted(kind), random_features(20, 3)
        predicted = predictor.predict_ms(probe)
        assert (predicted.shape, predicted.dtype) == ((20,), np.float64)
        singles = [float(predictor.predict_ms(row[None])[0]) for row in probe]
        np.testing.assert_allclose(predicted, singles, rtol=1e-12)
        assert predictor.predict_ms(probe[:0]).shape == (0,)

    def test_the_same_rows_and_seed_give_the_same(self, kind: type[Predictor]) -> None:
        assert fitted(kind).as_dict() == fitted(kind).as_dict()

    def test_what_is_kept_predicts_the_same(self, kind: type[Predictor]) -> None:
        predictor, probe = fitted(kind), random_features(20, 3)
        again = kind.from_dict(json.loads(json.dumps(predictor.as_dict())))
        np.testing.assert_array_equal(again.predict_ms(probe), predictor.predict_ms(probe))

    def test_what_is_none_is_refused(self, kind: type[Predictor]) -> None:
        with pytest.raises((KeyError, TypeError, ValueError, WorkloadError)):
            kind.from_dict({})
        for name in fitted(kind).as_dict():
            with pytest.raises((KeyError, TypeError, ValueError, WorkloadError)):
                kind.from_dict({**fitted(kind).as_dict(), name: "none"})
