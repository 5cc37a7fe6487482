"""The constraint on synthetic problems. Deviations are those of expected latency before choices are decided."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

import latency_luts
from hwnas.errors import SearchError
from hwnas.expected import ExpectedLatency
from hwnas.families import get_family
from hwnas.latency import TableLatency
from hwnas.losses.constraint import LatencyConstraint
from hwnas.spaces import load_space
from latency_luts import LatencyLut

SHARES = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
"""Ten targets, as shares of the way from the fastest to the slowest."""

Soft = Mapping[str, Tensor]


def search(
    sizes: Mapping[str, int],
    expected: Callable[[Soft], Tensor],
    task: Callable[[Soft], Tensor],
    constraints: list[LatencyConstraint],
    steps: int,
    rate: float,
) -> tuple[dict[str, Tensor], Tensor]:
    """As many searches at once as there are constraints; their architectures and expected latencies."""
    logits = {
        n: torch.zeros(len(constraints), size, dtype=torch.float64, requires_grad=True) for n, size in sizes.items()
    }
    optimiser = torch.optim.Adam(logits.values(), lr=rate, betas=(0.0, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        soft = {name: values.softmax(-1) for name, values in logits.items()}
        latencies = expected(soft)
        penalties = [c.penalty(latency) for c, latency in zip(constraints, latencies, strict=True)]
        optimiser.zero_grad()
        (task(soft).sum() + torch.stack(penalties).sum()).backward()
        optimiser.step()
        schedule.step()
        for constraint, latency in zip(constraints, latencies.tolist(), strict=True):
            constraint.update(latency)
    final = {name: values.detach().softmax(-1) for name, values in logits.items()}
    return final, expected(final)


class Convex:
    """sum p c + heat * sum p log p under sum p L = T: the optimum has p in proportion to exp(-(c + m L) / heat)."""

    heat = 0.2

    def __init__(self, scale: float, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.scale, self.sizes = scale, {f"c{i}": 4 for i in range(8)}
        self.latencies = {name: torch.rand(4, generator=draw, dtype=torch.float64) for name in self.sizes}
        slope = {name: -latency + 0.3 * torch.rand(4, generator=draw) for name, latency in self.latencies.items()}
        self.costs = {name: cost.to(torch.float64) for name, cost in slope.items()}

    def expected(self, soft: Soft) -> Tensor:
        return torch.stack([(p * self.latencies[name]).sum(-1) for name, p in soft.items()]).sum(0)

    def task(self, soft: Soft) -> Tensor:
        parts = [(p * (self.costs[name] + self.heat * (p + 1e-300).log())).sum(-1) for name, p in soft.items()]
        return self.scale * torch.stack(parts).sum(0)

    def range(self) -> tuple[float, float]:
        ends = [sum(float(pick(latency)) for latency in self.latencies.values()) for pick in (torch.min, torch.max)]
        return ends[0], ends[1]

    def optimum(self, target: float) -> dict[str, Tensor]:
        """By bisection of the multiplier m."""
        low, high = -100.0, 100.0
        for _ in range(100):
            m = (low + high) / 2
            soft = {n: (-(c + m * self.latencies[n]) / self.heat).softmax(-1) for n, c in self.costs.items()}
            low, high = (m, high) if float(self.expected(soft)) > target else (low, m)
        return soft


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_it_ends_at_ten_targets_of_a_problem_whose_optimum_is_known(scale: float) -> None:
    problem, steps = Convex(scale), 400
    fastest, slowest = problem.range()
    targets = (fastest + (slowest - fastest) * SHARES).tolist()
    constraints = [LatencyConstraint(target, steps) for target in targets]
    soft, latencies = search(problem.sizes, problem.expected, problem.task, constraints, steps, 0.05)
    for number, (target, latency) in enumerate(zip(targets, latencies.tolist(), strict=True)):
        assert 0.95 * target <= latency <= target
        optimum = problem.optimum(latency)
        best, found = (float(problem.task(p)) / scale for p in (optimum, {n: p[number] for n, p in soft.items()}))
        assert found <= best + 0.05
        for name, p in optimum.items():
            assert float((p - soft[name][number]).abs().max()) < 0.15


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_it_ends_at_ten_targets_over_a_measured_table(scale: float) -> None:
    """A noisy task loss without optimum inside: the more of everything the better, some by far."""
    space = load_space("g2p")
    table = Path(latency_luts.__file__).parent / "tables" / "g2p_epyc_onnxruntime_1thread.jsonl"
    latency = TableLatency.from_lut(space, get_family(space.family), LatencyLut.load(table))
    fastest, slowest = latency.fastest(), latency.slowest()
    assert fastest is not None
    assert slowest is not None
    targets = (fastest[0] + (slowest[0] - fastest[0]) * SHARES).tolist()
    draw = torch.Generator().manual_seed(3)
    gains = {c.name: float(torch.rand(1, generator=draw)) * torch.tensor(c.values).log() for c in space.choices}

    def task(soft: Soft) -> Tensor:
        noisy = {name: gain + 0.3 * torch.randn(len(gain), generator=draw) for name, gain in gains.items()}
        return -scale * torch.stack([(p * noisy[name]).sum(-1) for name, p in soft.items()]).sum(0)

    steps = 300
    constraints = [LatencyConstraint(target, steps) for target in targets]
    sizes = {choice.name: len(choice.values) for choice in space.choices}
    _, latencies = search(sizes, ExpectedLatency(latency), task, constraints, steps, 0.05)
    for target, found in zip(targets, latencies.tolist(), strict=True):
        assert 0.95 * target <= found <= target


def test_with_at_most_it_lets_a_search_stay_below_where_that_is_better() -> None:
    problem, steps = Convex(1.0), 300
    free = problem.optimum(math.inf)  # bisection then ends at the lowest multiplier: the slowest that is of use
    least_task = {n: (-c / problem.heat).softmax(-1) for n, c in problem.costs.items()}
    natural = float(problem.expected(least_task))
    assert natural < float(problem.expected(free))
    limits = [1.2 * natural, 0.8 * natural]
    constraints = [LatencyConstraint(limit, steps, at_most=True) for limit in limits]
    _, latencies = search(problem.sizes, problem.expected, problem.task, constraints, steps, 0.05)
    assert latencies[0].item() == pytest.approx(natural, rel=0.01)
    assert 0.98 * limits[1] <= latencies[1].item() <= limits[1]
    assert constraints[0].multiplier == 0
    assert constraints[1].multiplier > 0


def test_the_slope_at_the_aim_is_the_multiplier() -> None:
    constraint = LatencyConstraint(2.0, 100, margin=0.0)
    for _ in range(12):
        constraint.update(2.5)
    latency = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    penalty = constraint.penalty(latency)
    penalty.backward()
    assert latency.grad is not None
    assert penalty.item() == pytest.approx(0)
    assert constraint.multiplier > 0
    assert latency.grad.item() * 2.0 == pytest.approx(constraint.multiplier)


@pytest.mark.parametrize("at_most", [False, True])
def test_the_penalty_is_convex_in_log_latency_and_linear_far_away(at_most: bool) -> None:
    constraint = LatencyConstraint(1.0, 100, at_most=at_most)
    constraint.update(1.2)
    logs = torch.linspace(-2, 2, 400, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(constraint.penalty(logs.exp()).sum(), logs)
    assert (slopes.diff() > -1e-12).all()
    assert slopes[-1].item() == pytest.approx(slopes[-50].item())
    if at_most:
        assert (slopes >= 0).all()


def test_the_multiplier_stays_finite_however_long_the_target_is_missed() -> None:
    constraint = LatencyConstraint(1.0, 10)
    for _ in range(10_000):
        constraint.update(1e6)
    assert math.isfinite(constraint.multiplier)
    assert constraint.penalty(torch.tensor(1e6)).isfinite()


def test_it_goes_on_from_a_checkpoint() -> None:
    latencies = [1.5 - 0.01 * n for n in range(60)]
    whole, first = LatencyConstraint(1.0, 60), LatencyConstraint(1.0, 60)
    for latency in latencies:
        whole.update(latency)
    for latency in latencies[:25]:
        first.update(latency)
    second = LatencyConstraint(1.0, 60)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for latency in latencies[25:]:
        second.update(latency)
    assert second.state_dict() == whole.state_dict()
    assert second.multiplier == whole.multiplier
    with pytest.raises(SearchError, match="lacks 'trend'"):
        second.load_state_dict({"level": 1.0})


@pytest.mark.parametrize("value", [math.nan, 0.0, math.inf])
def test_it_cannot_follow_what_is_no_latency(value: float) -> None:
    with pytest.raises(SearchError, match=f"expected latency became {value} ms"):
        LatencyConstraint(1.0, 10).update(value)
