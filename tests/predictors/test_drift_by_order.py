from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from predictors.generated_set import generated

from hwnas.predictors import FitRequest, LatencySet, evaluate
from hwnas.predictors.dataset import Split
from hwnas.predictors.drift import fit_drift
from hwnas.workload import Workload

ROWS = 800


def blocks(rows: int = ROWS) -> npt.NDArray[np.float64]:
    """A slow stretch, a step, and a slow wander, as in HAT's sets."""
    factor = np.exp(0.02 * np.sin(np.arange(rows) / 60))
    factor[100:250] *= 1.22
    factor[500:] *= 1.06
    return factor


def error(rows: LatencySet, *, corrected: bool, train_rows: int | None = None) -> float:
    request = FitRequest(train_rows=train_rows, splits=4, drift_corrected=corrected)
    return evaluate(rows, request, Workload()).mean.mape


@pytest.fixture(scope="module")
def drifting() -> LatencySet:
    return generated(ROWS, factor=blocks())


def test_drift_is_removed(drifting: LatencySet) -> None:
    assert error(drifting, corrected=True) < 0.014  # of 0.008, which the noise of 1 % alone gives
    assert error(drifting, corrected=False) > 0.04


def test_a_hundred_rows_still_tell_of_it(drifting: LatencySet) -> None:
    few = [error(drifting, corrected=corrected, train_rows=100) for corrected in (True, False)]
    assert few[0] < 0.6 * few[1]


def test_permuting_the_rows_takes_the_gain_away(drifting: LatencySet) -> None:
    shuffled = drifting.take(np.random.default_rng(0).permutation(ROWS))
    gain = 1 - error(drifting, corrected=True) / error(drifting, corrected=False)
    rest = 1 - error(shuffled, corrected=True) / error(shuffled, corrected=False)
    assert gain > 0.6
    assert abs(rest) < 0.08


def test_where_there_is_no_drift_nothing_is_lost() -> None:
    steady = generated(400, noise=0.03)
    assert error(steady, corrected=True) < 1.04 * error(steady, corrected=False)


def test_a_prediction_does_not_see_what_it_is_tested_on(drifting: LatencySet) -> None:
    """Test and validation rows may be anything: drift and model stay the same."""
    split = Split.of(ROWS, 0, 0)
    unseen = np.concatenate([split.valid, split.test])
    factor = np.ones(ROWS)
    factor[unseen] = np.random.default_rng(1).uniform(0.3, 3, len(unseen))
    other = replace(drifting, encoder_ms=drifting.encoder_ms * factor, decoder_ms=drifting.decoder_ms * factor)
    places = np.sort(split.train)
    once, again = fit_drift(drifting, places), fit_drift(other, places)
    np.testing.assert_array_equal(once.at(np.arange(ROWS)), again.at(np.arange(ROWS)))
    request = FitRequest(splits=1, drift_corrected=True)
    fits = [evaluate(rows, request, Workload()).fits[0].predictor.as_dict() for rows in (drifting, other)]
    assert fits[0] == fits[1]


def test_a_row_is_told_from_others_even_where_it_is_known(drifting: LatencySet) -> None:
    places = np.arange(0, ROWS, 2)
    drift = fit_drift(drifting, places)
    own = np.arange(len(places)) == 30
    itself = replace(drift, log_ratio=np.where(own, 5.0, drift.log_ratio))
    others = replace(drift, log_ratio=np.where(own, drift.log_ratio, 5.0))
    assert itself.at(places[own]) == drift.at(places[own])
    assert others.at(places[own]) != drift.at(places[own])


def test_two_known_rows_are_enough_to_be_asked_anywhere() -> None:
    drift = fit_drift(generated(60, factor=blocks(60)), np.array([3, 40]))
    assert np.isfinite(drift.at(np.arange(60))).all()
