"""Zero-cost proxies against their formulas, and how far each may be trusted against what is known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from training.toy import FAMILY, SPACE, toy_task

from hwnas.data.batching import batch_of_update
from hwnas.data.task import Batch
from hwnas.errors import PredictorError, SpaceError
from hwnas.evaluation import validation_loss
from hwnas.evaluators import inherited
from hwnas.evaluators.proxies import (
    PROXIES,
    Proxy,
    Subject,
    decoder_parameters,
    dss,
    gradient_norm,
    parameters,
    synflow,
)
from hwnas.evaluators.trust import TrustRequest, judge
from hwnas.families.base import Sublayers, Vocabularies
from hwnas.ranks import spearman_interval
from hwnas.supernet import SuperTransformer

TASK = toy_task()
BATCH = batch_of_update(TASK.pairs["train"], 16, 0, 0)


class Chain(nn.Module):
    """Embedding, a matrix called attention, normalisation, a matrix called feed-forward: no biases."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding = nn.Embedding(9, 5)
        self.attention = nn.Linear(5, 4, bias=False)
        self.norm = nn.LayerNorm(4)
        self.feed_forward = nn.Linear(4, 3, bias=False)

    def forward(self, ids):
        return self.feed_forward(self.norm(self.attention(self.embedding(ids))))


class ChainFamily:
    def logits(self, model, batch):
        return model(batch.source)

    def sublayers(self, model):
        return Sublayers([model.attention], [model.feed_forward], [model.feed_forward])


def chain() -> Subject:
    return Subject(Chain(), ChainFamily(), Batch(torch.tensor([[4, 5]]), torch.tensor([[1, 4]])))  # type: ignore[arg-type]


def matrices(subject: Subject) -> list[np.ndarray]:
    model = subject.model
    return [abs(layer.weight.detach().double().numpy()) for layer in (model.attention, model.feed_forward)]


def test_synaptic_flow_of_a_chain_is_what_flows_through_it_once_for_every_layer() -> None:
    first, second = matrices(chain())
    flow = 2 * np.ones(3) @ second @ first @ np.ones(5)  # two positions
    assert synflow(chain()) == pytest.approx(math.log(2 * flow))


def test_dss_of_a_chain() -> None:
    first, second = matrices(chain())
    gradient = 2 * np.outer(np.ones(3) @ second, np.ones(5))
    nuclear = [np.linalg.svd(matrix, compute_uv=False).sum() for matrix in (gradient, first)]
    saliency = 2 * np.ones(3) @ second @ first @ np.ones(5)
    assert dss(chain()) == pytest.approx(math.log(nuclear[0] * nuclear[1] + saliency))


@pytest.fixture(scope="module")
def supernet() -> SuperTransformer:
    torch.manual_seed(0)
    vocabularies = Vocabularies(len(TASK.source_vocabulary), len(TASK.target_vocabulary))
    return SuperTransformer(FAMILY, SPACE, vocabularies).eval()


def subject(supernet, which: int = -1) -> Subject:
    return Subject(supernet.extract(SPACE.extreme(which)), FAMILY, BATCH)


def test_neither_embedded_symbols_nor_normalisation_count_in_synaptic_flow(supernet) -> None:
    one, other = subject(supernet), subject(supernet)
    with torch.no_grad():
        other.model.source_embedding.weight.mul_(7)  # type: ignore[union-attr, operator]
        other.model.encoder_ffn[0].residual.norm.weight.mul_(7)  # type: ignore[union-attr, index]
    assert synflow(one) == synflow(other)
    with torch.no_grad():
        other.model.encoder_ffn[0].expand.weight.mul_(7)  # type: ignore[union-attr, index]
    assert synflow(one) < synflow(other)


def test_the_parameters_of_a_decoder_are_those_not_of_encoder_and_embeddings(supernet) -> None:
    one = subject(supernet)
    elsewhere = ("source_embedding", "target_embedding", "encoder_", "output")
    others = sum(p.numel() for name, p in one.model.named_parameters() if name.startswith(elsewhere))
    assert decoder_parameters(one) + others == parameters(one)
    assert decoder_parameters(subject(supernet, 0)) < decoder_parameters(one)


def test_the_norm_of_a_gradient_is_summed_over_parameters(supernet) -> None:
    one = subject(supernet)
    model = supernet.extract(SPACE.extreme(-1))
    loss, tokens = FAMILY.loss(model, BATCH, 0.0)
    gradients = torch.autograd.grad(loss / tokens, list(model.parameters()))
    assert gradient_norm(one) == pytest.approx(sum(float(gradient.norm()) for gradient in gradients), rel=1e-5)


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_leaves_the_model_as_it_was(supernet, name: str) -> None:
    one = subject(supernet)
    before = {key: value.clone() for key, value in one.model.state_dict().items()}
    score = PROXIES[name].score(one)
    assert math.isfinite(score)
    assert PROXIES[name].score(one) == score
    assert all(torch.equal(value, before[key]) for key, value in one.model.state_dict().items())
    assert all(parameter.grad is None for parameter in one.model.parameters())
    assert PROXIES[name].score(subject(supernet, 0)) != score


def perfect(one: Subject) -> float:
    return -validation_loss(one.model, one.family, TASK.pairs["valid"])


def test_what_ranks_as_the_loss_is_trusted(supernet, tmp_path, monkeypatch) -> None:
    known = {
        "perfect": Proxy(perfect),
        "wrong": Proxy(lambda one: -perfect(one)),
        "blind": Proxy(lambda one: 1.0, of_weights=False),
        "no number": Proxy(lambda one: math.nan, of_weights=False),
        "parameters": PROXIES["parameters"],
    }
    monkeypatch.setattr("hwnas.evaluators.trust.PROXIES", known)
    evaluated = []
    loss_of = inherited.InheritedLoss.__call__
    monkeypatch.setattr(inherited.InheritedLoss, "__call__", lambda self, c: evaluated.append(c) or loss_of(self, c))
    request = TrustRequest(14, tuple(known))
    rows = {(row.name, row.weights): row for row in judge(SPACE, FAMILY, supernet, TASK, request, tmp_path)}
    assert rows["perfect", "inherited"].spearman == pytest.approx(1)
    assert rows["wrong", "inherited"].spearman == pytest.approx(-1)
    assert rows["blind", "none"].spearman == 0
    assert rows["no number", "none"].spearman is rows["no number", "none"].interval is None
    assert ("parameters", "fresh") not in rows
    assert {name for name, weights in rows if weights == "learnt"} == {"ridge", "gbdt", "mlp"}
    assert len(evaluated) == 14
    judge(SPACE, FAMILY, supernet, TASK, TrustRequest(16, ("blind",)), tmp_path)
    assert len(evaluated) == 16, "kept losses were evaluated again"


def test_what_a_family_does_not_tell_is_left_out_or_refused(supernet, tmp_path) -> None:
    reserved = SimpleNamespace(**{name: getattr(FAMILY, name) for name in ("model", "loss", "logits")})
    said: list[str] = []
    rows = judge(SPACE, reserved, supernet, TASK, TrustRequest(12), tmp_path, say=said.append)  # type: ignore[arg-type]
    assert not {"dss", "decoder_parameters"} & {row.name for row in rows}
    assert said == ["note: decoder_parameters, dss left out: family SimpleNamespace does not tell its sublayers"]
    with pytest.raises(SpaceError, match="does not say which sublayers"):
        judge(SPACE, reserved, supernet, TASK, TrustRequest(12, ("dss",)), tmp_path / "none")  # type: ignore[arg-type]
    assert not (tmp_path / "none").exists(), "refused after all losses were evaluated"


def test_what_cannot_be_judged_is_refused(supernet, tmp_path) -> None:
    with pytest.raises(PredictorError, match="a sample of 5 candidates is too small to correlate; take at least 12"):
        TrustRequest(5)
    with pytest.raises(PredictorError, match="'magic' is unknown; known: parameters"):
        judge(SPACE, FAMILY, supernet, TASK, TrustRequest(12, ("magic",)), tmp_path)


def test_an_interval_holds_its_correlation_and_narrows() -> None:
    for correlation in (-1.0, -0.5, 0.0, 0.9, 1.0):
        low, high = spearman_interval(correlation, 40)
        assert -1 <= low <= correlation <= high <= 1 or correlation in (-1.0, 1.0)
        wider = spearman_interval(correlation, 12)
        assert wider[1] - wider[0] > high - low
