from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from predictors.generated_set import generated, random_features
from scipy.stats import spearmanr

from hwnas.errors import PredictorError
from hwnas.predictors import MODELS, FitRequest, Score, evaluate, mlp
from hwnas.predictors.mlp import FEATURE_NORM
from hwnas.predictors.regression import GaussianProcess, GradientBoosting
from hwnas.workload import Workload

WORKLOAD = Workload()


def test_scores_are_what_they_are_called() -> None:
    truth, predicted = np.array([100.0, 100, 200, 400]), np.array([100.0, 104, 218, 200])
    score = Score.of(predicted, truth)
    assert score.mape == pytest.approx((0 + 0.04 + 0.09 + 0.5) / 4)
    assert (score.within_5, score.within_10) == (0.5, 0.75)
    assert score.spearman == pytest.approx(float(spearmanr(predicted, truth).statistic))
    assert Score.of(np.ones(4), truth).spearman == 0.0


@pytest.mark.parametrize(("model", "most"), [("structured", 0.01), ("gp", 0.05), ("gbdt", 0.1), ("flops", 0.3)])
def test_models_predict_rows_they_have_not_seen(model: str, most: float) -> None:
    evaluation = evaluate(generated(400), FitRequest(model, splits=2), WORKLOAD)
    assert evaluation.train_rows == 320
    assert 0.005 < evaluation.mean.mape < most
    assert evaluation.mean.spearman > 0.8


def test_structure_needs_the_fewest_rows() -> None:
    rows = generated(500, noise=0.02, encoder_factor=np.where(np.arange(500) % 9 == 0, 6.0, 1.0))
    mapes = {
        model: evaluate(rows, FitRequest(model, train_rows=60, splits=3), WORKLOAD).mean.mape
        for model in MODELS
        if model != "mlp"
    }
    assert min(mapes, key=lambda model: mapes[model]) == "structured"


def test_the_same_seed_gives_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """HAT's network too, though its splits are trained on several threads."""
    monkeypatch.setattr(mlp, "STEPS", 5)
    rows = generated(60)
    for model in MODELS:
        once, again, other = (evaluate(rows, FitRequest(model, splits=3, seed=seed), WORKLOAD) for seed in (0, 0, 1))
        assert once.as_dict() == again.as_dict()
        assert once.mean != other.mean


def test_means_and_deviations_are_over_the_splits() -> None:
    evaluation = evaluate(generated(100, noise=0.05), FitRequest(splits=3), WORKLOAD)
    document = evaluation.as_dict()
    mapes = [fit.score.mape for fit in evaluation.fits]
    assert document["mape"] == pytest.approx(np.mean(mapes))
    assert evaluation.sd.mape == pytest.approx(np.std(mapes))
    assert len(set(mapes)) == 3
    alone = evaluate(generated(100, noise=0.05), FitRequest(splits=1), WORKLOAD)
    assert alone.fits[0].score == evaluation.fits[0].score


def test_fewer_rows_are_the_first_of_the_same() -> None:
    rows = generated(100)
    few, many = (evaluate(rows, FitRequest(train_rows=n, splits=1), WORKLOAD).fits[0].trained_on for n in (20, None))
    np.testing.assert_array_equal(few, many[:20])


def test_outliers_are_left_out_of_training_alone() -> None:
    slow = np.arange(200) % 10 == 4
    rows = generated(200, encoder_factor=np.where(slow, 8.0, 1.0))
    plain, clean = (evaluate(rows, FitRequest(splits=1, quarantine=asked), WORKLOAD).fits[0] for asked in (False, True))
    assert clean.left_out == slow[plain.trained_on].sum()
    assert not slow[clean.trained_on].any()
    assert clean.score.within_5 < 1  # the slow rows among the test rows still count


BAD = {
    "model": (FitRequest("oracle"), "model 'oracle' is unknown; known: structured, mlp"),
    "too many rows": (FitRequest(train_rows=81), "81 rows to train on: the set has 100 rows, 80 % of them"),
    "too few rows": (FitRequest(train_rows=3), "give 10 to 80"),
    "no split": (FitRequest(splits=0), "at least 1"),
}


@pytest.mark.parametrize(("request_", "named"), BAD.values(), ids=BAD)
def test_what_cannot_be_fitted_is_refused(request_: FitRequest, named: str) -> None:
    with pytest.raises(PredictorError, match=named):
        evaluate(generated(100), request_, WORKLOAD)


def test_the_trees_answer_as_scikit_learns() -> None:
    from sklearn.ensemble import GradientBoostingRegressor

    rows, probe = generated(150), random_features(80, 7)
    ours = GradientBoosting.fit(rows.features, rows.latency_ms, workload=WORKLOAD, seed=0)
    theirs = GradientBoostingRegressor(n_estimators=300, max_depth=3, random_state=0)
    theirs.fit(rows.features.astype(np.float32), np.log(rows.latency_ms))
    np.testing.assert_allclose(np.log(ours.predict_ms(probe)), theirs.predict(probe.astype(np.float32)), rtol=1e-10)


def test_the_process_answers_as_scikit_learns() -> None:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    rows, probe = generated(120), random_features(80, 7)
    ours = GaussianProcess.fit(rows.features, rows.latency_ms, workload=WORKLOAD, seed=0)
    assert ours.scales.max() > 1.5 * ours.scales.min()  # one for each feature
    target = np.log(rows.latency_ms) - ours.base
    inputs = rows.features / FEATURE_NORM
    kernel = ConstantKernel(ours.amplitude) * RBF(ours.scales)
    level = float(np.median((target - kernel(inputs) @ ours.weights) / ours.weights))
    theirs = GaussianProcessRegressor(kernel + WhiteKernel(level), optimizer=None).fit(inputs, target)
    np.testing.assert_allclose(
        np.log(ours.predict_ms(probe)), theirs.predict(probe / FEATURE_NORM) + ours.base, rtol=1e-6
    )


def test_a_benchmark_tells_what_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.setattr(mlp, "STEPS", 5)
    benchmark = importlib.import_module("benchmarks.hat_latency_sets")
    lines = benchmark.compare([generated(140, noise=0.02)], splits=1, seed=0)
    report = benchmark.report(lines, 1.0)
    assert len(lines) == 15
    assert "holds: structured from 100 rows" in report
    assert "HAT's network" in report
