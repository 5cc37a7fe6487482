"""A search over candidate and runtime at once: who is chosen for what, where it is measured, what is written."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hwnas import finalists
from hwnas.best_runtime import BestRuntimeLatency
from hwnas.candidates import read_candidate, runtime_named_in
from hwnas.errors import SearchError
from hwnas.families.deployed import as_in_table
from hwnas.latency import decompose, operators_of
from hwnas.limits import CandidateLimits
from hwnas.search.methods import settings_of
from hwnas.search.request import SearchRequest
from hwnas.searching import FRONT, OUTCOME, WINNER, search_and_measure
from latency_luts import DISPATCH, LatencyLut, OperatorRow
from profiler import SessionError, openings
from tests.contracts.fake_session import FakeSession
from tests.glue.stand_in import StandInExporter
from tests.glue.test_searching import EVOLUTION, FAMILY, HERE, SPACE, TARGET, TASK, latency_of, supernet, toy_table

__all__ = ["supernet"]

MEASURED_MS = {"onnxruntime": 0.3, "litert": 0.2}


def litert_table() -> LatencyLut:
    """LiteRT is better for wide decoders, and worse for all else."""
    target = replace(TARGET, runtime="litert-1")
    plain = toy_table(target=target)
    family = as_in_table(FAMILY, plain)
    operators = (DISPATCH, *operators_of(SPACE, family, SPACE.workload))

    def slower(operator) -> float:
        return 0.7 if dict(operator.sizes).get("embed") == 16 and operator.kind.startswith("decoder") else 1.2

    rows = {op: OperatorRow(op, latency_of(op) * slower(op), 5, 25, f"sha-{op}", 1e-7) for op in operators}
    models = tuple(
        replace(
            model, operators=decompose(SPACE, family, SPACE.workload, SPACE.candidate(model.candidate)), latency_ms=0.16
        )
        for model in plain.models
    )
    return replace(plain, rows=rows, models=models)


def best() -> BestRuntimeLatency:
    return BestRuntimeLatency.of_tables(SPACE, FAMILY, {"a": toy_table(), "b": litert_table()})


def limits(limit_ms: float = 1e6) -> CandidateLimits:
    return CandidateLimits(SPACE, FAMILY, SPACE.workload, best(), latency_ms=limit_ms)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeSession]:
    """This machine with both runtimes; nothing is really exported or timed."""
    found = {
        runtime: FakeSession(replace(TARGET, runtime=f"{runtime}-1"), default_ms=ms)
        for runtime, ms in MEASURED_MS.items()
    }

    @contextmanager
    def exporter_for(device):
        yield StandInExporter()

    monkeypatch.setattr(openings, "open_session", lambda device: found[device.runtime])
    monkeypatch.setattr(finalists, "exporter_for", exporter_for)
    return found


REQUEST = SearchRequest(settings=EVOLUTION, validation_pairs=5, finalists=8, rounds=10)


def test_finalists_are_measured_on_the_runtime_that_is_fastest_for_them(supernet, sessions, tmp_path: Path) -> None:
    def run():
        return search_and_measure(
            SPACE, FAMILY, supernet, TASK, None, limits(), REQUEST, tmp_path, device=HERE, cache=tmp_path / "cache"
        )

    outcome, latency = run(), best()
    assert {found.runtime for found in outcome.finalists} == set(MEASURED_MS), "both are best for some"
    for found in outcome.finalists:
        assert found.runtime == latency.runtime_of(found.candidate)
        assert found.predicted_ms == latency.of(found.candidate)
        assert found.measured_ms == pytest.approx(MEASURED_MS[str(found.runtime)])
    losses = [found.loss for found in outcome.finalists]
    assert losses == sorted(losses)
    assert outcome.drift == pytest.approx((0.3 / 0.25 + 0.2 / 0.16) / 2)
    for runtime in MEASURED_MS:
        journal = tmp_path / f"finalists-{runtime}.journal.jsonl"
        names = {item["name"] for item in json.loads(journal.read_text().splitlines()[0])["items"]}
        assert {found.candidate.key for found in outcome.finalists if found.runtime == runtime} <= names
    assert outcome.winner == outcome.finalists[0]
    assert runtime_named_in(tmp_path / WINNER) == outcome.winner.runtime
    assert read_candidate(tmp_path / WINNER, SPACE) == outcome.winner.candidate
    told = json.loads((tmp_path / OUTCOME).read_text())
    assert told["winner"]["runtime"] == outcome.winner.runtime
    for entry in json.loads((tmp_path / FRONT).read_text()):
        assert entry["runtime"] == latency.runtime_of(SPACE.candidate(entry["candidate"]))
    timed = [len(session.log) for session in sessions.values()]
    assert run() == outcome
    assert [len([e for e in s.log if e[0] == "time"]) for s in sessions.values()] == [
        len([e for e in s.log[:before] if e[0] == "time"]) for s, before in zip(sessions.values(), timed, strict=True)
    ], "something was timed twice"


def test_a_runtime_that_fails_is_told_and_the_others_go_on(
    supernet, sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(program):
        raise SessionError("the worker died")

    def run():
        return search_and_measure(
            SPACE, FAMILY, supernet, TASK, None, limits(), REQUEST, tmp_path, device=HERE, cache=tmp_path / "cache"
        )

    monkeypatch.setattr(sessions["litert"], "load", dead)
    outcome = run()
    for found in outcome.finalists:
        assert (found.failed is None) == (found.runtime == "onnxruntime") == (found.measured_ms is not None)
        assert found.failed is None or found.failed.startswith("litert: ")
    assert outcome.winner is not None
    assert outcome.winner.runtime == "onnxruntime"
    monkeypatch.setattr(sessions["onnxruntime"], "load", dead)
    for journal in tmp_path.glob("finalists-*"):
        journal.unlink()
    with pytest.raises(SessionError, match="the worker died"):
        run()


@pytest.mark.parametrize("method", ["evolution", "nsga2", "random"])
def test_it_holds_a_limit_that_one_runtime_alone_would_not(supernet, tmp_path: Path, method: str) -> None:
    alone, latency = best().models["onnxruntime"], best()
    slowest = alone.slowest()
    assert slowest is not None
    limit_ms = 1.05 * latency.of(slowest[1])
    assert limit_ms < slowest[0]
    asked = replace(REQUEST, method=method, settings=settings_of(method, {}, 40), margin=0.0)
    outcome = search_and_measure(SPACE, FAMILY, supernet, TASK, None, limits(limit_ms), asked, tmp_path)
    assert all(found.predicted_ms <= limit_ms for found in outcome.finalists)
    assert outcome.winner is not None


def test_energy_is_no_objective(supernet, tmp_path: Path) -> None:
    asked = replace(REQUEST, method="nsga2", settings=settings_of("nsga2", {}, 30), objectives=("energy_mj",))
    with pytest.raises(SearchError, match="energy_mj cannot be an objective"):
        search_and_measure(SPACE, FAMILY, supernet, TASK, None, limits(), asked, tmp_path)
