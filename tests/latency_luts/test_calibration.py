from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_luts import (
    DISPATCH,
    Calibration,
    CheckReport,
    LatencyLut,
    LutError,
    LutFormatError,
    MissingOperatorError,
    OperatorRow,
    OperatorSpec,
    Subject,
    WholeModel,
    check_report,
)
from profiler.target import Target

DISPATCH_MS = 0.003
TABLE = {
    OperatorSpec.of(kind, embed=embed): DISPATCH_MS + (0.002 if kind == "attention" else 0.0015) * embed / 32
    for kind in ("attention", "ffn", "head")
    for embed in (32, 64, 96)
}
CLASSES = {"head": "projection"}


def models_of(truth: Calibration, count: int, seed: int, noise: float = 0.0) -> list[WholeModel]:
    """Random models of one to four layers whose latency is what ``truth`` says, give or take ``noise``."""
    rng = random.Random(seed)
    models = []
    for number in range(count):
        embed, layers = rng.choice((32, 64, 96)), rng.randint(1, 4)
        operators = {
            OperatorSpec.of("attention", embed=embed): 8 * layers,
            OperatorSpec.of("ffn", embed=rng.choice((32, 64, 96))): 8 * layers,
            OperatorSpec.of("head", embed=embed): 8,
        }
        exact = truth.predict(operators)
        halves = (exact * (1 + noise * rng.gauss(0, 1)), exact * (1 + noise * rng.gauss(0, 1)))
        latency = exact * (1 + noise * rng.gauss(0, 1))
        models.append(WholeModel(f"m{number}", "check", {}, operators, latency, halves, 10, 50, "sha", 0.0))
    return models


def truth(constant: float, per_call: float, scale: float, projection: float) -> Calibration:
    scales = {"all": scale, "projection": projection}
    return Calibration(TABLE, DISPATCH_MS, constant, per_call, scales, CLASSES, 0, None)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.05), st.floats(0, 0.002), st.floats(0.5, 3))
def test_recovers_an_affine_truth(constant: float, per_call: float, scale: float) -> None:
    known = truth(constant, per_call, scale, scale)
    fitted = Calibration.fit(TABLE, DISPATCH_MS, models_of(known, 12, seed=0))
    report = fitted.evaluate(models_of(known, 30, seed=1))
    assert report.worst < 1e-6
    assert report.spearman > 0.999
    assert fitted.held_out is not None
    assert fitted.held_out.worst < 1e-6


@pytest.mark.parametrize("factor", [1.0, 1.25, 1.5])
def test_finds_the_overhead_of_a_call(factor: float) -> None:
    known = Calibration(TABLE, factor * DISPATCH_MS, 0.01, 0.0, {"all": 1.3}, {}, 0, None)
    fitted = Calibration.fit(TABLE, DISPATCH_MS, models_of(known, 10, seed=0))
    assert fitted.overhead_ms == pytest.approx(factor * DISPATCH_MS)
    assert fitted.evaluate(models_of(known, 30, seed=1)).worst < 1e-6


def test_without_a_dispatch_nothing_is_taken_off() -> None:
    known = Calibration(TABLE, 0.0, 0.01, 0.0, {"all": 1.3}, {}, 0, None)
    assert Calibration.fit(TABLE, 0.0, models_of(known, 10, seed=0)).overhead_ms == 0


def test_classes_are_told_apart_where_one_scale_is_not_enough() -> None:
    known = truth(0.01, 0.0005, 1.0, 2.5)
    calibration, fresh = models_of(known, 10, seed=0), models_of(known, 40, seed=1)
    one = Calibration.fit(TABLE, DISPATCH_MS, calibration).evaluate(fresh)
    two = Calibration.fit(TABLE, DISPATCH_MS, calibration, classes=CLASSES).evaluate(fresh)
    assert two.mape < 0.5 * one.mape
    assert two.mape < 0.02


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 10))
def test_few_noisy_models_give_no_negative_coefficient_and_a_sane_prediction(seed: int, count: int) -> None:
    known = truth(0.01, 0.0005, 1.2, 1.0)
    fitted = Calibration.fit(TABLE, DISPATCH_MS, models_of(known, count, seed, noise=0.03), classes=CLASSES)
    assert fitted.constant_ms >= 0
    assert fitted.per_call_ms >= 0
    assert all(scale >= 0 for scale in fitted.scales.values())
    assert fitted.evaluate(models_of(known, 30, seed=1)).mape < 0.5


def test_dispatch_is_taken_off_but_never_below_zero() -> None:
    tiny, big = OperatorSpec.of("tiny"), OperatorSpec.of("big")
    calibration = Calibration({tiny: 0.001, big: 0.013}, 0.003, 0.1, 0.01, {"all": 2.0}, {}, 5, None)
    assert calibration.contribution_ms(tiny) == pytest.approx(0.01)
    assert calibration.contribution_ms(big) == pytest.approx(0.03)
    assert calibration.predict({tiny: 2, big: 3}) == pytest.approx(0.1 + 0.02 + 0.09)


def test_a_class_without_calibration_models_takes_the_common_scale() -> None:
    operator = OperatorSpec.of("new")
    calibration = Calibration({operator: 1.0}, 0, 0, 0, {"a": 1.0, "b": 2.0}, {"new": "c"}, 5, None)
    assert calibration.contribution_ms(operator) == pytest.approx(1.5)


def test_too_few_models_and_missing_operators_are_refused() -> None:
    known = truth(0.01, 0.0005, 1.2, 1.0)
    with pytest.raises(LutError, match="2 whole models to calibrate on are too few"):
        Calibration.fit(TABLE, DISPATCH_MS, models_of(known, 2, seed=0))
    with pytest.raises(MissingOperatorError, match="attention"):
        Calibration.fit({}, DISPATCH_MS, models_of(known, 5, seed=0))
    with pytest.raises(MissingOperatorError, match="absent"):
        known.predict({OperatorSpec.of("absent"): 1})
    assert Calibration.fit(TABLE, DISPATCH_MS, models_of(known, 3, seed=0)).held_out is None


def test_a_calibration_is_stored_and_read_back() -> None:
    fitted = Calibration.fit(TABLE, DISPATCH_MS, models_of(truth(0.01, 0, 1, 2), 6, 0, 0.01), classes=CLASSES)
    assert Calibration.from_dict(fitted.as_dict(), TABLE) == fitted
    with pytest.raises(LutFormatError, match="scales"):
        Calibration.from_dict({"held_out": None, "overhead_ms": 0, "constant_ms": 0, "per_call_ms": 0}, TABLE)


def test_held_out_error_is_not_the_error_of_the_fit() -> None:
    known = truth(0.01, 0.0005, 1.2, 1.0)
    models = models_of(known, 6, seed=3, noise=0.05)
    fitted = Calibration.fit(TABLE, DISPATCH_MS, models)
    assert fitted.held_out is not None
    assert fitted.held_out.mape > fitted.evaluate(models).mape


def test_report_by_hand() -> None:
    models = [
        WholeModel(str(i), "check", {}, {}, latency, halves, 1, 1, "", 0.0)
        for i, (latency, halves) in enumerate([(1.0, (1.0, 1.02)), (2.0, (2.0, 2.0)), (4.0, (3.9, 4.1))])
    ]
    report = check_report(models, np.array([1.04, 2.0, 3.4]))
    assert report.mape == pytest.approx((0.04 + 0 + 0.15) / 3)
    assert report.bias == pytest.approx((0.04 - 0.15) / 3)
    assert report.within_5 == pytest.approx(2 / 3)
    assert report.within_10 == pytest.approx(2 / 3)
    assert report.worst == pytest.approx(0.15)
    assert report.worst_model == "2"
    assert report.spearman == pytest.approx(1)
    assert report.split_half_floor == pytest.approx((0.02 + 0 + 0.05) / 3)
    assert CheckReport.from_dict(report.as_dict()) == report
    assert check_report(models, np.array([3.0, 2.0, 1.0])).spearman == pytest.approx(-1)
    with pytest.raises(LutError):
        check_report([], np.array([]))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=3, max_size=20))
def test_spearman_is_scipys(pairs: list[tuple[int, int]]) -> None:
    from scipy.stats import rankdata

    models = [WholeModel("m", "check", {}, {}, float(a), (1.0, 1.0), 1, 1, "", 0.0) for a, _ in pairs]
    ours = check_report(models, np.array([float(b) for _, b in pairs])).spearman
    a, b = rankdata([a for a, _ in pairs]), rankdata([b for _, b in pairs])
    expected = np.corrcoef(a, b)[0, 1] if a.std() and b.std() else 0.0
    assert ours == pytest.approx(expected)


def test_weights_that_stream_in_a_whole_model_only_are_paid_by_the_mib() -> None:
    """A model larger than the cache pays memory bandwidth that no operator timed alone pays."""
    small, large = OperatorSpec.of("ffn", size=1), OperatorSpec.of("ffn", size=2)
    latencies_ms = {small: 0.01, large: 0.015}
    streamed_mib = {small: 4.0, large: 12.0}
    models = []
    for a, b in [(1, 1), (2, 1), (1, 3), (4, 1), (2, 5), (6, 2)]:
        truth_ms = 1.2 * (a * 0.01 + b * 0.015) + 0.05 * (4 * a + 12 * b)
        operators = {small: a, large: b}
        halves_ms = (truth_ms, truth_ms)
        models.append(WholeModel(f"m{a}{b}", "calibration", {}, operators, truth_ms, halves_ms, 4, 20, "sha", 0.0))
    plain = Calibration.fit(latencies_ms, 0.0, models)
    streaming = Calibration.fit(latencies_ms, 0.0, models, streamed_mib=streamed_mib)
    assert plain.evaluate(models).worst > 0.1
    assert streaming.evaluate(models).worst < 1e-6
    assert streaming.per_streamed_mib_ms > 0.04
    stored = Calibration.from_dict(streaming.as_dict(), latencies_ms)
    assert stored.predict(models[0].operators) == pytest.approx(models[0].latency_ms)


def test_each_precision_has_a_scale_where_a_table_has_several() -> None:
    quantised = {replace(operator, precision="int8-dynamic"): 0.6 * ms for operator, ms in TABLE.items()}
    known = Calibration(
        TABLE | quantised, DISPATCH_MS, 0.01, 0.0, {"all": 2.0, "int8-dynamic": 1.2},
        {"int8-dynamic": "int8-dynamic"}, 0, None,
    )  # fmt: skip
    rng, models = random.Random(0), []
    for number in range(40):
        operators = {
            replace(OperatorSpec.of(kind, embed=rng.choice((32, 64, 96))), precision=precision): 8 * rng.randint(1, 4)
            for kind in ("attention", "ffn")
            for precision in rng.sample(("fp32", "int8-dynamic"), rng.randint(1, 2))
        }
        latency_ms = known.predict(operators)
        role = "calibration" if number < 10 else "check"
        halves = (latency_ms, latency_ms)
        models.append(WholeModel(f"m{number}", role, {}, operators, latency_ms, halves, 10, 50, "sha", 0.0))
    rows = {
        o: OperatorRow(o, ms, 10, 50, f"sha-{o}", 0.0)
        for o, ms in {DISPATCH: DISPATCH_MS, **TABLE, **quantised}.items()
    }
    table = LatencyLut(
        target=Target("here", "onnxruntime-1", 1, "thread_cpu"),
        workload={}, subject=Subject("mixed", "0"), rows=rows, rounds=10, models=tuple(models),
    ).calibrated()  # fmt: skip
    assert table.calibration is not None
    assert table.calibration.classes == {"int8-dynamic": "int8-dynamic"}
    by_precision = table.calibration.evaluate(table.models_of("check"))
    assert by_precision.mape < 0.02
    read = Calibration.from_dict(table.calibration.as_dict(), table.latencies_ms)
    assert read.evaluate(table.models_of("check")) == by_precision
    one = table.calibrated(classes={}).calibration
    assert one is not None
    assert one.evaluate(table.models_of("check")).mape > 3 * by_precision.mape
    single = {operator: row for operator, row in rows.items() if operator in quantised or operator == DISPATCH}
    quantised_alone = [
        replace(model, role="calibration", operators=its)
        for model in models
        if (its := {operator: n for operator, n in model.operators.items() if operator in quantised})
    ]
    alone = replace(table, rows=single, models=tuple(quantised_alone)).calibrated().calibration
    assert alone is not None
    assert alone.classes == {}
