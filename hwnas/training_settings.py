"""How to train: batch, learning rate over time, which SubTransformers an update trains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hwnas.errors import HwnasError

Schedule = Literal["constant", "cosine", "inverse_sqrt", "linear"]


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train. The defaults learn g2p; HAT's own for WMT are in its section 4.2.

    ``learning_rate`` is the peak, after ``warmup`` linear updates. ``constant`` decays linearly over
    the last fifth; ``linear``, ``cosine`` from the warm-up to the end; ``inverse_sqrt`` never ends.
    Each update trains ``random_subnets`` random SubTransformers (HAT: one); ``sandwich`` adds the
    largest and the smallest on the same batch (Yu and Huang 2019, section 3.1), and ``distil`` lets
    all but the largest learn the largest's soft targets (same, section 3.2).
    ``clip`` bounds the gradient's norm. ``checkpoint_every`` does not change what is learnt.
    """

    updates: int = 5000
    batch_size: int = 64
    learning_rate: float = 1.5e-3
    schedule: Schedule = "constant"
    warmup: int = 300
    label_smoothing: float = 0.0
    dropout: float = 0.0
    clip: float = 1.0
    sandwich: bool = False
    random_subnets: int = 1
    distil: bool = False
    seed: int = 0
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        for name in ("updates", "batch_size", "checkpoint_every", "random_subnets"):
            if getattr(self, name) < 1:
                raise HwnasError(f"training: {name} is {getattr(self, name)}; it must be at least 1")
        if self.schedule not in ("constant", "cosine", "inverse_sqrt", "linear"):
            raise HwnasError(
                f"training: unknown schedule {self.schedule!r}; known: constant, cosine, inverse_sqrt, linear"
            )
        if self.distil and not self.sandwich:
            raise HwnasError("training: distil learns from the largest SubTransformer; it needs sandwich")
        if not self.learning_rate > 0:
            raise HwnasError(f"training: learning_rate is {self.learning_rate}; it must be above 0")

    def rate(self, update: int) -> float:
        """The learning rate of update number ``update`` (from 0)."""
        done = update + 1
        rising = min(1.0, done / self.warmup) if self.warmup else 1.0
        after = max(self.updates - self.warmup, 1)
        left = min(1.0, (self.updates - update) / after)
        match self.schedule:
            case "constant":
                falling = min(1.0, (self.updates - update) / (0.2 * self.updates))
            case "linear":
                falling = left
            case "cosine":
                falling = 0.5 * (1 - math.cos(math.pi * left))
            case "inverse_sqrt":
                falling = math.sqrt(max(self.warmup, 1) / max(done, self.warmup, 1))
        return self.learning_rate * rising * falling


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """A short training of one extracted model, its learning rate falling linearly to 0."""

    updates: int = 300
    batch_size: int = 64
    learning_rate: float = 1e-3
    label_smoothing: float = 0.0
    dropout: float = 0.0
    seed: int = 0
