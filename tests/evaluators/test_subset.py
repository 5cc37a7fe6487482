"""Few pairs that rank as all do: chosen by probability, weighed by what candidates lost on them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training.toy import FAMILY, SPACE, toy_task

from hwnas.data.task import Pair
from hwnas.errors import SearchError
from hwnas.evaluation import pair_losses, validation_loss
from hwnas.evaluators.choosing import SubsetRequest, choose_subset, random_candidates
from hwnas.evaluators.inherited import InheritedLoss, PairLosses, SubsetLoss
from hwnas.evaluators.subset import choose, cost_of, fidelity
from hwnas.evaluators.subset_file import ChosenSubset
from hwnas.families.base import Vocabularies
from hwnas.ranks import spearman
from hwnas.supernet import SuperTransformer

TASK = toy_task()


def made_up(candidates: int, pairs: int, seed: int = 0, noise: float = 0.3):
    """Losses (candidates, pairs) of two traits that pairs ask for unequally, and pairs of many lengths."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 20, size=pairs)
    asked = rng.gamma(0.5, size=(2, pairs)) * lengths
    traits = rng.normal(size=(candidates, 2))
    losses = 3 * lengths + traits @ asked + noise * lengths * rng.normal(size=(candidates, pairs))
    return losses, tuple(Pair((1,) * int(n), (1,) * int(n)) for n in lengths)


@given(seed=st.integers(0, 1000), size=st.integers(1, 59))
def test_a_subset_has_its_size_and_no_pair_twice(seed: int, size: int) -> None:
    losses, pairs = made_up(10, 60, seed)
    losses[:, : seed % 50] = 1.0  # pairs that tell nothing
    subset = choose(losses, pairs, size, seed=seed)
    assert len(set(subset.chosen)) == size
    assert list(subset.chosen) == sorted(subset.chosen)
    assert 0 <= subset.chosen[0] <= subset.chosen[-1] < 60
    assert choose(losses, pairs, size, seed=seed) == subset


def test_a_subset_ranks_others_better_than_pairs_spread_evenly() -> None:
    by_choice, evenly = [], []
    for seed in range(10):
        losses, pairs = made_up(80, 600, seed)
        known, others = losses[:30], losses[30:]
        whole = others.sum(axis=1)
        subset = choose(known, pairs, 30, seed=seed)
        estimated = np.array([subset.loss(row[list(subset.chosen)]) for row in others])
        by_choice.append(spearman(estimated, whole))
        evenly.append(spearman(others[:, ::20].sum(axis=1), whole))
        tokens = sum(len(pair.target) for pair in pairs)
        assert estimated.mean() == pytest.approx(whole.mean() / tokens, rel=0.02), "not a loss per token of all pairs"
    assert np.mean(by_choice) > 0.95
    assert 1 - np.mean(by_choice) < 0.5 * (1 - np.mean(evenly))


def test_fidelity_is_that_of_candidates_not_chosen_by() -> None:
    """Held against what fresh candidates show; where nothing can be learnt it must not look so."""
    for noise in (0.3, 20.0):
        told, shown, error = [], [], []
        for seed in range(6):
            losses, pairs = made_up(100, 400, seed, noise)
            known, others = losses[:32], losses[32:]
            subset = choose(known, pairs, 20, seed=seed)
            estimated = [subset.loss(row[list(subset.chosen)]) for row in others]
            tokens = sum(len(pair.target) for pair in pairs)
            held = fidelity(known, pairs, 20, seed=seed)
            told.append((held.spearman, held.error))
            shown.append(spearman(estimated, others.sum(axis=1)))
            error.append(np.sqrt(np.mean((np.array(estimated) - others.sum(axis=1) / tokens) ** 2)))
        correlation, deviation = np.mean(told, axis=0)
        assert correlation == pytest.approx(np.mean(shown), abs=0.1)
        assert deviation == pytest.approx(np.mean(error), rel=0.4)


def test_what_cannot_be_chosen_is_refused() -> None:
    losses, pairs = made_up(10, 60)
    with pytest.raises(SearchError, match="a subset of 60 of 60 pairs"):
        choose(losses, pairs, 60)
    with pytest.raises(SearchError, match="a subset of 0 of 60 pairs"):
        choose(losses, pairs, 0)
    with pytest.raises(SearchError, match="chosen by 7 candidates"):
        choose(losses[:7], pairs, 5)
    with pytest.raises(SearchError, match="4 candidates to choose by; at least 8"):
        SubsetRequest(candidates=4)
    with pytest.raises(SearchError, match=r"a rank correlation of 1\.5"):
        SubsetRequest(spearman=1.5)
    with pytest.raises(SearchError, match="which has"):
        random_candidates(SPACE, SPACE.size() + 1, 0)


@pytest.mark.parametrize("pairs", [0, 1])
@pytest.mark.parametrize("asked", [None, 1])
def test_too_few_pairs_have_no_part(supernet, tmp_path: Path, pairs: int, asked: int | None) -> None:
    task = replace(TASK, pairs={**TASK.pairs, "valid": TASK.pairs["valid"][:pairs]})
    with pytest.raises(SearchError, match=rf"^subset: {pairs} validation pairs have no part to choose; take data"):
        choose_subset(SPACE, FAMILY, supernet, task, SubsetRequest(pairs=asked), tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_two_pairs_have_one(supernet, tmp_path: Path) -> None:
    task = replace(TASK, pairs={**TASK.pairs, "valid": TASK.pairs["valid"][:2]})
    chosen, _ = choose_subset(SPACE, FAMILY, supernet, task, SubsetRequest(8, spearman=0.01), tmp_path / "kept")
    assert len(chosen.subset.chosen) == 1


def test_all_of_a_small_space_can_be_drawn() -> None:
    assert len(set(random_candidates(SPACE, 60, 0))) == 60


@pytest.fixture(scope="module")
def supernet() -> SuperTransformer:
    """With weights large enough for candidates to differ."""
    torch.manual_seed(0)
    net = SuperTransformer(FAMILY, SPACE, Vocabularies(len(TASK.source_vocabulary), len(TASK.target_vocabulary)))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2)
    return net.eval()


def test_losses_by_the_pair_sum_to_the_loss(supernet) -> None:
    pairs = TASK.pairs["valid"]
    tokens = sum(len(pair.target) for pair in pairs)
    for candidate in random_candidates(SPACE, 5, 0):
        with supernet.active(candidate) as model:
            for batch_size in (3, 100):
                losses = pair_losses(model, FAMILY, pairs, batch_size)
                assert losses.shape == (len(pairs),)
                assert losses.sum() / tokens == pytest.approx(validation_loss(model, FAMILY, pairs), rel=1e-5)
            alone = [float(pair_losses(model, FAMILY, [pair])[0]) for pair in pairs[:7]]
            assert losses[:7] == pytest.approx(alone, rel=1e-4)


def test_a_subset_is_chosen_once_and_then_read(supernet, tmp_path: Path, monkeypatch) -> None:
    evaluated = []
    losses_of = PairLosses.__call__
    monkeypatch.setattr(PairLosses, "__call__", lambda self, c: evaluated.append(c) or losses_of(self, c))
    request = SubsetRequest(candidates=16, spearman=0.6)
    chosen, tried = choose_subset(SPACE, FAMILY, supernet, TASK, request, tmp_path / "kept")
    assert evaluated == list(random_candidates(SPACE, 16, 0))
    assert chosen is tried[-1]
    assert chosen.spearman >= 0.6 > max([0.0, *(each.spearman for each in tried[:-1])])
    assert chosen.share == pytest.approx(cost_of(TASK.pairs["valid"], chosen.subset.chosen))
    assert choose_subset(SPACE, FAMILY, supernet, TASK, request, tmp_path / "kept") == (chosen, tried)
    assert len(evaluated) == 16, "kept losses were evaluated again"
    with pytest.raises(SearchError, match=r"half of the 50 pairs rank 16 random candidates at a Spearman of 0\.\d+"):
        choose_subset(SPACE, FAMILY, supernet, TASK, replace(request, spearman=0.99999), tmp_path / "kept")
    fixed, _ = choose_subset(SPACE, FAMILY, supernet, TASK, replace(request, pairs=25), tmp_path / "kept")
    assert len(fixed.subset.chosen) == 25
    with pytest.raises(SearchError, match="50 of 50 pairs"):
        choose_subset(SPACE, FAMILY, supernet, TASK, replace(request, pairs=50), tmp_path / "kept")

    others = random_candidates(SPACE, 60, 1)
    on_subset = SubsetLoss(supernet, FAMILY, TASK.pairs["valid"], fixed.subset)
    on_all = InheritedLoss(supernet, FAMILY, TASK.pairs["valid"])
    assert spearman([on_subset(c) for c in others], [on_all(c) for c in others]) > 0.6


def test_losses_that_are_no_numbers_or_no_losses_are_told_by_name(supernet, tmp_path: Path, monkeypatch) -> None:
    first = random_candidates(SPACE, 8, 0)[0]
    request = SubsetRequest(candidates=8)
    with monkeypatch.context() as patch:
        patch.setattr(PairLosses, "__call__", lambda self, c: np.full(len(self.pairs), np.nan))
        with pytest.raises(SearchError, match=f"the loss of candidate {first.key} is not finite"):
            choose_subset(SPACE, FAMILY, supernet, TASK, request, tmp_path / "diverged")
    choose_subset(SPACE, FAMILY, supernet, TASK, replace(request, pairs=20), tmp_path / "kept")
    torn = next((tmp_path / "kept").glob("*.npy"))
    torn.write_bytes(torn.read_bytes()[:40])
    with pytest.raises(SearchError, match=rf"{torn.name} is damaged .*delete it"):
        choose_subset(SPACE, FAMILY, supernet, TASK, request, tmp_path / "kept")


def test_a_file_is_read_as_it_was_written(supernet, tmp_path: Path) -> None:
    chosen, _ = choose_subset(SPACE, FAMILY, supernet, TASK, SubsetRequest(16, pairs=20), tmp_path / "kept")
    path = tmp_path / "subset.json"
    chosen.save(path)
    assert ChosenSubset.load(path) == chosen
    assert ChosenSubset.load(path).digest == chosen.digest
    chosen.require(chosen.of)
    with pytest.raises(SearchError, match="its data and weights differ; make one for this with `hwnas subset`"):
        chosen.require(replace(chosen.of, data="other", weights="other"))
    document = json.loads(path.read_text())
    for damage, told in (
        ("no json", "is not a subset of pairs"),
        (json.dumps({"kind": "table"}), "`hwnas subset` makes one"),
        (json.dumps({**document, "schema": 9}), "has schema 9"),
        (json.dumps({**document, "of": {}}), "is damaged"),
        (json.dumps({**document, "subset": {**document["subset"], "weights": []}}), "not those it is of"),
    ):
        path.write_text(damage)
        with pytest.raises(SearchError, match=told):
            ChosenSubset.load(path)


def test_the_sample_does_not_depend_on_how_many_are_drawn() -> None:
    assert random_candidates(SPACE, 20, 3)[:8] == random_candidates(SPACE, 8, 3)
    assert random_candidates(SPACE, 8, 3) != random_candidates(SPACE, 8, 4)
