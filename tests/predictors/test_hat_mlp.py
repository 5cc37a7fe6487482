from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from predictors.generated_set import generated, random_features
from torch import nn
from torch.nn import functional

from hwnas.predictors import mlp
from hwnas.predictors.mlp import HatMlp, Network, latency_norm_ms
from hwnas.workload import Workload


def test_a_step_is_that_of_autograd() -> None:
    """HAT's training in its own words: nn.Linear, MSELoss, Adam with learning rate 1e-5."""
    ours = Network(torch.Generator().manual_seed(0))
    modules: list[nn.Module] = []
    for weight, bias in ours.layers:
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": weight, "bias": bias})
        modules += [linear, nn.ReLU()]
    theirs = nn.Sequential(*modules[:-1])
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-5)
    rng = torch.Generator().manual_seed(1)
    for _ in range(30):
        inputs, targets = torch.rand(128, 10, generator=rng), torch.rand(128, generator=rng)
        with torch.no_grad():
            ours.step(inputs, targets)
        adam.zero_grad()
        functional.mse_loss(theirs(inputs).squeeze(), targets).backward()
        adam.step()
    probe = torch.rand(50, 10, generator=rng)
    with torch.no_grad():
        expected = theirs(probe).squeeze().numpy()
    layers = tuple((weight.numpy(), bias.numpy()) for weight, bias in ours.layers)
    predicted = HatMlp(layers, 1.0).predict_ms(probe.numpy().astype(np.float64) * mlp.FEATURE_NORM)
    start = Network(torch.Generator().manual_seed(0)).layers
    before = HatMlp(tuple((w.numpy(), b.numpy()) for w, b in start), 1.0)
    moved = np.abs(before.predict_ms(probe.numpy().astype(np.float64) * mlp.FEATURE_NORM) - expected)
    assert np.abs(predicted - expected).max() < 0.01 * moved.min()


def test_weights_start_as_torch_draws_them() -> None:
    layers = Network(torch.Generator().manual_seed(0)).layers
    assert sum(weight.numel() + bias.numel() for weight, bias in layers) == 486_001  # HAT's 10-400-400-400-400-1
    for (weight, bias), (inputs, outputs) in zip(layers, pairwise(mlp.SIZES), strict=True):
        assert weight.shape == (outputs, inputs)
        like = nn.Linear(inputs, outputs)
        bound = float(like.weight.detach().abs().max())
        assert bound * 0.9 <= float(weight.abs().max()) <= inputs**-0.5
        assert float(bias.abs().max()) <= inputs**-0.5


@pytest.mark.parametrize(
    ("mean", "norm"), [(127, 200), (166, 200), (268, 300), (277, 300), (5795, 5000), (6478, 5000), (0.3, 0.3)]
)
def test_the_norm_is_hats_for_hats_devices(mean: float, norm: float) -> None:
    """Means of HAT's eight sets; its configs have 200 for the GPU, 300 for the Xeon, 5000 for the Pi."""
    assert latency_norm_ms(np.array([0.5 * mean, 1.5 * mean])) == pytest.approx(norm)


def test_training_learns_and_follows_from_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "STEPS", 60)
    rows = generated(150)

    def fit(seed: int) -> HatMlp:
        return HatMlp.fit(rows.features, rows.latency_ms, workload=Workload(), seed=seed)

    def error(model: HatMlp) -> float:
        return float(np.mean((model.predict_ms(rows.features) / rows.latency_ms - 1) ** 2))

    once, again, other = fit(0), fit(0), fit(1)
    probe = random_features(20, 5)
    np.testing.assert_array_equal(once.predict_ms(probe), again.predict_ms(probe))
    assert not np.array_equal(once.predict_ms(probe), other.predict_ms(probe))
    monkeypatch.setattr(mlp, "STEPS", 0)
    assert error(once) < 0.8 * error(fit(0))


def test_fewer_rows_than_a_batch_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "STEPS", 2)
    rows = generated(20)
    model = HatMlp.fit(rows.features, rows.latency_ms, workload=Workload(), seed=0)
    assert np.isfinite(model.predict_ms(rows.features)).all()
