"""What `make demo` left behind keeps its promises; run after it (`scripts/test --slow -m demo`)."""

import json
from pathlib import Path
from typing import Any

import pytest

from hwnas.data import load_task
from hwnas.data.task import Task
from hwnas.demo import SPACE
from hwnas.evaluators.fitness import fixed_subset
from hwnas.evaluators.inherited import InheritedLoss
from hwnas.families import get_family
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits
from hwnas.metrics import per_wer
from hwnas.search.evolution import EvolutionSettings
from hwnas.search.protocol import one_by_one
from hwnas.search.run import SearchResult
from hwnas.search.runs import search_space
from hwnas.spaces import load_space
from latency_luts import LatencyLut
from tests.deploy.without import run_without

FOLDER = Path(__file__).parents[2] / "runs" / "demo"

pytestmark = [
    pytest.mark.demo,
    pytest.mark.slow,
    pytest.mark.skipif(not (FOLDER / "demo.json").is_file(), reason="run `make demo` first"),
]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / "demo.json").read_text())
    return document


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task(SPACE)


def test_it_measured_every_operator_and_says_how_wrong_the_table_is(report: dict[str, Any]) -> None:
    table = LatencyLut.load(next(FOLDER.glob("*.lut.jsonl")))
    assert report["operators"] == len(table.rows) == 76
    held_out = report["held_out"]
    assert held_out["models"] == 20
    assert held_out["split_half_floor"] > 0
    assert held_out["spearman"] >= 0.95
    assert held_out["mape"] <= max(0.05, 1.5 * held_out["split_half_floor"])


def test_the_winner_meets_its_limit_and_its_prediction(report: dict[str, Any]) -> None:
    winner = report["winner"]
    measured_ms = winner["proof"]["measured_ms"]
    assert measured_ms <= report["limit_ms"]
    assert abs(measured_ms / winner["predicted_ms"] - 1) <= 0.05
    low_ms, high_ms = winner["proof"]["interval_ms"]
    assert low_ms <= measured_ms <= high_ms


def test_every_graph_is_pytorchs_and_so_is_the_decoding(report: dict[str, Any]) -> None:
    proof = report["winner"]["proof"]
    assert set(proof["parity"]) == {"encoder", "decoder_step"}
    for parity in proof["parity"].values():
        assert parity["max_abs_error"] <= parity["tolerance"]
    decoding = proof["decoding"]
    assert decoding["inputs"] == 500
    assert decoding["different"] == 0
    assert decoding["equal"] + decoding["near_ties"] == 500


def test_the_models_are_scored_and_larger_is_better(report: dict[str, Any]) -> None:
    scored = {row["model"]: row for row in report["models"]}
    assert set(scored) == {
        "winner",
        "random search's best",
        "smallest SubTransformer",
        "largest SubTransformer",
    }
    assert scored["largest SubTransformer"]["loss"] < scored["smallest SubTransformer"]["loss"]
    assert scored["winner"]["loss"] < scored["smallest SubTransformer"]["loss"]
    assert scored["winner"]["wer"] < 0.6


def test_the_bundle_runs_alone_and_is_as_good_as_it_says(report: dict[str, Any], task: Task, tmp_path: Path) -> None:
    references = dict(list(task.references["test"].items())[::12])
    given = "\n".join(references).encode()
    ran = run_without(["hwnas", "torch", "onnx"], FOLDER / "bundle", [], cwd=tmp_path, given=given)
    assert (ran.returncode, ran.stderr) == (0, "")
    answered = ran.stdout.splitlines()
    assert len(answered) == len(references) == 521
    rates = per_wer(answered, list(references.values()))
    assert abs(rates.wer - report["winner"]["quality"]["wer"]) < 0.08  # 521 of 6,252 words: 2.2 % standard error


def test_evolution_beats_random_search_on_the_real_supertransformer(
    report: dict[str, Any], task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five seeds, equal cost, no candidate in common."""
    import torch

    from hwnas.training import load_supernet

    torch.set_num_threads(1)
    space = load_space(SPACE)
    family = get_family(space.family)
    supernet = load_supernet(FOLDER / "supernet.pt", space, family, task)
    latency = TableLatency(space, family, LatencyLut.load(next(FOLDER.glob("*.lut.jsonl"))))
    limits = CandidateLimits(space, family, space.workload, latency, latency_ms=report["limit_ms"])
    evaluate = one_by_one(InheritedLoss(supernet, family, fixed_subset(task.pairs["valid"], 300)))
    settings = EvolutionSettings(population=60, parents=12, mutants=20, crossovers=20, iterations=8)
    differences = []
    for seed in range(5):
        found: dict[str, SearchResult] = {}
        for method in ("evolution", "random"):
            others = [e.candidate for result in found.values() for e in result.evaluations]
            found[method] = search_space(
                space,
                evaluate,
                limits,
                method=method,
                settings=settings,
                seed=seed + 1,
                evaluator="demo",
                latency="demo",
                journal=tmp_path / f"{method}-{seed}.jsonl",
                progress=lambda done, total, note: None,
                exclude=others,
            )
        seen = [{e.candidate for e in result.evaluations} for result in found.values()]
        assert len(seen[0]) == len(seen[1]) == settings.evaluations
        assert not seen[0] & seen[1]
        differences.append(found["evolution"].best.loss - found["random"].best.loss)
    with capsys.disabled():
        print(f"\nevolution - random, nats, 5 seeds of {settings.evaluations}: {[round(d, 4) for d in differences]}")
    assert sum(differences) / len(differences) <= 0
    assert max(differences) <= 0.002
