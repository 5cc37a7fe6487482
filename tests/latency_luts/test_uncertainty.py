"""Prediction intervals against a truth that is known: they hold what they say, and not much more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_luts import (
    DISPATCH,
    LatencyLut,
    LutError,
    MissingOperatorError,
    OperatorRow,
    OperatorSpec,
    Subject,
    WholeModel,
)
from profiler.anchor import OWN_SPREAD, SPREAD
from profiler.target import Target

KINDS = ("attention", "ffn", "head")
OPERATORS = tuple(OperatorSpec.of(kind, embed=embed) for kind in KINDS for embed in (32, 64, 96))
DISPATCH_MS = 0.003


class Device:
    """True latencies of operators and models; ``form`` is what no sum explains, ``noise`` a row's error."""

    def __init__(self, seed: int, *, form: float = 0.02, noise: float = 0.01, session: float = SPREAD) -> None:
        self.rng = np.random.default_rng(seed)
        self.form, self.noise, self.session = form, noise, session
        self.true_ms = {op: DISPATCH_MS + 0.002 * float(self.rng.uniform(0.5, 4)) for op in OPERATORS}
        self.true_ms[DISPATCH] = DISPATCH_MS
        self.constant_ms, self.scale = float(self.rng.uniform(0, 0.03)), float(self.rng.uniform(1, 1.6))

    def row(self, operator: OperatorSpec) -> OperatorRow:
        noise = 0.0 if operator == DISPATCH else self.noise
        latency_ms = self.true_ms[operator] * float(np.exp(noise * self.rng.normal()))
        interval = (latency_ms * (1 - 1.96 * noise), latency_ms * (1 + 1.96 * noise))
        return OperatorRow(operator, latency_ms, 10, 50, "sha", 0.0, interval_ms=interval)

    def draw(self) -> dict[OperatorSpec, int]:
        embed, layers = int(self.rng.choice((32, 64, 96))), int(self.rng.integers(1, 5))
        ffns = self.rng.choice((32, 64, 96), size=layers)
        paid = {OperatorSpec.of("attention", embed=embed): 8 * layers, OperatorSpec.of("head", embed=embed): 8}
        for ffn in ffns:
            operator = OperatorSpec.of("ffn", embed=int(ffn))
            paid[operator] = paid.get(operator, 0) + 8
        return paid

    def measure(self, operators: Mapping[OperatorSpec, int]) -> float:
        exact = self.constant_ms + sum(n * self.scale * (self.true_ms[op] - DISPATCH_MS) for op, n in operators.items())
        return float(exact * np.exp(self.form * self.rng.normal()))

    def model(self, name: str, role: str) -> WholeModel:
        operators = self.draw()
        latency_ms = self.measure(operators)
        halves = (latency_ms, latency_ms)
        return WholeModel(name, role, {}, operators, latency_ms, halves, 10, 50, "sha", 0.0)  # type: ignore[arg-type]

    def table(self, calibration: int = 10, check: int = 10) -> LatencyLut:
        roles = ["calibration"] * calibration + ["check"] * check
        lut = LatencyLut(
            target=Target("here", "runtime-1", 1, "thread_cpu"),
            workload={"batch": 1},
            subject=Subject("g2p", "abc"),
            rows={operator: self.row(operator) for operator in (DISPATCH, *OPERATORS)},
            models=tuple(self.model(f"m{number}", role) for number, role in enumerate(roles)),
            session_sd=self.session,
            drift={"levels_ms": {"compute": 0.1}},
            environment={"start": {}},
        )
        return lut.calibrated() if calibration else lut

    def later(self) -> float:
        """The level of another session, as a factor."""
        return float(np.exp(self.session * self.rng.normal()))


TABLES, FRESH = 150, 4


def coverage(calibration: int, check: int, changes: dict[str, float]) -> tuple[float, float, float]:
    """Shares inside the 95 % interval and below the 95 % bound, and the error of both (one standard deviation)."""
    inside = below = 0
    for seed in range(TABLES):
        device = Device(seed, **changes)
        uncertainty = device.table(calibration, check).uncertainty()
        level = device.later()
        for _ in range(FRESH):
            operators = device.draw()
            measured_ms = level * device.measure(operators)
            counts = uncertainty.counts_of(operators)
            low, high = uncertainty.interval_ms(counts, 0.95)[0]
            inside += int(low <= measured_ms <= high)
            below += int(measured_ms <= uncertainty.upper_ms(counts, 0.95)[0])
    independent = TABLES  # the models of a session are off together
    return inside / (TABLES * FRESH), below / (TABLES * FRESH), (0.95 * 0.05 / independent) ** 0.5


@pytest.mark.parametrize(
    ("calibration", "check", "changes"),
    [
        (10, 10, {}),
        (10, 0, {}),
        (5, 3, {}),
        (10, 10, {"form": 0.03, "noise": 0.0}),
        (10, 10, {"form": 0.01, "session": 0.03}),
    ],
)
def test_intervals_hold_a_fresh_measurement_as_often_as_they_say(
    calibration: int, check: int, changes: dict[str, float]
) -> None:
    inside, below, error = coverage(calibration, check, changes)
    assert inside == pytest.approx(0.95, abs=3 * error)
    assert below == pytest.approx(0.95, abs=3 * error)


def test_badly_measured_rows_never_make_them_too_narrow() -> None:
    """Too wide they are then: the calibration takes up part of the rows' error, which is counted in full."""
    inside, below, error = coverage(10, 10, {"form": 0.005, "noise": 0.03})
    assert inside >= 0.95 - 3 * error
    assert below >= 0.95 - 3 * error


def test_a_wandering_device_that_is_not_counted_breaks_them() -> None:
    """What the session term is for: without it the intervals of the case above hold far too little."""
    inside = 0
    for seed in range(TABLES):
        device = Device(seed, form=0.01, session=0.03)
        uncertainty = replace(device.table().uncertainty(), session=0.0)
        operators, level = device.draw(), device.later()
        low, high = uncertainty.interval_ms(uncertainty.counts_of(operators))[0]
        inside += int(low <= level * device.measure(operators) <= high)
    assert inside / TABLES < 0.8


def test_a_table_that_does_not_know_its_level_leaves_more_for_another_session() -> None:
    lut = Device(0, session=0.002).table()
    assert lut.uncertainty().session == SPREAD
    assert replace(lut, drift={}).uncertainty().session == OWN_SPREAD
    assert replace(lut, session_sd=0.05).uncertainty().session == 0.05


def test_a_candidate_of_badly_measured_rows_has_the_wider_interval() -> None:
    device = Device(0, noise=0.002)
    lut = device.table()
    noisy, quiet = OperatorSpec.of("ffn", embed=32), OperatorSpec.of("ffn", embed=64)
    row = lut.rows[noisy]
    spread = (0.8 * row.latency_ms, 1.2 * row.latency_ms)
    lut = replace(lut, rows={**lut.rows, noisy: replace(row, interval_ms=spread)})
    uncertainty = lut.uncertainty()
    shares = [uncertainty.relative_sd(uncertainty.counts_of({operator: 40}))[0] for operator in (noisy, quiet)]
    assert shares[0] > 0.08 > shares[1] > uncertainty.least_sd


def test_more_models_and_less_confidence_make_it_narrower() -> None:
    def widths(lut: LatencyLut, confidence: float) -> float:
        uncertainty = lut.uncertainty()
        low, high = uncertainty.interval_ms(uncertainty.counts_of({OPERATORS[0]: 8}), confidence)[0]
        return float(high / low)

    few, many = ([Device(seed).table(*models) for seed in range(20)] for models in ((5, 3), (20, 20)))
    assert np.median([widths(lut, 0.95) for lut in many]) < np.median([widths(lut, 0.95) for lut in few])
    assert widths(many[0], 0.5) < widths(many[0], 0.95) < widths(many[0], 0.99)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 0.999))
def test_bounds_are_above_the_prediction_and_follow_the_interval(seed: int, confidence: float) -> None:
    lut = Device(seed).table()
    uncertainty = lut.uncertainty()
    counts = np.vstack([uncertainty.counts_of(model.operators) for model in lut.models])
    assert lut.calibration is not None
    predicted = np.array([lut.calibration.predict(model.operators) for model in lut.models])
    interval = uncertainty.interval_ms(counts, confidence)
    assert (interval[:, 0] < predicted).all()
    assert (interval[:, 0] > 0).all()
    np.testing.assert_allclose(interval[:, 1], uncertainty.upper_ms(counts, (1 + confidence) / 2))
    np.testing.assert_allclose(interval.prod(axis=1), predicted**2)
    assert (uncertainty.upper_ms(counts, confidence) >= predicted * (1 - 1e-12)).all()
    assert (uncertainty.relative_sd(counts) >= uncertainty.least_sd).all()
    assert lut.interval_ms(lut.models[0].operators, confidence) == pytest.approx(tuple(interval[0]))


def test_a_table_that_cannot_say_says_so() -> None:
    lut = Device(0).table()
    engine = {"engine": "systolic", "version": "1", "configuration": "ab", "fidelity": "uncalibrated"}
    with pytest.raises(LutError, match=r"is estimated: .* there is no interval; its fidelity is 'uncalibrated'"):
        replace(lut, source="estimated", provenance=engine).uncertainty()
    with pytest.raises(LutError, match="too few whole models to say how far"):
        Device(0).table(4, 0).uncertainty()
    with pytest.raises(LutError, match="is a plain sum"):
        Device(0).table(0, 10).uncertainty()
    with pytest.raises(LutError, match="a confidence of 1 is none"):
        lut.interval_ms({OPERATORS[0]: 1}, 1.0)
    with pytest.raises(MissingOperatorError, match="absent"):
        lut.interval_ms({OperatorSpec.of("absent"): 1})


def test_models_of_operators_that_the_table_lacks_are_left_out() -> None:
    lut = Device(0).table()
    stranger = replace(lut.models[-1], operators={OperatorSpec.of("absent"): 1})
    assert replace(lut, models=(*lut.models[:-1], stranger)).uncertainty().freedom == lut.uncertainty().freedom - 1


@pytest.mark.parametrize("name", ["g2p", "hat_wmt14_ende"])
def test_the_shipped_tables_predict_their_own_held_out_models(name: str) -> None:
    """From ten calibration models and ten check models alone; the other check models were not looked at."""
    (path,) = (Path(__file__).parents[2] / "latency_luts" / "tables").glob(f"{name}_*.jsonl")
    lut = LatencyLut.load(path)
    fresh = lut.models_of("check")[10:]
    known = replace(lut, models=(*lut.models_of("calibration"), *lut.models_of("check")[:10]))
    intervals = [known.interval_ms(model.operators) for model in fresh]
    inside = sum(low <= model.latency_ms <= high for (low, high), model in zip(intervals, fresh, strict=True))
    assert inside / len(fresh) >= 0.95 - 3 * (0.95 * 0.05 / len(fresh)) ** 0.5
    widths = [(high - low) / 2 / model.latency_ms for (low, high), model in zip(intervals, fresh, strict=True)]
    assert lut.anchor is None, "so 3 % are left for another session"
    assert np.mean(widths) <= (0.085 if name == "g2p" else 0.115)
