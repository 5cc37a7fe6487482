"""Several devices, fronts, repeated seeds and random search beside a search: what is written is what was found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import InfeasibleError, SearchError
from hwnas.latency import TableLatency
from hwnas.search.journal import read_candidates
from hwnas.search.methods import METHODS, settings_of
from hwnas.search.nsga2 import pareto_front
from hwnas.search.request import SearchRequest
from hwnas.searching import BASELINE, FRONT, JOURNAL, OUTCOME, WINNER, search_and_measure
from latency_luts import LatencyLut
from profiler import Target
from tests.glue.test_searching import FAMILY, SPACE, TASK, limits, supernet, toy_table

__all__ = ["supernet"]


def other_table() -> LatencyLut:
    """Another device, on which the operators of the encoder cost nearly nothing."""
    table = toy_table(target=Target("there", "onnxruntime-1", 1, "thread_cpu"))
    rows = {
        operator: replace(row, latency_ms=row.latency_ms * (0.01 if operator.kind.startswith("encoder") else 3))
        for operator, row in table.rows.items()
    }
    return replace(table, rows=rows)


def request(method: str, evaluations: int, **changes: object) -> SearchRequest:
    fields = {"settings": settings_of(method, {}, evaluations), "validation_pairs": 5, "finalists": 3} | changes
    return SearchRequest(method, **fields)  # type: ignore[arg-type]


def evaluated(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()[1:]]


@pytest.mark.parametrize(
    "method", [name for name, method in METHODS.items() if method.searcher and name != "exhaustive"]
)
def test_every_method_searches_and_resumes_and_random_search_of_equal_cost_stands_beside(
    method: str, supernet, tmp_path: Path
) -> None:
    table = toy_table()
    asked = request(method, 30, baseline=True)
    run = lambda: search_and_measure(SPACE, FAMILY, supernet, TASK, table, limits(table), asked, tmp_path)  # noqa: E731
    outcome = run()
    assert outcome.evaluations == outcome.cost == len(evaluated(tmp_path)) == 30
    ours, theirs = outcome.record, outcome.baseline
    assert ours is not None and theirs is not None
    for folder, record in ((tmp_path, ours), (tmp_path / BASELINE, theirs)):
        losses = [entry["loss"] for entry in evaluated(folder)]
        assert len(losses) == record.seeds[0].evaluations == 30
        assert record.seeds[0].best_loss == min(losses) == record.best_loss[-1]
        assert 0 <= record.seeds[0].hypervolume <= 1
        assert record.hypervolume[-1] == record.seeds[0].hypervolume
        assert list(record.hypervolume) == sorted(record.hypervolume)
        for name in (FRONT, OUTCOME, WINNER):
            assert (folder / name).is_file()
    assert json.loads((tmp_path / BASELINE / OUTCOME).read_text())["method"] == "random"
    told = json.loads((tmp_path / OUTCOME).read_text())
    assert told["baseline"]["best_loss"] == min(entry["loss"] for entry in evaluated(tmp_path / BASELINE))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / JOURNAL).write_bytes(b"".join(before[tmp_path / JOURNAL].splitlines(keepends=True)[:13]))
    assert run() == outcome
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_front_is_that_of_everything_evaluated(supernet, tmp_path: Path) -> None:
    table = toy_table()
    within = limits(table)
    outcome = search_and_measure(SPACE, FAMILY, supernet, TASK, table, within, request("nsga2", 40), tmp_path)
    assert isinstance(within.latency, TableLatency)
    entries = evaluated(tmp_path)
    points = [(entry["loss"], within.latency.of(SPACE.candidate(entry["candidate"]))) for entry in entries]
    expected = {points[row] for row in pareto_front(np.array(points))}
    front = json.loads((tmp_path / FRONT).read_text())
    assert {(found["objectives"]["loss"], found["objectives"]["latency_ms"]) for found in front} == expected
    assert [found["objectives"]["loss"] for found in front] == sorted(loss for loss, _ in expected)
    assert outcome.objectives == ("loss", "latency_ms")
    assert outcome.winner is not None
    assert outcome.winner.loss == front[0]["objectives"]["loss"]
    keys = [found["key"] for found in front]
    assert all(found.candidate.key in keys for found in outcome.finalists)


def test_several_devices_at_once(supernet, tmp_path: Path) -> None:
    here, there = toy_table(), other_table()
    within, elsewhere = limits(here), limits(there, 0.4)
    outcome = search_and_measure(
        SPACE, FAMILY, supernet, TASK, here, within, request("nsga2", 40, margin=0.0), tmp_path,
        elsewhere={"there": elsewhere},
    )  # fmt: skip
    assert outcome.objectives == ("loss", "latency_ms/here", "latency_ms/there")
    assert outcome.limits == f"here: {within.describe()}; there: {elsewhere.describe()}"
    assert outcome.elsewhere == {"there": "measured"}
    assert isinstance(elsewhere.latency, TableLatency)
    genes = SPACE.encode_many(read_candidates(tmp_path / JOURNAL, SPACE))
    assert within.allows(genes).all()
    assert elsewhere.allows(genes).all()
    for found in outcome.finalists:
        assert found.elsewhere_ms == {"there": pytest.approx(elsewhere.latency.of(found.candidate))}
    impossible = replace(elsewhere, latency_ms=1e-6)
    with pytest.raises(InfeasibleError, match=r"there: no candidate .* the fastest candidate has"):
        search_and_measure(
            SPACE, FAMILY, supernet, TASK, here, within, request("nsga2", 40), tmp_path / "never",
            elsewhere={"there": impossible},
        )  # fmt: skip
    assert not (tmp_path / "never").exists()


def test_repeated_seeds_share_what_they_evaluate(supernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwnas import evaluation

    loss, counted = evaluation.validation_loss, []
    monkeypatch.setattr(evaluation, "validation_loss", lambda *given: counted.append(1) or loss(*given))
    table = toy_table()
    asked = request("evolution", 30, seeds=3, seed=4, baseline=True)
    outcome = search_and_measure(SPACE, FAMILY, supernet, TASK, table, limits(table), asked, tmp_path)
    assert outcome.record is not None and outcome.baseline is not None
    assert [its.seed for its in outcome.record.seeds] == [its.seed for its in outcome.baseline.seeds] == [4, 5, 6]
    folders = [tmp_path / base / seed for base in ("", BASELINE) for seed in ("", "seed-5", "seed-6")]
    entries = [entry for folder in folders for entry in evaluated(folder)]
    assert len(entries) == 6 * 30
    different = {SPACE.candidate(entry["candidate"]) for entry in entries}
    assert len(counted) == len(different) < 6 * 30
    ours = [entry["loss"] for folder in folders[:3] for entry in evaluated(folder)]
    assert outcome.finalists[0].loss == min(ours)
    assert len({found.candidate for found in outcome.finalists}) == 3


def test_what_a_method_cannot_do_is_refused_before_anything_is_written(supernet, tmp_path: Path) -> None:
    table = toy_table()
    for asked, message in (
        (request("bayes", 30, objectives=("latency_ms",)), "'bayes' searches for the loss alone, not for latency_ms"),
        (request("nsga2", 30, objectives=("beauty",)), "objective beauty is unknown; known: loss, latency_ms"),
        (request("nsga2", 30, objectives=("energy_mj",)), "what is known of here has no energies"),
    ):
        with pytest.raises(SearchError, match=message):
            search_and_measure(SPACE, FAMILY, supernet, TASK, table, limits(table), asked, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(SearchError, match="'luck' is unknown; known: evolution"):
        SearchRequest("luck")
    with pytest.raises(SearchError, match="0 seeds"):
        SearchRequest(seeds=0)


def test_parameters_and_memory_can_be_objectives(supernet, tmp_path: Path) -> None:
    table = toy_table()
    asked = request("linas", 40, objectives=("params_m", "peak_memory_mib"))
    outcome = search_and_measure(SPACE, FAMILY, supernet, TASK, table, limits(table), asked, tmp_path)
    assert outcome.objectives == ("loss", "params_m", "peak_memory_mib")
    within = limits(table)
    for found in json.loads((tmp_path / FRONT).read_text()):
        candidate = SPACE.candidate(found["candidate"])
        assert found["objectives"]["params_m"] == within.params_of(candidate)
        assert found["objectives"]["peak_memory_mib"] == within.peak_memory_of(candidate)
