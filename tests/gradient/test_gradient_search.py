"""A search by gradients from end to end on a toy task: limits, resuming, and what can go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hwnas.errors import CheckpointError, InfeasibleError, SearchError
from hwnas.gradient.repair import NEAR
from hwnas.gradient.search import CHECKPOINT, SUMMARY
from hwnas.search.journal import read_candidates
from hwnas.training import weights_digest
from tests.gradient.toy_search import LATENCY, METHODS, SPACE, TASK, search, toy_limits, toy_supernet

QUICK = {"steps": 12, "batch_size": 8, "runners": 4}


def settings_of(method: str, **more: object):
    return METHODS[method](**(QUICK | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("share", [0.35, 0.8])
def test_what_is_evaluated_meets_the_limit_and_is_at_it(method: str, share: float, tmp_path: Path) -> None:
    result = search(tmp_path, settings_of(method), share=share)
    limit_ms = toy_limits(share).first.latency_ms
    assert limit_ms is not None
    latencies = [LATENCY.of(evaluation.candidate) for evaluation in result.evaluations]
    assert len(result.evaluations) == 4 and all(NEAR * limit_ms <= found <= limit_ms for found in latencies)
    assert result.best.loss == min(evaluation.loss for evaluation in result.evaluations)
    assert read_candidates(tmp_path / "search.journal.jsonl", SPACE) == tuple(e.candidate for e in result.evaluations)


@pytest.mark.parametrize("method", METHODS)
def test_all_choices_are_decided_at_the_target_before_the_repair(method: str, tmp_path: Path) -> None:
    search(tmp_path, settings_of(method, steps=40), share=0.35)
    learnt = json.loads((tmp_path / SUMMARY).read_text())
    assert min(learnt["top_probability"].values()) >= 0.9
    assert learnt["expected"] == pytest.approx(toy_limits(0.35).first.latency_ms, rel=0.05)
    assert len(learnt["losses"]) == 40


def test_the_same_seed_finds_the_same_and_another_learns_otherwise(tmp_path: Path) -> None:
    first, again, other = (
        search(tmp_path / name, settings_of("proxyless"), seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again
    learnt = [json.loads((tmp_path / name / SUMMARY).read_text()) for name in "abc"]
    assert learnt[0] == learnt[1] != learnt[2]
    assert other.evaluations


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_and_resumed_equals_not_interrupted(method: str, tmp_path: Path) -> None:
    """With adapted weights, which have to be kept too; interrupted twice, between checkpoints and evaluations."""
    settings = settings_of(method, checkpoint_every=5, adapt_weights=True, warmup=2)
    whole = search(tmp_path / "whole", settings)

    def interrupted(at: int) -> Callable[[int, int, str], None]:
        def interrupt(done: int, total: int, told: str) -> None:
            if done == at:
                raise KeyboardInterrupt

        return interrupt

    for at in (8, 14):
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "resumed", settings, progress=interrupted(at))
    shown: list[int] = []
    resumed = search(tmp_path / "resumed", settings, progress=lambda done, total, told: shown.append(done))
    assert resumed == whole and shown == [13, 14, 15, 16]  # no step is made again, and nothing evaluated twice
    for name in ("search.journal.jsonl", SUMMARY):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_adapting_weights_leaves_the_supertransformer_alone(tmp_path: Path) -> None:
    supernet = toy_supernet()
    before = weights_digest(supernet)
    search(tmp_path, settings_of("darts", adapt_weights=True, warmup=3), supernet=supernet)
    assert weights_digest(supernet) == before and not supernet.training
    assert all(parameter.grad is None for parameter in supernet.parameters())
    kept = torch.load(tmp_path / CHECKPOINT, weights_only=True)["model"]
    moved = [name for name, shared in supernet.state_dict().items() if not torch.equal(shared, kept[f"weights.{name}"])]
    assert moved


def test_without_pairs_weights_and_architecture_learn_from_a_half_each(tmp_path: Path) -> None:
    from hwnas.gradient.search import _lessons

    lessons = _lessons(TASK, None)
    assert set(lessons.weights).isdisjoint(lessons.architecture)
    assert sorted(lessons.weights + lessons.architecture, key=repr) == sorted(TASK.pairs["train"], key=repr)
    assert search(tmp_path, settings_of("darts"), pairs=None).evaluations


def test_losses_of_proxylessnas_end_below_the_limit_after_the_repair(tmp_path: Path) -> None:
    limit_ms = toy_limits(0.3).first.latency_ms
    assert limit_ms is not None
    for latency in ("mul", "add"):
        result = search(tmp_path / latency, settings_of("proxyless", latency=latency), share=0.3)
        assert all(LATENCY.of(evaluation.candidate) <= limit_ms for evaluation in result.evaluations)


def test_other_limits_hold_too_and_no_limit_is_none(tmp_path: Path) -> None:
    family, smallest, largest = toy_limits(None).first.family, SPACE.extreme(0), SPACE.extreme(-1)

    def params_m(candidate) -> float:
        return family.count(SPACE, candidate, SPACE.workload, "full").params / 1e6

    least_m = params_m(smallest) + 0.3 * (params_m(largest) - params_m(smallest))
    found = search(tmp_path / "params", settings_of("darts"), limits=toy_limits(0.7, params_m=least_m))
    assert all(params_m(evaluation.candidate) <= least_m for evaluation in found.evaluations)
    assert search(tmp_path / "free", settings_of("darts"), share=None).evaluations


def test_what_is_excluded_is_not_evaluated(tmp_path: Path) -> None:
    first = search(tmp_path / "first", settings_of("darts"))
    taken = [evaluation.candidate for evaluation in first.evaluations]
    second = search(tmp_path / "second", settings_of("darts"), exclude=taken)
    assert len(second.evaluations) == 4 and not {e.candidate for e in second.evaluations} & set(taken)


def test_a_limit_out_of_reach_is_refused_with_the_range(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="the fastest candidate has"):
        search(tmp_path, settings_of("darts"), share=-0.1)
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_loss_that_is_no_number_ends_in_one_line_and_keeps_what_was_learnt(tmp_path: Path) -> None:
    supernet = toy_supernet()

    def poison(done: int, total: int, told: str) -> None:
        if done == 7:
            with torch.no_grad():
                supernet.largest.get_parameter("target_embedding.weight").fill_(torch.nan)

    settings = settings_of("proxyless", checkpoint_every=5)
    with pytest.raises(SearchError, match=r"the loss is nan at step 7; .*gradient\.pt"):
        search(tmp_path, settings, supernet=supernet, progress=poison)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["update"] == 5
    assert search(tmp_path, settings).evaluations  # with sound weights it goes on


def test_a_checkpoint_of_another_search_is_refused(tmp_path: Path) -> None:
    search(tmp_path, settings_of("darts"))
    with pytest.raises(CheckpointError, match=r"belongs to another run: .*seed is '0' there and '1' here"):
        search(tmp_path, settings_of("darts"), seed=1)


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"runners": 0}, {"latency": "soft"}, {"warmup": 5}, {"cold": 0.0}, {"memory": 0.0}]
)
def test_bad_settings_are_named(bad: dict[str, object]) -> None:
    with pytest.raises(SearchError, match=next(iter(bad)).replace("cold", "temperatures")):
        settings_of("darts", **bad)
