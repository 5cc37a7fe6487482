from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from hwnas.errors import SearchError
from hwnas.losses.base import LatencyLoss
from hwnas.losses.constraint import LatencyConstraint
from hwnas.losses.fbnet import FBNetLoss
from hwnas.losses.mnasnet import MnasNetReward
from hwnas.losses.proxyless import ProxylessAdd, ProxylessMul
from hwnas.losses.weighted import Fitness, WeightedSum
from tests.contracts.latency_loss import LatencyLossContract


class TestProxylessMul(LatencyLossContract):
    @pytest.fixture
    def loss(self) -> LatencyLoss:
        return ProxylessMul(1.0)


class TestProxylessMulOfLogarithms(LatencyLossContract):
    @pytest.fixture
    def loss(self) -> LatencyLoss:
        return ProxylessMul(1.0, log_unit_ms=0.001)


class TestProxylessAdd(LatencyLossContract):
    @pytest.fixture
    def loss(self) -> LatencyLoss:
        return ProxylessAdd(1.0)


class TestFBNetLoss(LatencyLossContract):
    @pytest.fixture
    def loss(self) -> LatencyLoss:
        return FBNetLoss()


class TestWeightedSum(LatencyLossContract):
    @pytest.fixture
    def loss(self) -> LatencyLoss:
        return WeightedSum(0.3)


class TestFitness(LatencyLossContract):
    @pytest.fixture
    def loss(self) -> LatencyLoss:
        return Fitness(1.0)


class TestSoftReward(LatencyLossContract):
    @pytest.fixture
    def loss(self) -> LatencyLoss:
        return MnasNetReward.soft(1.0)


class TestHardReward(LatencyLossContract):
    @pytest.fixture
    def loss(self) -> LatencyLoss:
        return MnasNetReward.hard(1.0)


class TestConstraint(LatencyLossContract):
    @pytest.fixture
    def loss(self) -> LatencyLoss:
        constraint = LatencyConstraint(1.0, 100, at_most=True)
        for _ in range(5):
            constraint.update(1.5)
        return constraint


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (ProxylessMul(80.0), 0.2 * 3 * 2**0.3),
        (ProxylessMul(80.0, alpha=1.0, beta=0.6), 3 * 2**0.6),
        (ProxylessMul(80.0, log_unit_ms=1.0), 0.2 * 3 * (math.log(160) / math.log(80)) ** 0.3),
        (ProxylessAdd(80.0), 3 + 0.1 * 1.0),
        (ProxylessAdd(320.0, weight=0.2), 3 - 0.2 * 0.5),
        (FBNetLoss(), 3 * 0.2 * math.log(160_000) ** 0.6),
        (WeightedSum(0.05), 3 + 8.0),
        (Fitness(80.0, t=0.25), 0.75 * 3 + 0.25 * 2),
        (MnasNetReward.soft(80.0), -math.exp(-3) * 2**-0.07),
        (MnasNetReward.hard(80.0), -math.exp(-3) / 2),
        (MnasNetReward.hard(320.0), -math.exp(-3)),
    ],
    ids=str,
)
def test_the_formulas(loss: LatencyLoss, value: float) -> None:
    assert float(loss(torch.tensor(3.0), torch.tensor(160.0))) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("latency_ms", [40.0, 80.0, 160.0])
@pytest.mark.parametrize("reward", [MnasNetReward.soft(80.0), MnasNetReward.hard(80.0)])
def test_a_candidates_reward_is_minus_its_loss(reward: MnasNetReward, latency_ms: float) -> None:
    loss = reward(torch.tensor(0.7), torch.tensor(latency_ms))
    assert reward.reward(math.exp(-0.7), latency_ms) == pytest.approx(-float(loss), rel=1e-6)


def test_the_soft_exponent_is_where_five_percent_of_accuracy_pay_for_twice_the_latency() -> None:
    reward = MnasNetReward.soft(80.0)
    assert reward.reward(0.7 * 1.05, 120.0) == pytest.approx(reward.reward(0.7, 60.0), rel=1e-3)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: ProxylessMul(0.0), "reference_ms"),
        (lambda: ProxylessMul(1.0, alpha=-0.2), "alpha"),
        (lambda: ProxylessMul(1.0, beta=math.nan), "beta"),
        (
            lambda: ProxylessMul(0.5, log_unit_ms=1.0),
            "reference_ms of a latency loss is 0.5; it must be above log_unit",
        ),
        (lambda: ProxylessMul(0.5, log_unit_ms=0.0), "log_unit_ms"),
        (lambda: ProxylessAdd(math.inf), "reference_ms"),
        (lambda: ProxylessAdd(1.0, weight=-1.0), "weight"),
        (lambda: FBNetLoss(alpha=0.0), "alpha"),
        (lambda: FBNetLoss(beta=-1.0), "beta"),
        (lambda: FBNetLoss(unit_ms=0.0), "unit_ms"),
        (lambda: WeightedSum(-1.0), "weight_per_ms of a latency loss is -1.0; it must be 0 or above"),
        (lambda: Fitness(1.0, t=1.5), "t of a latency loss is 1.5; it must be between 0 and 1"),
        (lambda: Fitness(-1.0), "reference_ms"),
        (lambda: MnasNetReward.soft(1.0, exponent=0.07), "below"),
        (lambda: MnasNetReward(1.0, 0.0, 1.0), "above"),
        (lambda: MnasNetReward.hard(-1.0), "target_ms"),
        (lambda: LatencyConstraint(0.0, 10), "target_ms"),
        (lambda: LatencyConstraint(1.0, 0), "updates"),
        (lambda: LatencyConstraint(1.0, 10, margin=1.0), "margin"),
    ],
)
def test_bad_coefficients_are_refused_by_name(make: Callable[[], object], name: str) -> None:
    with pytest.raises(SearchError, match=name) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("loss", [FBNetLoss(unit_ms=1.0), ProxylessMul(80.0, log_unit_ms=1.0)])
def test_a_logarithm_that_has_no_power_is_refused_instead_of_becoming_nan(loss: LatencyLoss) -> None:
    with pytest.raises(SearchError, match=r"logarithm of 0.3 ms in units of 1 ms is not above 0; take a smaller unit"):
        loss(torch.tensor(1.0), torch.tensor(0.3))
