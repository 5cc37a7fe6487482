"""Outliers row by row. The Raspberry Pi's set is HAT's (latency_dataset/wmt14ende_cpu_raspberrypi_all.csv, MIT),
its figures rounded to three to six digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from predictors.generated_set import generated

from hwnas.families.seq2seq.features import count_parts
from hwnas.predictors import LatencySet, Quarantine, judge_rows, read_latency_set
from hwnas.predictors.quarantine import WARM_UP
from hwnas.predictors.robust import fit_entries

PI = Path(__file__).parents[1] / "golden" / "hat" / "wmt14ende_cpu_raspberrypi_all.csv"
Flags = npt.NDArray[np.bool_]


def flags(rows: LatencySet) -> Flags:
    verdicts = judge_rows(rows)
    assert [verdict.row for verdict in verdicts] == list(range(len(rows)))
    return np.array([verdict.flagged for verdict in verdicts])


@pytest.fixture(scope="module")
def pi() -> LatencySet:
    return read_latency_set(PI)


@pytest.fixture(scope="module")
def pi_ratio(pi: LatencySet) -> npt.NDArray[np.float64]:
    """Encoder latency over its robust fit on all rows: most of the set is clean, only its start is not."""
    parts = count_parts(pi.features)[:, :4]
    return pi.encoder_ms / (parts @ fit_entries(parts, pi.encoder_ms))


def test_the_outliers_of_the_raspberry_pi(pi: LatencySet, pi_ratio: npt.NDArray[np.float64]) -> None:
    slow, fine = pi_ratio > 1.5, pi_ratio < 1.1
    assert 150 < slow.sum() < 180
    assert slow[:200].sum() > 110
    flagged = flags(pi)
    assert flagged[slow].mean() >= 0.8
    assert flagged[:WARM_UP][slow[:WARM_UP]].mean() >= 0.8
    assert flagged[fine].mean() <= 0.02


@pytest.mark.parametrize("end", [WARM_UP, 137, 300])
def test_later_rows_change_no_verdict(pi: LatencySet, end: int) -> None:
    whole = judge_rows(pi.take(np.arange(400)))
    assert judge_rows(pi.take(np.arange(end))) == whole[:end]


def test_verdicts_come_with_their_row_after_the_warm_up(pi: LatencySet) -> None:
    quarantine = Quarantine(warm_up=20)
    given = [
        len(quarantine.feed(pi.features[row], float(pi.encoder_ms[row]), float(pi.decoder_ms[row])))
        for row in range(30)
    ]
    assert given == [0] * 19 + [20] + [1] * 10
    assert quarantine.finish() == ()


def test_fewer_rows_than_the_warm_up_get_their_verdicts_in_the_end() -> None:
    rows = generated(30, encoder_factor=np.where(np.arange(30) % 5 == 2, 4.0, 1.0))
    np.testing.assert_array_equal(np.flatnonzero(flags(rows)), np.arange(2, 30, 5))
    assert Quarantine().finish() == ()


SHAPES = {
    "spikes": lambda rng, n: np.where(rng.random(n) < 0.1, 3.0, 1.0),
    "slow start": lambda rng, n: np.where((np.arange(n) < 120) & (rng.random(n) < 0.85), 8.0, 1.0),
    "slow end": lambda rng, n: np.where(np.arange(n) > 400, 1.6, 1.0),
    "half of the rows": lambda rng, n: np.where(rng.random(n) < 0.5, 2.0, 1.0),
    "heavy tail": lambda rng, n: np.where(rng.random(n) < 0.3, 1.6 + rng.exponential(2.0, n), 1.0),
}


@pytest.mark.parametrize("side", ["encoder_factor", "factor"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_outliers_of_other_shapes(shape: str, side: str, noise: float) -> None:
    factor = SHAPES[shape](np.random.default_rng(3), 500)
    flagged = flags(generated(500, seed=4, noise=noise, **{side: factor}))
    assert flagged[factor > 1.5].mean() >= 0.9
    assert flagged[factor == 1].mean() <= 0.02


@pytest.mark.parametrize("noise", [0.01, 0.08])
def test_noise_is_no_outlier(noise: float) -> None:
    assert flags(generated(600, noise=noise)).mean() <= 0.01


def test_drift_within_bounds_is_no_outlier() -> None:
    factor = np.where(np.arange(600) < 150, 1.2, 1.0)
    assert flags(generated(600, factor=factor)).mean() <= 0.02


def test_a_state_that_comes_later_takes_over() -> None:
    """All of the first rows are slow alike, so nothing tells; once enough faster ones were seen, slow ones are."""
    factor = np.where(np.arange(500) < 100, 3.0, np.where(np.arange(500) % 10 == 0, 3.0, 1.0))
    flagged = flags(generated(500, factor=factor))
    late = np.arange(500) >= 200
    assert flagged[late & (factor > 1)].mean() >= 0.9
    assert flagged[factor == 1].mean() <= 0.02
