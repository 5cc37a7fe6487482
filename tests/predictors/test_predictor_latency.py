from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from predictors.generated_set import generated, random_features

from hwnas.errors import PredictorError, SpaceError
from hwnas.families import get_family
from hwnas.limits import CandidateLimits
from hwnas.predictors import MODELS, FitRequest, FittedModel, PredictorLatency, evaluate, mlp
from hwnas.search.protocol import BoundedLatency, LatencyModel
from hwnas.space import Choice, SearchSpace
from hwnas.spaces import load_space
from hwnas.workload import Workload
from tests.contracts.latency_model import LatencyModelContract

ROWS = generated(300, noise=0.03)


@pytest.fixture(scope="module", params=MODELS)
def fitted(request: pytest.FixtureRequest) -> FittedModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlp, "STEPS", 200)
        evaluation = evaluate(ROWS, FitRequest(request.param, splits=1), Workload())
    return FittedModel.of(ROWS, evaluation, Workload())


@pytest.fixture(scope="module")
def structured() -> FittedModel:
    return FittedModel.of(ROWS, evaluate(ROWS, FitRequest(splits=1), Workload()), Workload())


class TestPredictorLatency(LatencyModelContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return load_space("hat_wmt14_ende")

    @pytest.fixture
    def model(self, space: SearchSpace, fitted: FittedModel) -> LatencyModel:
        return PredictorLatency(space, fitted)


def test_a_model_is_read_as_it_was_written(fitted: FittedModel, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model.json")
    again = FittedModel.load(tmp_path / "model.json")
    probe = random_features(40, 3)
    np.testing.assert_array_equal(again.predictor.predict_ms(probe), fitted.predictor.predict_ms(probe))
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "model.json").read_bytes()
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["again.json", "model.json"]


def test_the_file_says_what_it_is(structured: FittedModel, tmp_path: Path) -> None:
    structured.save(tmp_path / "model.json")
    document = json.loads((tmp_path / "model.json").read_text())
    assert document["source"] == {"name": "generated", "sha256": "0" * 64, "rows": 300, "train_rows": 240}
    assert document["parameters"]["entries_ms"]["decoder_layer"] > 0
    assert 0 < document["score"]["mape"] < 0.1


def damage(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def spoil(text: str) -> str:
        document = json.loads(text)
        change(document)
        return json.dumps(document)

    return spoil


DAMAGED = {
    "torn": (lambda text: text[:200], "is not a predictor"),
    "another document": (lambda text: "[1, 2]", "is not a predictor; `hwnas predictor fit`"),
    "newer": (damage(lambda document: document.update(schema=7)), "has schema 7"),
    "unknown model": (damage(lambda document: document.update(model="oracle")), "model 'oracle' is unknown"),
    "no parameters": (damage(lambda document: document.pop("parameters")), "is damaged"),
    "negative entry": (damage(lambda d: d["parameters"]["entries_ms"].update(decoder=-1.0)), "none negative"),
    "no number": (damage(lambda d: d["parameters"]["entries_ms"].update(decoder="x")), "is damaged"),
    "unknown workload": (damage(lambda document: document["workload"].update(beams=2)), "unknown beams"),
}


@pytest.mark.parametrize(("spoil", "named"), DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_is_no_model_is_refused_in_a_line(
    structured: FittedModel, tmp_path: Path, spoil: Callable[[str], str], named: str
) -> None:
    path = tmp_path / "model.json"
    structured.save(path)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(PredictorError) as refused:
        FittedModel.load(path)
    assert named in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("structured", "flops")])
def test_arrays_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlp, "STEPS", 1)
        document: Any = MODELS[name].fit(ROWS.features, ROWS.latency_ms, workload=Workload(), seed=0).as_dict()
    holder = document["layers"][1]["weight"] if name == "mlp" else document["inputs" if name == "gp" else "left"]
    for change in ({"dtype": "|O"}, {"shape": [1]}, {"base64": "????"}):
        before = dict(holder)
        holder.update(change)
        with pytest.raises((ValueError, TypeError)):
            MODELS[name].from_dict(document)
        holder.update(before)
    MODELS[name].from_dict(document)


def test_a_space_it_was_not_fitted_on_is_refused(structured: FittedModel) -> None:
    with pytest.raises(PredictorError, match="encoder_embed_dim from 512 to 640; space 'g2p' has 32 to 96"):
        PredictorLatency(load_space("g2p"), structured)
    other = SearchSpace("mine", "mine", (Choice("depth", (1, 2)),), {}, Workload())
    with pytest.raises(SpaceError, match="'mine' has no choice 'encoder_embed'"):
        PredictorLatency(other, structured)


def test_it_ranks_candidates_by_what_they_truly_cost(structured: FittedModel) -> None:
    space = load_space("hat_latency")
    rng = random.Random(0)
    candidates = [space.sample(rng) for _ in range(50)]
    latency = PredictorLatency(space, structured)
    all_at_once = latency.latency_ms(space.encode_many(candidates))
    assert [latency.of(candidate) for candidate in candidates] == pytest.approx(all_at_once.tolist())
    low, high = (latency.of(space.extreme(end)) for end in (0, -1))
    assert low < all_at_once.min() <= all_at_once.max() < high


def test_a_search_can_be_limited_by_it(structured: FittedModel) -> None:
    space = load_space("hat_wmt14_ende")
    latency = PredictorLatency(space, structured)
    limits = CandidateLimits(space, get_family(space.family), space.workload, latency, latency_ms=5000.0)
    limits.check()
    rng = random.Random(0)
    genes = space.encode_many(space.sample(rng) for _ in range(100))
    np.testing.assert_array_equal(limits.allows(genes), latency.latency_ms(genes) <= 5000)
    assert 0 < limits.allows(genes).sum() < 100


def test_intervals_hold_fresh_measurements(structured: FittedModel) -> None:
    latency = PredictorLatency(load_space("hat_latency"), structured)
    assert isinstance(latency, BoundedLatency)
    fresh = generated(1000, seed=5, noise=0.03)
    predicted = structured.predictor.predict_ms(fresh.features)
    for confidence in (0.8, 0.9):
        low, high = np.exp([-latency._quantile(-1, (1 + confidence) / 2), latency._quantile(1, (1 + confidence) / 2)])
        inside = (fresh.latency_ms >= low * predicted) & (fresh.latency_ms <= high * predicted)
        assert abs(inside.mean() - confidence) < 0.12  # from 30 held-out rows: three standard errors
    space = latency.space
    genes = space.encode_many([space.extreme(0), space.extreme(-1)])
    interval, upper = latency.interval_ms(genes, 0.9), latency.upper_ms(genes, 0.95)
    assert (interval[:, 0] < latency.latency_ms(genes)).all()
    np.testing.assert_allclose(interval[:, 1], upper)


@pytest.mark.parametrize("confidence", [0.999, 1.0, 0.0])
def test_a_confidence_the_rows_cannot_give_is_refused(structured: FittedModel, confidence: float) -> None:
    latency = PredictorLatency(load_space("hat_latency"), structured)
    genes = latency.space.encode_many([latency.space.extreme(0)])
    with pytest.raises(PredictorError, match="from 30 held-out rows"):
        latency.upper_ms(genes, confidence)
