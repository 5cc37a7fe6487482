"""Corrections and quarantine from references and visits alone."""

import json
import math

import numpy as np
import pytest

from profiler.drift import DriftReport, Reference, Visit, drift_report, hard_reason

ITEMS = 12


class Run:
    """References and visits of rounds of one process each; ``slower(round, share of it)`` is the device's log ratio."""

    def __init__(self, slower=lambda number, share: (0.0, 0.0), rounds: int = 12, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.mix = {f"item{n}": n / (ITEMS - 1) for n in range(ITEMS)}
        self.level_ms = {name: 0.1 * (n + 1) for n, name in enumerate(self.mix)}
        self.references: list[Reference] = []
        self.visits: list[Visit] = []
        self.truth: dict[tuple[int, int, str], float] = {}
        for number in range(rounds):
            own = dict(zip(("compute", "memory"), 0.01 * rng.standard_normal(2), strict=True))
            slots = [None, *rng.permutation(list(self.mix)), None]
            slots.insert(len(slots) // 2, None)
            position = 0
            for at, item in enumerate(slots):
                compute, memory = slower(number, at / len(slots))
                if item is None:
                    for workload, ratio in (("compute", compute), ("memory", memory)):
                        log_ms = ratio + own[workload] + 0.002 * rng.standard_normal()
                        self.references.append(Reference(number, position, workload, math.exp(log_ms)))
                        position += 1
                    continue
                ratio = self.mix[item] * compute + (1 - self.mix[item]) * memory
                log_ms = math.log(self.level_ms[item]) + ratio + 0.015 * rng.standard_normal()
                self.visits.append(Visit(number, position, item, math.exp(log_ms)))
                self.truth[self.visits[-1].key] = ratio
                position += 1

    def report(self) -> DriftReport:
        return drift_report(self.references, self.visits)

    def deviations(self, report: DriftReport) -> tuple[np.ndarray, np.ndarray]:
        """Log ratios of visits that count to their items' level, raw and corrected."""
        raw, corrected = [], []
        for visit in self.visits:
            factor, why = report.correction(visit)
            if why is None:
                raw.append(math.log(visit.latency_ms / self.level_ms[visit.item]))
                corrected.append(raw[-1] + math.log(factor))
        return np.array(raw), np.array(corrected)


def wave(number: int, share: float) -> tuple[float, float]:
    return 0.06 * (1 - math.cos((number + share) / 1.5)), 0.03 * (1 - math.cos((number + share) / 2))


def test_an_undisturbed_device_is_left_alone() -> None:
    for seed in range(10):
        run = Run(seed=seed)
        report = run.report()
        raw, corrected = run.deviations(report)
        assert len(raw) == len(run.visits)
        assert corrected.var() <= 1.03 * raw.var()
        assert abs(corrected.mean() - raw.mean()) < 0.002
    assert report.level_spread("item0") == 0.0


def test_drift_is_removed_from_every_mix() -> None:
    run = Run(wave, rounds=20)
    report = run.report()
    left = np.array([run.truth[v.key] + math.log(report.correction(v)[0]) for v in run.visits])
    before = np.array(list(run.truth.values()))
    assert np.sqrt(np.mean(left**2)) <= np.sqrt(np.mean(before**2)) / 4
    fitted = [report.mix[item] for item in run.mix]
    assert np.corrcoef(fitted, list(run.mix.values()))[0, 1] > 0.9
    assert report.level_spread("item3") > 0
    assert report.levels_ms["compute"] == pytest.approx(1.0, abs=0.015)


def test_beyond_a_quarter_is_quarantined_and_the_rest_kept() -> None:
    run = Run(lambda number, share: (math.log(1.4), math.log(1.4)) if 3 <= number + share < 6.5 else (0.0, 0.0))
    quarantined = run.report().quarantined
    beyond = {key for key, ratio in run.truth.items() if ratio > 0}
    assert len(quarantined.keys() & beyond) >= 0.95 * len(beyond)
    assert len(quarantined.keys() - beyond) <= 0.05 * len(beyond)


def test_a_burst_between_references_is_seen_by_the_visits_own_rounds() -> None:
    run = Run()
    hit = run.visits[50:53]
    run.visits[50:53] = [Visit(v.round, v.position, v.item, 1.6 * v.latency_ms) for v in hit]
    report = run.report()
    assert set(report.quarantined) == {v.key for v in hit}
    assert set(report.quarantined.values()) == {"far from the item's other rounds"}


def test_a_process_that_slows_a_reference_alone_changes_nothing() -> None:
    run = Run()
    run.references = [
        Reference(
            r.round, r.position, r.workload, r.latency_ms * (1.13 if (r.round, r.workload) == (7, "memory") else 1)
        )
        for r in run.references
    ]
    report = run.report()
    kept = [report.correction(v)[0] for v in run.visits if v.round == 7 and report.correction(v)[1] is None]
    assert len(kept) == ITEMS
    assert np.mean([abs(math.log(factor)) < 0.01 for factor in kept]) > 0.8


def test_before_an_item_has_a_history_references_that_disagree_rule_its_visits_out() -> None:
    run = Run(lambda number, share: (0.15, 0.15) if share > 0.7 else (0.0, 0.0), rounds=2)
    reasons = set(run.report().quarantined.values())
    assert reasons == {"the references around it disagree"}


def test_a_reference_that_does_not_count_tells_nothing() -> None:
    run = Run()
    clean = run.report()
    broken = [Reference(4, 6, "compute", 1e-6, hard="the clock jumped"), Reference(5, 6, "memory", -1.0)]
    report = drift_report([*run.references, *broken], run.visits)
    assert report.corrections == clean.corrections


def test_without_references_only_what_is_far_off_or_ruled_out_is_quarantined() -> None:
    run = Run()
    run.visits[0] = Visit(0, run.visits[0].position, run.visits[0].item, 1.0, hard="throttled")
    report = drift_report([], run.visits)
    assert report.quarantined == {run.visits[0].key: "throttled"}
    assert all(factor == 1.0 for factor, _ in report.corrections.values())
    assert drift_report([], []).corrections == {}
    unknown = Visit(99, 0, "item0", 1.0)
    assert report.correction(unknown) == (1.0, None)


def test_the_same_whatever_the_order_it_is_given_in() -> None:
    run = Run(wave)
    report = run.report()
    again = drift_report(run.references[::-1], run.visits[::-1])
    assert again.quarantined == report.quarantined
    for visit in run.visits:
        assert again.correction(visit)[0] == pytest.approx(report.correction(visit)[0])


def test_a_report_can_be_written_down() -> None:
    told = json.loads(json.dumps(Run(wave).report().as_dict(), allow_nan=False))
    assert set(told["rounds"]) == {str(n) for n in range(12)}
    assert told["visits"] == 12 * ITEMS
    low, high = told["correction"]
    assert 1 / 1.25 <= low < high


@pytest.mark.parametrize(
    ("wall_ns", "cpu_ns", "threads", "told"),
    [
        ((10_000, 11_000), (9_000, 11_000), 1, None),
        ((10_000, -5), (9_000, 9_000), 1, "backwards"),
        ((10_000, 50_000), (9_000, 54_000), 1, "set back"),
        ((10_000, 50_000), (19_000, 100_000), 2, None),
    ],
)
def test_samples_that_rule_themselves_out(
    wall_ns: tuple[int, ...], cpu_ns: tuple[int, ...], threads: int, told: str | None
) -> None:
    why = hard_reason(wall_ns, cpu_ns, threads, resolution_ns=100)
    assert (why is None) if told is None else (why is not None and told in why)
