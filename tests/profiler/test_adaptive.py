"""Rounds go where they are needed, a budget is kept, and what comes next follows from the journal alone."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("onnx", reason="makes the graphs")

from contracts.fake_session import FakeSession
from contracts.graphs import linear

from profiler import Journal, JournalContent, Plan, PlanItem, Program, Sample, measure, read_journal

driver = importlib.import_module("profiler.measuring")
FAKE = FakeSession().target
LATENCIES_MS = (0.2, 0.3, 0.5, 0.8)
TAKEN = ('"kind":"sample"', '"kind":"reference"')


class Varying(FakeSession):
    """A program's latency differs between rounds by its ``spread``; what it is follows from the journal.

    So a run that was cut off meets the very same device when it goes on.
    """

    def __init__(self, path: Path, spreads: dict[str, float], passing) -> None:
        super().__init__(truth_ms=dict(zip(spreads, LATENCIES_MS, strict=False)))
        self.path, self.spreads, self.passing = path, spreads, passing

    def time(self, handle: str, calls: int, samples: int = 1) -> tuple[Sample, ...]:
        taken = super().time(handle, calls, samples)
        sha = self._program(handle).sha256
        return self.varied(taken, self.spreads[sha], sha)

    def reference(self, workload: str, calls: int, samples: int = 1) -> tuple[Sample, ...]:
        return self.varied(super().reference(workload, calls, samples), 0.004, workload)

    def varied(self, taken: tuple[Sample, ...], spread: float, what: str) -> tuple[Sample, ...]:
        number = sum(kind in line for line in self.path.read_text().splitlines() for kind in TAKEN)
        rng = np.random.default_rng([number, *what.encode()])
        factor = math.exp(spread * rng.standard_normal())
        varied = tuple(
            Sample(s.calls, round(s.wall_ns * factor * (1 + 0.002 * rng.exponential())), s.cpu_ns) for s in taken
        )
        self.passing(sum(sample.wall_ns for sample in varied) / 1e9)
        return varied


def make_plan(
    folder: Path, spreads: tuple[float, ...], uses: tuple[float, ...] | None = None, **options: object
) -> Plan:
    items = [
        PlanItem(f"i{n}", "operator", Program.single(linear(folder / f"{n}.onnx", 4 + n)), use=use)
        for n, use in enumerate(uses or (1.0,) * len(spreads))
    ]
    return Plan(tuple(items), **{"rounds": 40, "half_width": 0.02, "samples": 3, "seed": 5, **options})


def take(path: Path, plan: Plan, spreads: tuple[float, ...], passing=lambda _: None) -> JournalContent:
    known = {item.program.sha256: spread for item, spread in zip(plan.items, spreads, strict=True)}
    with Journal.open(path, plan.header([FAKE], workload={}, subject={})) as journal:
        measure([lambda: Varying(path, known, passing)], plan, journal)
    return read_journal(path)


def rounds(content: JournalContent) -> list[int]:
    return [len(content.measurements[str(FAKE), item.name].rounds) for item in content.header.items]


def test_what_is_tight_is_left_alone_and_the_rest_goes_on(tmp_path: Path) -> None:
    spreads = (0.0, 0.005, 0.04, 0.3)
    content = take(tmp_path / "j", make_plan(tmp_path, spreads), spreads)
    taken = rounds(content)
    assert taken[0] == taken[1] == 10 < taken[2] < taken[3]
    statuses = [content.measurements[str(FAKE), f"i{n}"].status("wall") for n in range(4)]
    assert statuses[:3] == ["converged"] * 3
    assert statuses[3] != "converged"
    assert content.complete
    for number, ms in enumerate(LATENCIES_MS[:3]):
        low, high = content.measurements[str(FAKE), f"i{number}"].interval_ms("wall")
        assert (high - low) / 2 <= 0.02 * ms * 1.1


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan, tuple[float, ...]]:
    folder, spreads = tmp_path_factory.mktemp("undisturbed"), (0.0, 0.02, 0.06)
    plan = make_plan(folder, spreads, rounds=20)
    take(folder / "j", plan, spreads)
    return folder, plan, spreads


def untimed(path: Path) -> list[dict[str, object]]:
    """What was taken, without the driver's own time, which is never the same twice."""
    records = map(json.loads, path.read_text().splitlines())
    return [
        {key: value for key, value in record.items() if key not in ("at_s", "took_s")}
        for record in records
        if record["kind"] in ("sample", "reference", "calibration", "parity")
    ]


@pytest.mark.parametrize("share", [*np.linspace(0.02, 0.98, 9), 0.9995, 1.0])
def test_cut_off_anywhere_and_gone_on_with_it_ends_the_same(undisturbed, tmp_path: Path, share: float) -> None:
    """The device's latencies depend on what was taken before, so only the very same visits give the same."""
    folder, plan, spreads = undisturbed
    whole = (folder / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole[: int(share * len(whole))])
    content, wanted = take(tmp_path / "j", plan, spreads), read_journal(folder / "j")
    assert untimed(tmp_path / "j") == untimed(folder / "j")
    assert content.measurements == wanted.measurements
    assert content.drift == wanted.drift
    for key, found in content.measurements.items():
        assert found.interval_ms("wall") == wanted.measurements[key].interval_ms("wall")
        assert found.status("wall") == wanted.measurements[key].status("wall")
    assert content.complete
    assert wanted.complete


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch):
    """The driver's clock, which stands still but while something is timed."""
    now = [1000.0]
    monkeypatch.setattr(driver, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def passing(seconds: float) -> None:
        now[0] += seconds

    return passing


@pytest.mark.parametrize("budget_s", [1.5, 3.0])
def test_a_budget_is_kept_and_goes_where_it_tells_most(tmp_path: Path, virtual, budget_s: float) -> None:
    spreads, uses = (0.2, 0.2, 0.2), (1.0, 50.0, 0.1)
    plan = make_plan(tmp_path, spreads, uses, rounds=1000, budget_s=budget_s)
    content = take(tmp_path / "j", plan, spreads, virtual)
    assert 0.7 * budget_s < content.elapsed_s <= budget_s + 0.05
    taken = rounds(content)
    assert taken[1] == max(taken)
    assert content.complete, "a budget that is used up is the end that was planned"
    before = (tmp_path / "j").read_bytes()
    take(tmp_path / "j", plan, spreads, virtual)
    assert (tmp_path / "j").read_bytes() == before


def test_what_making_ready_took_is_part_of_the_budget_but_of_no_round(tmp_path: Path, virtual, monkeypatch) -> None:
    """Proving a program takes a second here, a round of visits a tenth of one."""
    proven = driver.check_parity
    monkeypatch.setattr(driver, "check_parity", lambda *given: (virtual(1.0), proven(*given))[1])
    spreads = (0.2, 0.2, 0.2)
    content = take(tmp_path / "j", make_plan(tmp_path, spreads, rounds=1000, budget_s=6.0), spreads, virtual)
    assert min(rounds(content)) > 5
    assert 5.0 < content.elapsed_s <= 6.05
    content = take(tmp_path / "k", make_plan(tmp_path, spreads, rounds=1000, budget_s=1.5), spreads, virtual)
    assert (content.measurements, content.elapsed_s <= 2.1) == ({}, True)


@pytest.mark.parametrize("share", np.linspace(0.1, 0.95, 9))
def test_cut_off_under_a_budget_it_goes_on_with_the_same_rounds(tmp_path: Path, virtual, share: float) -> None:
    spreads = (0.2, 0.2, 0.2)
    plan = make_plan(tmp_path, spreads, rounds=1000, budget_s=2.0)
    take(tmp_path / "whole", plan, spreads, virtual)
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "j").write_bytes(whole[: int(share * len(whole))])

    rest_s = 2.0 - read_journal(tmp_path / "j").elapsed_s
    known = {item.program.sha256: spread for item, spread in zip(plan.items, spreads, strict=True)}
    slow = [rest_s - 0.02]  # the first session takes so long to open that hardly anything is left

    def opening() -> Varying:
        virtual(slow.pop() if slow else 0.0)
        return Varying(tmp_path / "j", known, virtual)

    with Journal.open(tmp_path / "j", plan.header([FAKE], workload={}, subject={})) as journal:
        measure([opening], plan, journal)
    places = [
        (record["round"], record["position"])
        for record in map(json.loads, (tmp_path / "j").read_text().splitlines())
        if record["kind"] in ("sample", "reference")
    ]
    assert len(places) == len(set(places)), "two visits at one place of a round"
    assert read_journal(tmp_path / "j").elapsed_s <= 2.1


def test_a_larger_budget_goes_on_where_the_smaller_was_spent(tmp_path: Path, virtual) -> None:
    spreads = (0.2, 0.2, 0.2)
    few = take(tmp_path / "j", make_plan(tmp_path, spreads, rounds=1000, budget_s=1.5), spreads, virtual)
    plan = make_plan(tmp_path, spreads, rounds=1000, budget_s=3.0)
    more = take(tmp_path / "j", plan, spreads, virtual)
    assert sum(rounds(more)) > 1.5 * sum(rounds(few))
    assert 2.5 < more.elapsed_s <= 3.05
    assert more.complete
    before = (tmp_path / "j").read_bytes()
    take(tmp_path / "j", plan, spreads, virtual)
    assert (tmp_path / "j").read_bytes() == before
    records = [json.loads(line) for line in before.splitlines()]
    places = [(r["round"], r["position"]) for r in records if r["kind"] in ("sample", "reference")]
    assert len(places) == len(set(places))


def test_a_budget_too_small_for_anything_measures_nothing(tmp_path: Path, virtual) -> None:
    plan = make_plan(tmp_path, (0.1,), budget_s=1e-3)
    content = take(tmp_path / "j", plan, (0.1,), virtual)
    assert content.measurements == {}
    assert not content.complete


def test_the_cost_of_the_references_is_small(tmp_path: Path) -> None:
    spreads = (0.01,) * 60
    items = [
        PlanItem(f"i{n}", "operator", Program.single(linear(tmp_path / f"{n}.onnx", 4 + n)))
        for n in range(len(spreads))
    ]
    take(tmp_path / "j", Plan(tuple(items), rounds=2), spreads)
    spent = {"sample": 0, "reference": 0}
    for record in map(json.loads, (tmp_path / "j").read_text().splitlines()):
        if record["kind"] in spent:
            spent[record["kind"]] += sum(record["wall_ns"])
    assert 0 < spent["reference"] < 0.1 * spent["sample"]
