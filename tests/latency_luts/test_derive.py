from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_luts import DISPATCH, LatencyLut, LutError, OperatorSpec
from latency_luts.derive import session_sd
from profiler.anchor import Anchor
from profiler.drift import DriftReport
from profiler.fingerprint import fingerprint
from profiler.journal import Environment, JournalContent, JournalHeader, JournalItem, JournalPlan
from profiler.measurement import Measurement, RoundSamples
from profiler.parity import Parity
from profiler.target import Target

HERE = Target("here", "onnxruntime-1.32.0", 1, "thread_cpu")
WALL = replace(HERE, clock="wall")
FFN = OperatorSpec.of("ffn", embed=32)
META = {"role": "calibration", "candidate": {"layers": 2}, "operators": {str(FFN): 2}}
EQUAL = Parity(1e-7, 1.0, 1e-4, 100.0)


def measured(cpu_us: float, rounds: int = 4) -> Measurement:
    """Samples of 10 calls: CPU time rises by 1 us a call and round, one sample of three is disturbed."""
    return Measurement(
        tuple(
            RoundSamples(
                n,
                10,
                tuple(int(2e4 * (cpu_us + n)) for _ in range(3)),
                (int(1e4 * (cpu_us + n)), int(1e4 * (cpu_us + n)), int(9e4 * cpu_us)),
            )
            for n in range(rounds)
        )
    )


def journal(**changes: object) -> JournalContent:
    items = (
        JournalItem(str(DISPATCH), "operator", "p0", {}, ("a0",)),
        JournalItem(str(FFN), "operator", "p1", {}, ("a1",)),
        JournalItem("m1", "model", "p2", META, ("a2", "a3")),
    )
    header = JournalHeader(
        targets=(HERE,),
        workload={"batch": 1},
        subject={"space": "g2p", "fingerprint": "abc"},
        items=items,
        plan=JournalPlan(rounds=4, samples=3, min_sample_ms=2.0, seed=0),
        created="2026-01-01T00:00:00+00:00",
    )
    name = str(HERE)
    fields: dict[str, object] = {
        "header": header,
        "measurements": {
            (name, str(DISPATCH)): measured(3),
            (name, str(FFN)): measured(20),
            (name, "m1"): measured(50),
        },
        "parity": {(name, f"a{n}"): EQUAL for n in range(4)},
        "environment": (
            Environment(name, "start", None, {"cpu": "x"}),
            Environment(name, "round", 1, {"load": 1}),
            Environment("other", "start", None, {"cpu": "y"}),
        ),
        "calls": {},
    }
    return JournalContent(**(fields | changes))  # type: ignore[arg-type]


def test_rows_tell_the_one_functional_on_the_targets_clock() -> None:
    lut = LatencyLut.derive(journal(), HERE)
    row = lut.rows[FFN]
    # median over rounds 0..3 of 20 + round us; the disturbed sample is in the upper half
    assert row.latency_ms == pytest.approx(0.0215)
    assert row.metrics["wall_ms"] == pytest.approx(0.043)
    assert (row.rounds, row.samples, row.artifact_sha256, row.parity_error) == (4, 12, "a1", 1e-7)
    assert lut.dispatch_ms == pytest.approx(0.0045)
    (model,) = lut.models_of("calibration")
    assert model.operators == {FFN: 2}
    assert model.candidate == {"layers": 2}
    assert model.latency_ms == pytest.approx(0.0515)
    assert model.halves_ms == pytest.approx((0.051, 0.052))
    assert lut.environment == {"start": {"cpu": "x"}}
    assert (lut.rounds, lut.incomplete, lut.subject.space) == (4, None, "g2p")


def test_a_derived_table_is_stored_and_read_back(tmp_path: Path) -> None:
    lut = LatencyLut.derive(journal(), HERE)
    lut.save(tmp_path / "t")
    assert LatencyLut.load(tmp_path / "t") == lut


def test_a_run_that_has_not_ended_gives_a_table_that_says_so(tmp_path: Path) -> None:
    short = {**journal().measurements, (str(HERE), str(FFN)): measured(20, rounds=3)}
    lut = LatencyLut.derive(journal(measurements=short), HERE)
    assert lut.incomplete == "3 of 3 items measured, 1 of them in fewer rounds than planned; profile again"
    lut.save(tmp_path / "t")
    assert LatencyLut.load(tmp_path / "t") == lut


@pytest.mark.parametrize("artifact", ["a1", "a2", "a3"])
@pytest.mark.parametrize("record", [None, Parity(1e-3, 1.0, 1e-4, 10.0), Parity(float("nan"), 1.0, 1e-4, 0.0)])
def test_nothing_without_a_passing_parity_record_of_every_graph(artifact: str, record: Parity | None) -> None:
    parity = {key: value for key, value in journal().parity.items() if key[1] != artifact}
    if record is not None:
        parity[str(HERE), artifact] = record
    lut = LatencyLut.derive(journal(parity=parity), HERE)
    assert (FFN in lut.rows) == (artifact != "a1")
    assert bool(lut.models) == (artifact == "a1")
    assert lut.incomplete == "2 of 3 items measured; profile again"


def test_an_item_that_names_no_graphs_gives_no_row() -> None:
    content = journal()
    items = (replace(content.header.items[0], artifacts=()), *content.header.items[1:])
    lut = LatencyLut.derive(journal(header=replace(content.header, items=items)), HERE)
    assert set(lut.rows) == {FFN}


def test_another_target_is_refused() -> None:
    with pytest.raises(LutError, match="its targets: here/onnxruntime"):
        LatencyLut.derive(journal(), WALL)


def test_what_ended_early_on_purpose_lacks_nothing() -> None:
    """Converged items have fewer rounds than the plan allows, and a run that ended says so."""
    short = {**journal().measurements, (str(HERE), str(FFN)): measured(20, rounds=3)}
    ended = (*journal().environment, Environment(str(HERE), "end", None, {}))
    assert LatencyLut.derive(journal(measurements=short, environment=ended), HERE).incomplete is None


def test_what_failed_is_told_with_its_reason() -> None:
    content = journal()
    known = {key: value for key, value in content.measurements.items() if key[1] != "m1"}
    failed = {(str(HERE), "m1"): "the worker died"}
    lut = LatencyLut.derive(replace(content, measurements=known, failed=failed), HERE)
    assert lut.incomplete == "2 of 3 items measured (m1: the worker died); profile again"


def test_rows_and_models_carry_their_interval_and_status() -> None:
    lut = LatencyLut.derive(journal(), HERE)
    taken = measured(20)
    row, (model,) = lut.rows[FFN], lut.models
    assert row.interval_ms == taken.interval_ms("thread_cpu")
    assert row.status == taken.status("thread_cpu")
    assert model.interval_ms == measured(50).interval_ms("thread_cpu")
    assert model.status is not None
    assert row.interval_ms is not None
    assert row.interval_ms[0] <= row.latency_ms <= row.interval_ms[1]


def test_corrected_and_raw_latency_stand_side_by_side() -> None:
    slowed = Measurement(tuple(replace(r, correction=0.8) for r in measured(20).rounds))
    lut = LatencyLut.derive(journal(measurements={**journal().measurements, (str(HERE), str(FFN)): slowed}), HERE)
    assert lut.rows[FFN].raw_ms == pytest.approx(0.0215)
    assert lut.rows[FFN].latency_ms == pytest.approx(0.8 * 0.0215)


def test_the_device_and_its_drift_are_summed_up() -> None:
    drift = DriftReport(levels_ms={"compute": 1.5})
    lut = LatencyLut.derive(journal(drift={str(HERE): drift, "other": DriftReport()}), HERE)
    assert lut.drift == drift.as_dict()
    assert lut.fingerprint == fingerprint({"cpu": "x"}, "thread_cpu")
    assert LatencyLut.derive(journal(environment=()), HERE).fingerprint == ""


def test_a_table_knows_the_level_it_is_told_at(tmp_path: Path) -> None:
    started = (Environment(str(HERE), "start", None, {"numpy": "2.0", "load_average": [1]}),)
    drift = DriftReport(levels_ms={"compute": 0.5, "memory": 0.7})
    lut = LatencyLut.derive(journal(drift={str(HERE): drift}, environment=started), HERE)
    assert lut.anchor == Anchor(0.5, {"numpy": "2.0"})
    lut.save(tmp_path / "t.lut.jsonl")
    assert LatencyLut.load(tmp_path / "t.lut.jsonl").anchor == lut.anchor
    again = LatencyLut.derive(journal(drift={str(HERE): replace(drift, anchored=0.8)}, environment=started), HERE)
    assert again.anchor == Anchor(0.4, {"numpy": "2.0"}), "the first session's level is handed on"
    assert LatencyLut.derive(journal(environment=started), HERE).anchor is None
    assert LatencyLut.derive(journal(drift={str(HERE): drift}, environment=()), HERE).anchor is None


def test_a_model_at_another_level_is_as_much_faster_in_everything() -> None:
    (model,) = LatencyLut.derive(journal(), HERE).models
    faster = model.scaled(0.5)
    assert model.halves_ms is not None
    assert model.interval_ms is not None
    assert faster.latency_ms == 0.5 * model.latency_ms
    assert faster.halves_ms == tuple(0.5 * ms for ms in model.halves_ms)
    assert faster.interval_ms == tuple(0.5 * ms for ms in model.interval_ms)
    unknown = replace(model, halves_ms=None, interval_ms=None).scaled(0.5)
    assert (unknown.halves_ms, unknown.interval_ms) == (None, None)


@pytest.mark.parametrize(("level", "noise"), [(0.0, 0.01), (0.02, 0.01), (0.05, 0.0)])
def test_the_wander_of_the_common_level_is_found_among_the_items_own_noise(level: float, noise: float) -> None:
    rng = np.random.default_rng(0)
    items = tuple(JournalItem(f"op{n}", "operator", f"p{n}", {}, (f"a{n}",)) for n in range(40))
    factors = np.exp(level * rng.normal(size=60))

    def taken(cpu_us: float) -> Measurement:
        values = [int(1e4 * cpu_us * factor * np.exp(noise * rng.normal())) for factor in factors]
        return Measurement(tuple(RoundSamples(n, 10, (ns,) * 3, (ns,) * 3) for n, ns in enumerate(values)))

    content = journal(
        header=replace(journal().header, items=items),
        measurements={(str(HERE), item.name): taken(20 + n) for n, item in enumerate(items)},
    )
    found = session_sd(content, HERE)
    assert found == pytest.approx(level, rel=0.3, abs=0.004)
    few = {key: Measurement(value.rounds[:4]) for key, value in content.measurements.items()}
    assert session_sd(replace(content, measurements=few), HERE) == 0
