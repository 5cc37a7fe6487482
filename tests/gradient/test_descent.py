"""The descent: on losses that are known it ends at its target, decided, with a candidate that is hard to beat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.device_limits import DeviceLimits
from hwnas.expected import ExpectedLatency
from hwnas.families import get_family
from hwnas.gradient.architecture import Architecture
from hwnas.gradient.descent import Descent
from hwnas.gradient.relaxation import Drawn
from hwnas.gradient.repair import NEAR, Runners, nearest
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits
from hwnas.search.protocol import Evaluation
from hwnas.spaces import load_space
from latency_luts import LatencyLut
from latency_luts.errors import MissingOperatorError
from tests.latency.tiny import TINY, TinyFamily, tiny_lut

G2P = load_space("g2p")
TABLE = LatencyLut.load(Path(__file__).parents[2] / "latency_luts" / "tables" / "g2p_epyc_onnxruntime_1thread.jsonl")
LATENCY = TableLatency.from_lut(G2P, get_family("seq2seq"), TABLE)
EXPECTED = ExpectedLatency(LATENCY)
RANGE = LATENCY.fastest(), LATENCY.slowest()


def at_share(share: float) -> float:
    assert RANGE[0] is not None and RANGE[1] is not None
    return RANGE[0][0] + share * (RANGE[1][0] - RANGE[0][0])


SIZES = [len(choice.values) for choice in G2P.choices]


def additive(seed: int) -> torch.Tensor:
    """Losses that fall with size, some more than others; of every option of an active choice, (choices, options)."""
    rng = np.random.default_rng(seed)
    losses = torch.zeros(len(SIZES), max(SIZES), dtype=torch.float64)
    for row, options in enumerate(SIZES):
        losses[row, :options] = torch.from_numpy(-np.cumsum(rng.exponential(0.003, options)) * rng.uniform(0, 1))
    losses[G2P.index["decoder_layers"]] *= 5
    return losses


def loss_of(losses: torch.Tensor, genes: np.ndarray) -> np.ndarray:
    """Of the candidates of genes (candidates, choices); inactive choices add nothing."""
    depth = np.array(G2P.choices[G2P.index["decoder_layers"]].values)[genes[:, G2P.index["decoder_layers"]]]
    paid = np.zeros(len(genes))
    for row, choice in enumerate(G2P.choices):
        active = choice.when is None or depth >= choice.when[1]
        paid += np.where(active, losses.numpy()[row, genes[:, row]], 0.0)
    return paid


def searched(losses: torch.Tensor, target_ms: float, steps: int = 60) -> Descent:
    """As :class:`hwnas.gradient.steps.Steps` does it, with the gradient of the expected loss for that of a network."""
    descent = Descent(Architecture(G2P), EXPECTED)
    architecture, choices = descent.architecture, len(descent.undecided())
    for step in range(steps):
        weights = architecture.probabilities().requires_grad_()
        expected_loss = (architecture.activity(weights) * (weights * losses).sum(dim=1)).sum()
        (gradient,) = torch.autograd.grad(expected_loss, weights)
        drawn = [Drawn(tuple(range(size)), weights[row, :size]) for row, size in enumerate(SIZES)]
        descent.learn(drawn, [gradient[row, :size] for row, size in enumerate(SIZES)], 0.9)
        descent.cool(0.5 * 0.01 ** (step / steps))
        descent.step(target_ms)
        for row in descent.undecided()[: len(descent.undecided()) - choices + int((step + 1 - 36) / 24 * choices)]:
            descent.decide(row, target_ms)
    assert architecture.certainty() == 1
    return descent


@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("seed", [1, 2])
def test_it_ends_at_the_target_with_a_loss_that_random_search_does_not_find(share: float, seed: int) -> None:
    losses, target_ms = additive(seed), at_share(share)
    descent = searched(losses, 0.99 * target_ms)
    assert LATENCY.of(descent.architecture.candidate()) == pytest.approx(target_ms, rel=0.05)
    limits = DeviceLimits(
        {"": CandidateLimits(G2P, get_family("seq2seq"), LATENCY.workload, LATENCY, latency_ms=target_ms)}
    )
    runners, found = Runners(descent, limits, 30), []
    while candidates := runners.ask():
        its = loss_of(losses, G2P.encode_many(candidates))
        found += [Evaluation(candidate, float(loss)) for candidate, loss in zip(candidates, its, strict=True)]
        runners.tell(found[-len(candidates) :])
    assert len({evaluation.candidate for evaluation in found}) == 30
    assert all(NEAR * target_ms <= LATENCY.of(evaluation.candidate) <= target_ms for evaluation in found)
    genes = np.random.default_rng(0).integers(0, SIZES, (4000, len(SIZES)))
    genes = genes[LATENCY.latency_ms(genes) <= target_ms][:300]
    assert min(evaluation.loss for evaluation in found) <= loss_of(losses, genes).min()


@settings(max_examples=20)
@given(share=st.floats(0.05, 0.9), seed=st.integers(0, 100))
def test_expectation_meets_the_target_after_every_step(share: float, seed: int) -> None:
    descent = Descent(Architecture(G2P), EXPECTED)
    descent.learnt = additive(seed)
    descent.cool(0.3)
    for _ in range(3):
        descent.step(at_share(share))
        assert float(descent.expected_ms()) == pytest.approx(at_share(share), rel=1e-3)


def test_latency_counts_whatever_path_is_active_and_where_nothing_was_learnt() -> None:
    """ProxylessNAS's code lost a block's latency gradient where its zero operation was active."""
    descent = Descent(Architecture(G2P), EXPECTED)
    nothing = [Drawn((0,), torch.ones(1)) for _ in G2P.choices]
    descent.learn(nothing, [None] * len(nothing), 0.9)
    descent.cool(0.3)
    before = descent.architecture.probabilities()
    descent.step(at_share(0.1))
    after = descent.architecture.probabilities()
    for name in ("encoder_embed", "encoder_ffn.0", "decoder_embed", "decoder_layers", "decoder_attended.0"):
        row = G2P.index[name]
        assert after[row, 0] > before[row, 0]  # the smaller, the faster: it became more probable


def test_an_operator_that_the_table_lacks_is_an_error_and_no_constant() -> None:
    """ProxylessNAS's code took 200 ms for any look-up that failed."""
    table = tiny_lut()
    rows = dict(list(table.rows.items())[:-1])
    with pytest.raises(MissingOperatorError, match="lacks"):
        TableLatency(TINY, TinyFamily(), tiny_lut(rows=rows))


@given(seed=st.integers(0, 1000))
def test_what_two_paths_have_together_stays(seed: int) -> None:
    """To the first order in what is learnt (ProxylessNAS, section 3.2.2), and they differ by what the gradients do."""
    generator = torch.Generator().manual_seed(seed)
    descent = Descent(Architecture(TINY), ExpectedLatency(TableLatency(TINY, TinyFamily(), tiny_lut())))
    architecture, row = descent.architecture, TINY.index["ffn.0"]
    descent.learnt = torch.rand(architecture.scores.shape, generator=generator, dtype=torch.float64)
    architecture.scores = descent.learnt.clone()
    before = architecture.probabilities()[row]
    drawn = [Drawn((0,), torch.ones(1)) for _ in TINY.choices]
    drawn[row] = Drawn((0, 2), torch.tensor([1.0, 0.0], requires_grad=True))
    gradients: list[torch.Tensor | None] = [None] * len(drawn)
    wanted = descent.learnt[row, [0, 2]] + 1e-3 * torch.randn(2, generator=generator, dtype=torch.float64)
    gradients[row] = wanted
    untouched = descent.learnt[row, 1].item()
    descent.learn(drawn, gradients, 0.5)
    architecture.scores = descent.learnt
    after = architecture.probabilities()[row]
    assert descent.learnt[row, 1].item() == untouched
    assert after[1].item() == pytest.approx(before[1].item(), abs=1e-5)
    assert (descent.learnt[row, 0] - descent.learnt[row, 2]).item() == pytest.approx((wanted[0] - wanted[1]).item())


def test_the_nearest_candidates_are_those_of_enumeration() -> None:
    rng = np.random.default_rng(4)
    costs = rng.uniform(0, 1, (len(TINY.choices), 3))
    costs[np.arange(len(TINY.choices)), 0] = 0.0

    def cost_of(candidate) -> float:
        values = candidate.as_dict()
        return sum(
            costs[row, choice.values.index(values[choice.name])]
            for row, choice in enumerate(TINY.choices)
            if choice.name in values
        )

    found = [TINY.decode(gene) for gene in nearest(TINY, costs)]
    assert set(found) == set(TINY) and len(found) == TINY.size()
    ranked = [cost_of(candidate) for candidate in found]
    assert ranked == sorted(ranked)


def test_an_architecture_samples_by_its_probabilities_and_its_candidate_leads() -> None:
    architecture = Architecture(TINY)
    architecture.scores[TINY.index["layers"]] = torch.tensor([0.0, -1.0, -3.0])
    generator = torch.Generator().manual_seed(0)
    drawn = [architecture.sample(generator)["layers"] for _ in range(3000)]
    wanted = architecture.probabilities()[TINY.index["layers"]]
    assert [drawn.count(depth) / 3000 for depth in (1, 2, 3)] == pytest.approx(wanted.tolist(), abs=0.03)
    assert architecture.candidate()["layers"] == 3
    architecture.decided[TINY.index["layers"]] = 0
    assert architecture.candidate()["layers"] == architecture.sample(generator)["layers"] == 1
