"""Steps on the architecture and, in turns, on the weights; resumable after any checkpoint, to the same end."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hwnas.checkpoint import Checkpoint
from hwnas.data.batching import batch_of_update
from hwnas.data.task import Pair
from hwnas.errors import SearchError
from hwnas.expected import ExpectedLatency, LeastExpectedLatency
from hwnas.families.base import Family, SoftChoices
from hwnas.gradient.architecture import Architecture
from hwnas.gradient.descent import Descent
from hwnas.gradient.relaxation import Drawn, Relaxation, mixtures
from hwnas.gradient.settings import GradientSettings
from hwnas.losses.base import LatencyLoss
from hwnas.supernet import SuperTransformer

Show = Callable[[int, str], None]
"""Is told how many steps are done, and how it stands."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """What weights and architecture learn from, apart from each other."""

    weights: Sequence[Pair]
    architecture: Sequence[Pair]


@dataclass(frozen=True, slots=True)
class Aim:
    """Where latency goes: to a target that may depend on the candidate, or as a loss says, or nowhere.

    ``target_ms`` is asked for the architecture as it is. With neither, latency does not count.
    """

    target_ms: Callable[[Architecture], float] | None = None
    loss: LatencyLoss | None = None


class Steps:
    """The state of a search by gradients, and its loop."""

    def __init__(
        self,
        family: Family,
        supernet: SuperTransformer,
        lessons: Lessons,
        expected: ExpectedLatency | LeastExpectedLatency,
        aim: Aim,
        settings: GradientSettings,
        *,
        seed: int,
    ) -> None:
        """Leaves ``supernet`` as it is. Raises :class:`SearchError` for a family whose choices cannot be soft."""
        if not isinstance(family, SoftChoices):
            raise SearchError(f"family {supernet.space.family!r} cannot be searched by gradients: it has no soft model")
        self._family, self._soft = family, family.soft
        self._lessons, self._aim, self._settings, self._seed = lessons, aim, settings, seed
        self._relaxation = settings.relaxation()
        self.architecture = Architecture(supernet.space)
        self.descent = Descent(self.architecture, expected)
        self._supernet = copy.deepcopy(supernet) if settings.adapt_weights else supernet
        frozen = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in self._supernet.largest.parameters()}
        self._frozen: nn.Module = copy.deepcopy(self._supernet.largest, dict(frozen))  # the same storage
        self._optimizer = (
            torch.optim.Adam(self._supernet.parameters(), lr=settings.weight_rate, betas=(0.9, 0.98), fused=True)
            if settings.adapt_weights
            else None
        )
        self._choices = len(self.descent.undecided())
        self.losses: list[float] = []

    def run(self, path: Path, identity: Mapping[str, str], show: Show) -> None:
        """All steps that the checkpoint at ``path`` does not have yet.

        Raises :class:`SearchError` when the loss is no number any more; the last checkpoint stays.
        """
        settings = self._settings
        if path.exists():
            content = Checkpoint.load(path)
            content.require(identity, path)
            self._load(content)
        with torch.random.fork_rng(devices=[]):
            for step in range(len(self.losses), settings.steps):
                torch.manual_seed(random.Random(f"{self._seed}/{step}").getrandbits(62))
                if self._optimizer is not None:
                    self._adapt(step, path)
                self.losses.append(self._step(step, path))
                done = step + 1
                if done % settings.checkpoint_every == 0 or done == settings.steps:
                    self._checkpoint(identity).save(path)
                show(done, f"loss {self._recent():.4f}, expected {float(self.descent.expected_ms()):.4g} ms")

    def tensors(self) -> list[Tensor]:
        """What it holds while nothing runs: weights and buffers."""
        return [*self._supernet.parameters(), *self._supernet.buffers(), *self._frozen.buffers()]

    def _step(self, step: int, path: Path) -> float:
        """One step on the architecture; the loss of what was run, nats per token."""
        settings, descent = self._settings, self.descent
        progress = step / settings.steps
        generator = torch.Generator().manual_seed(random.Random(f"{self._seed}/{step}/draw").getrandbits(62))
        drawn = draw(self.architecture, self._relaxation, progress, generator)
        batch = batch_of_update(self._lessons.architecture, settings.batch_size, self._seed, step)
        model = self._soft(self._frozen, mixtures(self.architecture.space, drawn))
        loss, tokens = self._family.loss(model, batch, 0.0)
        loss = loss / tokens
        value = self._finite(float(loss.detach()), step, path)
        descent.learn(drawn, _gradients(loss, drawn), math.exp(-1 / (settings.memory * settings.steps)))
        descent.cool(settings.hot * (settings.cold / settings.hot) ** progress)
        target_ms = None if self._aim.target_ms is None else self._aim.target_ms(self.architecture)
        descent.step(target_ms, self._price(value))
        settled = (step + 1 - settings.settle * settings.steps) / (settings.steps * (1 - settings.settle) + 1e-9)
        undecided = descent.undecided()
        for row in undecided[: len(undecided) - self._choices + math.floor(settled * self._choices + 1e-6)]:
            descent.decide(row, target_ms)
        return value

    def _price(self, loss: float) -> float:
        """What a loss like ProxylessNAS's pays for a millisecond, in units of the task loss, where it stands now."""
        if self._aim.loss is None:
            return 0.0
        task = torch.tensor(self._recent(loss), dtype=torch.float64, requires_grad=True)
        expected_ms = self.descent.expected_ms().detach().requires_grad_()
        by_task, by_ms = torch.autograd.grad(self._aim.loss(task, expected_ms), (task, expected_ms))
        return float(by_ms / by_task)

    def _adapt(self, step: int, path: Path) -> None:
        """Steps on the weights of a sampled candidate; those of the warm-up before the first on the architecture."""
        assert self._optimizer is not None
        settings, warmup = self._settings, self._settings.warmup
        self._supernet.train()
        for update in range(0 if step == 0 else warmup + step, warmup + step + 1):
            batch = batch_of_update(self._lessons.weights, settings.batch_size, self._seed, update)
            generator = torch.Generator().manual_seed(random.Random(f"{self._seed}/{update}/weights").getrandbits(62))
            with self._supernet.active(self.architecture.sample(generator)) as model:
                loss, tokens = self._family.loss(model, batch, 0.0)
                loss = loss / tokens
                self._finite(float(loss.detach()), step, path)
                loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self._supernet.parameters(), 1.0, foreach=True)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)

    def _finite(self, value: float, step: int, path: Path) -> float:
        if math.isfinite(value):
            return value
        kept = f"; what was learnt before is in {path}" if path.exists() else ""
        way = "lower weight_rate" if self._optimizer is not None else "look at the weights and the data"
        raise SearchError(f"gradient search: the loss is {value} at step {step}; {way}{kept}")

    def _recent(self, *more: float) -> float:
        last = [*self.losses[-50:], *more]
        return sum(last) / len(last)

    def _checkpoint(self, identity: Mapping[str, str]) -> Checkpoint:
        own = {
            "scores": self.architecture.scores,
            "decided": self.architecture.decided,
            "learnt": self.descent.learnt,
            "active": self.descent.active,
            "lessons": self.descent.lessons,
            "last": torch.tensor([self.architecture.temperature, self.descent.price], dtype=torch.float64),
        }
        adapted = {} if self._optimizer is None else {f"weights.{k}": v for k, v in self._supernet.state_dict().items()}
        optimizer = {} if self._optimizer is None else self._optimizer.state_dict()
        return Checkpoint(identity, len(self.losses), own | adapted, optimizer, tuple(self.losses))

    def _load(self, content: Checkpoint) -> None:
        self.architecture.scores = content.model["scores"]
        self.architecture.decided = content.model["decided"]
        self.descent.learnt = content.model["learnt"]
        self.descent.active = content.model["active"]
        self.descent.lessons = content.model["lessons"]
        self.architecture.temperature, self.descent.price = content.model["last"].tolist()
        self.losses = list(content.losses)
        if self._optimizer is not None:
            adapted = {k.removeprefix("weights."): v for k, v in content.model.items() if k.startswith("weights.")}
            self._supernet.load_state_dict(adapted)
            self._optimizer.load_state_dict(dict(content.optimizer))


def draw(
    architecture: Architecture, relaxation: Relaxation, progress: float, generator: torch.Generator
) -> list[Drawn]:
    """What takes part of every choice; of a decided one its option alone."""
    found = []
    probabilities = architecture.probabilities()
    for row, option in enumerate(architecture.decided.tolist()):
        if option >= 0:
            found.append(Drawn((option,), torch.ones(1)))
        else:
            found.append(relaxation.draw(probabilities[row, architecture.real[row]], progress, generator))
    return found


def _gradients(loss: Tensor, drawn: Sequence[Drawn]) -> list[Tensor | None]:
    """Of the loss with respect to each choice's weights; ``None`` where there is nothing to weigh."""
    leaves = [each.weights for each in drawn if each.weights.requires_grad]
    if not loss.requires_grad:
        return [None] * len(drawn)
    found = iter(torch.autograd.grad(loss, leaves, allow_unused=True))
    return [next(found) if each.weights.requires_grad else None for each in drawn]
