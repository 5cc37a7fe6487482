"""The benchmark of three runtimes: what its verdicts mean, and what it measures at full size."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from hwnas.families import get_family
from hwnas.latency import operators_of
from hwnas.spaces import load_space
from latency_luts import CheckReport
from tests.latency.tiny import bounded_lut

benchmark = importlib.import_module("benchmarks.three_runtimes")
REPORT = CheckReport(30, 0.04, 0.0, 0.7, 1.0, 0.99, 0.08, "m", 0.01)


@pytest.mark.parametrize(
    ("mape", "floor", "expected"),
    [
        (0.05, 0.01, "holds"),
        (0.051, 0.01, "fails"),
        (0.044, 0.03, "holds"),
        (0.001, 0.031, "inconclusive"),
        (0.2, 0.031, "inconclusive"),
    ],
)
def test_a_verdict_needs_a_low_floor(mape: float, floor: float, expected: str) -> None:
    assert benchmark.verdict(replace(REPORT, mape=mape, split_half_floor=floor)) == expected


def test_a_row_tells_the_errors_on_fresh_models_alone() -> None:
    plain = bounded_lut(form=0.01)
    slower = replace(plain, models=tuple(replace(m, latency_ms=2 * m.latency_ms) for m in plain.models)).calibrated()
    first, second = benchmark.rows_of({"one": plain, "two": slower})
    assert plain.calibration is not None
    expected = plain.calibration.evaluate(plain.models_of("check"))
    assert (first.models, first.mean_error, first.worst_error) == (10, expected.mape, expected.worst)
    assert (first.operators, first.verdict) == (len(plain.rows) - 1, "holds")
    assert (first.of_the_first, second.of_the_first) == (1.0, pytest.approx(2.0))


def test_the_full_size_space_has_thirty_operators_and_more_models_than_are_measured() -> None:
    space = load_space(str(Path(benchmark.__file__).with_name("hat_thirty.yaml")))
    wmt = load_space("hat_wmt14_ende")
    assert len(operators_of(space, get_family(space.family), space.workload)) == 30
    assert space.size() > 40
    assert replace(space.workload, vocabulary=wmt.workload.vocabulary) == wmt.workload
    theirs = {choice.name: choice.values for choice in wmt.choices}
    assert all(set(choice.values) <= set(theirs[choice.name]) for choice in space.choices)
