"""Entropic mirror descent of an architecture whose expected latency is held at a target at every step.

Minimising loss + price * latency - temperature * entropy over independent choices has the fixed point
p ~ exp(-(effect + price * slope) / temperature): ``effect`` is what an option adds to the loss, ``slope`` what it adds
to the expected latency (Beck and Teboulle 2003 for the descent; the annealing is Rose's, 1998). What an option adds to
the loss is learnt from gradients; what it adds to latency is known exactly, and so is the price at which the
expectation meets the target. There is no penalty to tune and no multiplier that could wind up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hwnas.expected import ExpectedLatency, LeastExpectedLatency
from hwnas.gradient.architecture import Architecture
from hwnas.gradient.relaxation import Drawn

_RATE = 0.3
"""Share by which a step moves the scores to their fixed point; slopes change with the probabilities."""
_REACHED = 0.01
"""How far expected latency may be off a target that counts as met."""
_BELOW, _ABOVE = 3.0, 30.0
"""What it costs in multiples of the largest effect to end away from the target, however the others are decided: an
option by which latency ends 10 % too low must be better by 0.3 of these; too high is no end."""
_SELDOM = 0.02
"""A choice that was active less often is taken for so often active: what is seldom seen is mostly noise."""
_PRICES = torch.sinh(torch.linspace(-14.0, 14.0, 65, dtype=torch.float64))
_REFINED = torch.linspace(0.0, 1.0, 33, dtype=torch.float64)


class Descent:
    """Moves ``architecture``.

    ``learnt`` (choices, options), in nats, tells how options of a choice differed when the choice was ``active``
    (choices,) so often; ``lessons`` (choices,) is how much was learnt of each lately, 1 for a look at all its options.
    """

    def __init__(self, architecture: Architecture, expected: ExpectedLatency | LeastExpectedLatency) -> None:
        self.architecture, self._expected = architecture, expected
        self.learnt = torch.zeros_like(architecture.scores)
        self.active = torch.ones(len(architecture.scores), dtype=torch.float64)
        self.lessons = torch.zeros(len(architecture.scores), dtype=torch.float64)
        self.price = 0.0

    def learn(self, drawn: Sequence[Drawn], gradients: Sequence[Tensor | None], decay: float) -> None:
        """Take what the gradients with respect to ``drawn`` tell into what is known, older lessons weighing ``decay``.

        A gradient tells how options differ, so means are taken off: where two of more options were looked at,
        what these have together stays (ProxylessNAS, section 3.2.2, does so by rescaling).
        """
        architecture, run = self.architecture, torch.zeros_like(self.learnt)
        for row, each in enumerate(drawn):
            run[row, list(each.options)] = each.weights.detach().to(run.dtype)
        active, probabilities = architecture.activity(run), architecture.probabilities()
        self.lessons *= decay
        for row, (each, gradient) in enumerate(zip(drawn, gradients, strict=True)):
            if gradient is None or len(each.options) < 2:
                continue
            options = list(each.options)
            self.lessons[row] += len(options) / int(architecture.real[row].sum())
            weights = probabilities[row, options] + 1e-9
            news = gradient.to(weights.dtype) - self.learnt[row, options]
            news -= (weights * news).sum() / weights.sum()
            share = 1 / self.lessons[row].clamp(min=1.0)
            self.learnt[row, options] += share * news
            self.active[row] += share * (active[row] - self.active[row])

    def effects(self, probabilities: Tensor | None = None) -> Tensor:
        """What each option adds to the loss, with choices as active as in ``probabilities``, or as they are."""
        probabilities = self.architecture.probabilities() if probabilities is None else probabilities
        active = self.architecture.activity(probabilities) / self.active.clamp(min=_SELDOM)
        return self.learnt * active[..., None]

    def cool(self, ratio: float) -> None:
        """Set the temperature, as a share of the largest difference in effect."""
        self.architecture.temperature = max(ratio * self._spread(), 1e-12)

    def step(self, target_ms: float | None, price: float = 0.0) -> None:
        """Move the scores to their fixed point at the price that meets ``target_ms``, or without one at ``price``."""
        architecture, slopes = self.architecture, self.slopes()
        kept = (1 - _RATE) * architecture.scores + _RATE * self.effects()
        self.price = price if target_ms is None else self._price(kept, _RATE * slopes, target_ms)
        architecture.scores = kept + _RATE * self.price * slopes

    def decide(self, row: int, target_ms: float | None) -> None:
        """Leave one option of a choice: the one that has the least loss with the others brought back to the target."""
        architecture = self.architecture
        now, spread = architecture.probabilities(), self._spread()
        found: list[float] = []
        for option in range(int(architecture.real[row].sum())):
            architecture.decided[row] = option
            slopes, effects = self.slopes(), self.effects()
            price = self.price if target_ms is None else self._price(effects, slopes, target_ms)
            then = architecture.probabilities(effects + price * slopes)
            expected_ms = float(self.expected_ms(then))
            loss = float((self.effects(then) * (then - now)).sum())
            if target_ms is None:
                found.append(loss + price * expected_ms)
            else:
                missed = math.log(expected_ms / target_ms)
                found.append(loss + spread * max(0.0, _ABOVE * missed, -_BELOW * (missed + _REACHED)))
        architecture.decided[row] = min(range(len(found)), key=found.__getitem__)

    def undecided(self) -> list[int]:
        """Choices that are not decided, those that latency depends on most first."""
        slopes, real = self.slopes(), self.architecture.real
        spread = slopes.masked_fill(~real, -math.inf).amax(1) - slopes.masked_fill(~real, math.inf).amin(1)
        rows = [row for row, option in enumerate(self.architecture.decided.tolist()) if option < 0]
        return sorted(rows, key=lambda row: -float(spread[row]))

    def slopes(self) -> Tensor:
        """Milliseconds that expected latency rises with each probability, 0 on average over each choice."""
        probabilities = self.architecture.probabilities().requires_grad_()
        (slopes,) = torch.autograd.grad(self.expected_ms(probabilities), probabilities)
        real = self.architecture.real
        means = (slopes * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)
        return (slopes - means) * real

    def expected_ms(self, probabilities: Tensor | None = None) -> Tensor:
        """Of these probabilities (..., choices, options), or of the architecture's; shape (...)."""
        probabilities = self.architecture.probabilities() if probabilities is None else probabilities
        expected: Tensor = self._expected(self.architecture.by_name(probabilities))
        return expected

    def priced(self, target_ms: float) -> Tensor:
        """Scores (choices, options) at the price that meets ``target_ms``, whatever was decided."""
        architecture, slopes, effects = self.architecture, self.slopes(), self.effects()
        decided, architecture.decided = architecture.decided, torch.full_like(architecture.decided, -1)
        price = self._price(effects, slopes, target_ms)
        architecture.decided = decided
        return effects + price * slopes

    def _price(self, scores: Tensor, slopes: Tensor, target_ms: float) -> float:
        """Nats per millisecond at which scores + price * slopes expect the target.

        0 where even the slowest of what is left stays below it: then latency is free. The highest of those tried
        where the fastest stays above.
        """
        unit = max(self._spread(), 1e-9) / max(float(slopes.abs().max()), 1e-12) * 1e-3
        prices = unit * _PRICES
        for narrowed in range(3):
            probabilities = self.architecture.probabilities(scores + prices[:, None, None] * slopes)
            above = self.expected_ms(probabilities) > target_ms
            if not narrowed and not bool(above[0]):
                return 0.0
            low = min(max(int(above.sum()) - 1, 0), len(prices) - 2)
            prices = prices[low] + (prices[low + 1] - prices[low]) * _REFINED
        return float(prices[len(prices) // 2])

    def _spread(self) -> float:
        effects = self.effects()
        return float((effects.amax(dim=1) - effects.amin(dim=1)).max())
