from __future__ import annotations

import pytest

from hwnas.predictors import MODELS, mlp
from hwnas.predictors.protocol import Predictor
from tests.contracts.predictor import PredictorContract


class TestModels(PredictorContract):
    @pytest.fixture(params=MODELS)
    def kind(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Predictor]:
        monkeypatch.setattr(mlp, "STEPS", 3)
        return MODELS[request.param]
