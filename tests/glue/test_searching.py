"""The search on a device: what is evaluated once, what is measured, and who wins."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exporters import onnx as onnx_exporter
from hwnas import evaluation
from hwnas.candidates import read_candidate
from hwnas.data.task import Pair
from hwnas.errors import InfeasibleError, SearchError, WorkloadError
from hwnas.evaluators.choosing import SubsetRequest, choose_subset
from hwnas.evaluators.fitness import fixed_subset
from hwnas.evaluators.inherited import SubsetLoss
from hwnas.families.base import Vocabularies
from hwnas.finalists import Finalist, pick_winner
from hwnas.latency import TableLatency, decompose, operators_of
from hwnas.limits import CandidateLimits
from hwnas.search.evolution import EvolutionSettings
from hwnas.search.identity import fingerprint_of
from hwnas.search.journal import read_candidates
from hwnas.search.request import SearchRequest
from hwnas.searching import JOURNAL, search_and_measure
from hwnas.supernet import SuperTransformer
from hwnas.workload import Workload
from latency_luts import DISPATCH, LatencyLut, OperatorRow, Subject, WholeModel
from profiler import LocalDevice, SessionError, Target, openings
from tests.contracts.fake_session import FakeSession
from tests.glue.stand_in import StandInExporter
from tests.training.toy import FAMILY, SPACE, toy_task

TARGET = Target("here", "onnxruntime-1", 1, "thread_cpu")
HERE = LocalDevice(name="here", kind="local")
EVOLUTION = EvolutionSettings(population=8, parents=3, mutants=3, crossovers=3, iterations=2)
TASK = toy_task()


def latency_of(operator) -> float:
    return 1e-3 + 1e-5 * sum(size for _, size in operator.sizes)


def toy_table(workload: Workload = SPACE.workload, **changes: object) -> LatencyLut:
    """Made-up latencies that grow with size, and two models measured beside them."""
    operators = (DISPATCH, *operators_of(SPACE, FAMILY, workload))
    rows = {op: OperatorRow(op, latency_of(op), 5, 25, f"sha-{op}", 1e-7) for op in operators}
    models = []
    for which in (0, -1):
        candidate = SPACE.extreme(which)
        paid = decompose(SPACE, FAMILY, workload, candidate)
        models.append(
            WholeModel(candidate.key, "calibration", candidate.as_dict(), paid, 0.25, (0.25, 0.25), 5, 25, "sha", 1e-7)
        )
    fields: dict[str, object] = {
        "target": TARGET,
        "workload": workload.as_dict(),
        "subject": Subject("toy", SPACE.fingerprint),
        "rows": rows,
        "models": tuple(models),
        "rounds": 5,
    }
    return LatencyLut(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def supernet() -> SuperTransformer:
    torch.manual_seed(0)
    vocabularies = Vocabularies(len(TASK.source_vocabulary), len(TASK.target_vocabulary))
    return SuperTransformer(FAMILY, SPACE, vocabularies).eval()


def limits(table: LatencyLut, share: float = 0.5) -> CandidateLimits:
    latency = TableLatency.from_lut(SPACE, FAMILY, table)
    fastest, slowest = latency.fastest(), latency.slowest()
    assert fastest is not None
    assert slowest is not None
    limit_ms = fastest[0] + share * (slowest[0] - fastest[0])
    return CandidateLimits(SPACE, FAMILY, SPACE.workload, latency, latency_ms=limit_ms)


def finalist(loss: float, predicted_ms: float, interval_ms: tuple[float, float] | None = None) -> Finalist:
    measured_ms = None if interval_ms is None else sum(interval_ms) / 2
    return Finalist(SPACE.extreme(0), loss, predicted_ms, measured_ms, interval_ms)


def test_the_winner_is_the_best_that_meets_the_limit_as_measured() -> None:
    best_but_slow = finalist(1.0, 0.9, (0.95, 1.05))
    second = finalist(1.5, 1.2, (0.8, 1.0))  # predicted above the limit, measured within
    third = finalist(1.6, 0.5, (0.5, 0.5))
    assert pick_winner([third, best_but_slow, second], 1.0) is second
    assert pick_winner([best_but_slow], 1.0) is None
    assert pick_winner([third, best_but_slow], None) is best_but_slow
    assert pick_winner([], 1.0) is None


def test_what_did_not_come_to_rest_or_failed_never_wins() -> None:
    unstable = replace(finalist(1.0, 0.5, (0.4, 0.6)), status="unstable")
    failed = replace(finalist(1.1, 0.5), failed="it crashed")
    sound = replace(finalist(1.2, 0.5, (0.4, 0.6)), status="budget")
    assert pick_winner([unstable, failed, sound], 1.0) is sound
    assert pick_winner([unstable, failed], None) is None


def test_where_nothing_was_measured_the_prediction_counts() -> None:
    assert pick_winner([one := finalist(2.0, 1.0), finalist(1.0, 1.01)], 1.0) is one


def test_of_equals_the_first_wins() -> None:
    first, second = finalist(1.0, 0.5), finalist(1.0, 0.4)
    assert pick_winner([first, second], 1.0) is first


@given(size=st.integers(1, 60), number=st.integers(1, 80))
def test_a_fixed_subset_is_spread_evenly(size: int, number: int) -> None:
    pairs = [Pair((i,), (i,)) for i in range(size)]
    chosen = [pair.source[0] for pair in fixed_subset(pairs, number)]
    assert len(chosen) == min(number, size)
    assert chosen == sorted(set(chosen))
    gaps = {b - a for a, b in itertools.pairwise(chosen)}
    assert chosen[0] == 0
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert fixed_subset(pairs, None) == tuple(pairs)


def test_a_search_keeps_its_best_and_repeats_no_evaluation(supernet, tmp_path: Path, monkeypatch) -> None:
    table, counted, loss = toy_table(), [], evaluation.validation_loss
    monkeypatch.setattr(evaluation, "validation_loss", lambda *given: counted.append(1) or loss(*given))
    request = SearchRequest(settings=EVOLUTION, validation_pairs=20, finalists=4)
    within = limits(table)
    outcome = search_and_measure(SPACE, FAMILY, supernet, TASK, table, within, request, tmp_path)
    assert len(counted) == outcome.evaluations == EVOLUTION.evaluations
    assert len(outcome.finalists) == 4
    losses = [found.loss for found in outcome.finalists]
    assert losses == sorted(losses)
    pairs = fixed_subset(TASK.pairs["valid"], 20)
    for found in outcome.finalists:
        assert isinstance(within.latency, TableLatency)
        assert found.predicted_ms == within.latency.of(found.candidate) <= 0.98 * within.latency_ms  # type: ignore[operator]
        assert found.measured_ms is found.interval_ms is None
        with supernet.active(found.candidate) as model:
            assert found.loss == pytest.approx(loss(model, FAMILY, pairs))
    assert outcome.winner == outcome.finalists[0]
    assert outcome.drift is None
    assert read_candidate(tmp_path / "winner.yml", SPACE) == outcome.winner.candidate
    assert json.loads((tmp_path / "search.json").read_text()) == json.loads(json.dumps(outcome.as_dict()))

    counted.clear()
    assert search_and_measure(SPACE, FAMILY, supernet, TASK, table, within, request, tmp_path) == outcome
    assert counted == []
    with pytest.raises(SearchError, match="is of another search"):
        other = replace(request, validation_pairs=10)
        search_and_measure(SPACE, FAMILY, supernet, TASK, table, within, other, tmp_path)


def test_random_search_spends_as_much(supernet, tmp_path: Path) -> None:
    request = SearchRequest("random", EVOLUTION, validation_pairs=5)
    table = toy_table()
    outcome = search_and_measure(SPACE, FAMILY, supernet, TASK, table, limits(table), request, tmp_path)
    assert (outcome.method, outcome.evaluations) == ("random", EVOLUTION.evaluations)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """This machine, every model taking 0.3 ms on it; nothing is really exported or timed."""
    session = FakeSession(TARGET, default_ms=0.3)
    monkeypatch.setattr(openings, "open_session", lambda device: session)
    monkeypatch.setattr(onnx_exporter, "OnnxExporter", StandInExporter)
    return session


REQUEST = SearchRequest(settings=EVOLUTION, validation_pairs=5, finalists=3, rounds=10)


def measured(supernet, out: Path, table: LatencyLut | None = None, limit_ms: float = 0.31, **changes: object):
    table = table or toy_table()
    within = replace(limits(table), latency_ms=limit_ms)
    request = replace(REQUEST, **changes)  # type: ignore[arg-type]
    return search_and_measure(
        SPACE, FAMILY, supernet, TASK, table, within, request, out, device=HERE, cache=out / "cache"
    )


def test_the_finalists_are_measured_beside_models_of_the_table(supernet, device, tmp_path: Path) -> None:
    outcome = measured(supernet, tmp_path)
    for found in outcome.finalists:
        assert found.measured_ms == pytest.approx(0.3)
        assert found.interval_ms == pytest.approx((0.3, 0.3))
    assert outcome.winner == outcome.finalists[0]
    assert outcome.drift == pytest.approx(0.3 / 0.25)
    names = {line["name"] for line in journal(tmp_path)[0]["items"]}
    assert {SPACE.extreme(0).key, SPACE.extreme(-1).key} <= names
    assert {found.candidate.key for found in outcome.finalists} <= names
    timed = len([entry for entry in device.log if entry[0] == "time"])
    assert measured(supernet, tmp_path) == outcome
    assert len([entry for entry in device.log if entry[0] == "time"]) == timed, "something was timed twice"


def test_a_finalist_that_fails_is_listed_and_the_others_go_on(
    supernet, device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measured(supernet, tmp_path / "whole")
    assert first.winner is not None
    (bad,) = [
        line["program"]
        for line in journal(tmp_path / "whole")[0]["items"]
        if line["name"] == first.winner.candidate.key
    ]
    load = device.load

    def crashing(program):
        if program.sha256 == bad:
            raise SessionError("the worker died")
        return load(program)

    monkeypatch.setattr(device, "load", crashing)
    outcome = measured(supernet, tmp_path / "again")
    failed, *others = outcome.finalists
    assert (failed.measured_ms, failed.status) == (None, None)
    assert "the worker died" in (failed.failed or "")
    assert [found.status for found in others] == ["converged"] * 2
    assert outcome.winner == others[0]


def test_no_drift_is_told_of_a_table_without_models(supernet, device, tmp_path: Path) -> None:
    outcome = measured(supernet, tmp_path, toy_table(models=()))
    assert outcome.drift is None
    assert all(found.measured_ms == pytest.approx(0.3) for found in outcome.finalists)


def journal(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "finalists.journal.jsonl").read_text().splitlines()]


def test_no_winner_if_none_meets_the_limit_as_measured(supernet, device, tmp_path: Path) -> None:
    (tmp_path / "winner.yml").write_text("of another day")
    outcome = measured(supernet, tmp_path, limit_ms=0.29)
    assert outcome.winner is None
    assert len(outcome.finalists) == 3
    assert not (tmp_path / "winner.yml").exists()
    assert json.loads((tmp_path / "search.json").read_text())["winner"] is None


def test_the_table_of_another_target_is_refused(supernet, device, tmp_path: Path) -> None:
    other = toy_table(target=replace(TARGET, runtime="onnxruntime-2"))
    with pytest.raises(SearchError, match=r"the table is of here/onnxruntime-2.*, this is here/onnxruntime-1"):
        measured(supernet, tmp_path, other)


def test_the_table_of_another_vocabulary_is_refused(supernet, tmp_path: Path) -> None:
    workload = replace(SPACE.workload, vocabulary=100)
    with pytest.raises(WorkloadError, match=r"has 100 output symbols, task 'toy' has 9; profile with --vocabulary 9"):
        measured(supernet, tmp_path / "out", toy_table(workload))
    assert not (tmp_path / "out").exists()


def test_an_impossible_limit_is_refused_before_anything_is_evaluated(supernet, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(evaluation, "validation_loss", lambda *given: pytest.fail("evaluated"))
    with pytest.raises(InfeasibleError, match="the fastest candidate has"):
        measured(supernet, tmp_path, limit_ms=1e-3)


def test_a_limit_that_only_the_margin_makes_impossible_says_so(supernet, tmp_path: Path) -> None:
    latency = TableLatency.from_lut(SPACE, FAMILY, toy_table())
    fastest = latency.fastest()
    assert fastest is not None
    message = r"the search keeps a margin of 2.0% below it: lower the margin \(--margin\)"
    with pytest.raises(InfeasibleError, match=message):
        measured(supernet, tmp_path, limit_ms=1.01 * fastest[0])


def bounded_table(form: float = 0.01) -> LatencyLut:
    """With whole models enough to say how far it is off."""
    table, rng, models = toy_table(), random.Random(0), []
    for number in range(12):
        candidate = SPACE.sample(rng)
        paid = decompose(SPACE, FAMILY, SPACE.workload, candidate)
        latency_ms = 0.01 + sum(n * latency_of(op) for op, n in paid.items()) * (1 + form * (-1) ** number)
        role = "calibration" if number < 8 else "check"
        halves = (latency_ms, latency_ms)
        models.append(WholeModel(f"m{number}", role, {}, paid, latency_ms, halves, 5, 25, "sha", 1e-7))
    return replace(table, models=tuple(models)).calibrated()


def test_a_search_holds_the_limit_against_what_a_measurement_may_show(supernet, tmp_path: Path) -> None:
    table = bounded_table()
    within = limits(table)
    assert isinstance(within.latency, TableLatency)
    assert within.latency_ms is not None
    request = SearchRequest(settings=EVOLUTION, validation_pairs=20)
    outcome = search_and_measure(SPACE, FAMILY, supernet, TASK, table, within, request, tmp_path)
    assert outcome.limits == f"latency <= {within.latency_ms:g} ms"
    assert outcome.searched == f"{outcome.limits} at 95 % confidence"
    assert outcome.predictions == "measured"
    for evaluated in read_candidates(tmp_path / JOURNAL, SPACE):
        assert within.latency.upper_ms(SPACE.encode_many([evaluated]), 0.95)[0] <= within.latency_ms
    for found in outcome.finalists:
        assert found.predicted_interval_ms == within.latency.interval_of(found.candidate)
    header = json.loads((tmp_path / JOURNAL).read_text().partition("\n")[0])
    assert header["limits"] == outcome.searched
    assert search_and_measure(SPACE, FAMILY, supernet, TASK, table, within, request, tmp_path) == outcome
    for other in (replace(request, confidence=0.9), replace(request, margin=0.02)):
        with pytest.raises(SearchError, match="is of another search"):
            search_and_measure(SPACE, FAMILY, supernet, TASK, table, within, other, tmp_path)
    wider = replace(table, session_sd=0.001)
    with pytest.raises(SearchError, match=r"is of another search \(latency is"):
        search_and_measure(SPACE, FAMILY, supernet, TASK, wider, limits(wider), request, tmp_path)


def test_a_limit_that_only_the_confidence_makes_impossible_says_so(supernet, tmp_path: Path) -> None:
    table = bounded_table()
    fastest = TableLatency.from_lut(SPACE, FAMILY, table).fastest()
    assert fastest is not None
    within = replace(limits(table), latency_ms=1.005 * fastest[0])
    request = SearchRequest(settings=EVOLUTION, validation_pairs=20)
    message = r"the search holds it at a confidence of 0\.95: lower that \(--confidence\), or raise the limit"
    with pytest.raises(InfeasibleError, match=message):
        search_and_measure(SPACE, FAMILY, supernet, TASK, table, within, request, tmp_path)


@pytest.mark.parametrize("given", [{"confidence": 0.4}, {"confidence": 1.0}, {"confidence": 0.9, "margin": 0.1}])
def test_a_confidence_that_cannot_be(given: dict[str, float]) -> None:
    with pytest.raises(SearchError, match="confidence"):
        SearchRequest(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("margin", [-0.1, 1.0])
def test_a_margin_that_cannot_be(margin: float) -> None:
    with pytest.raises(SearchError, match="margin is"):
        SearchRequest(margin=margin)


def test_the_fingerprint_of_a_table_follows_its_predictions() -> None:
    table = toy_table()
    assert fingerprint_of(table) == fingerprint_of(toy_table(created="another day", environment={"cpu": "x"}))
    row = table.rows[DISPATCH]
    changed = {**table.rows, DISPATCH: replace(row, latency_ms=2 * row.latency_ms)}
    assert fingerprint_of(replace(table, rows=changed)) != fingerprint_of(table)


def test_the_best_on_a_subset_are_evaluated_on_all_pairs(supernet, tmp_path: Path, monkeypatch) -> None:
    chosen, _ = choose_subset(SPACE, FAMILY, supernet, TASK, SubsetRequest(10, pairs=12), tmp_path / "kept")
    counted, loss = [], evaluation.validation_loss
    monkeypatch.setattr(evaluation, "validation_loss", lambda *given: counted.append(1) or loss(*given))
    table = toy_table()
    request = SearchRequest(settings=EVOLUTION, finalists=2, subset=chosen, baseline=True)
    outcome = search_and_measure(SPACE, FAMILY, supernet, TASK, table, limits(table), request, tmp_path / "out")
    assert len(counted) == 2 * 8, "four for each finalist, of the search and of random search"
    losses = [found.loss for found in outcome.finalists]
    assert losses == sorted(losses)
    for found in outcome.finalists:
        with supernet.active(found.candidate) as model:
            assert found.loss == loss(model, FAMILY, TASK.pairs["valid"])
    journaled = [json.loads(line) for line in (tmp_path / "out" / JOURNAL).read_text().splitlines()]
    assert journaled[0]["evaluator"].endswith(f"subset {chosen.digest}")
    on_subset = SubsetLoss(supernet, FAMILY, TASK.pairs["valid"], chosen.subset)
    for line in journaled[1:4]:
        assert line["loss"] == on_subset(SPACE.candidate(line["candidate"]))
    counted.clear()
    assert search_and_measure(SPACE, FAMILY, supernet, TASK, table, limits(table), request, tmp_path / "out") == outcome
    assert counted == []
    with pytest.raises(SearchError, match="its data differ"):
        other = replace(TASK, fingerprint="other")
        search_and_measure(SPACE, FAMILY, supernet, other, table, limits(table), request, tmp_path / "other")
    with pytest.raises(SearchError, match="5 validation pairs and a chosen subset"):
        both = replace(request, validation_pairs=5)
        search_and_measure(SPACE, FAMILY, supernet, TASK, table, limits(table), both, tmp_path / "both")
