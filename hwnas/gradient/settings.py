"""How to search by gradients: what all such methods share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from hwnas.errors import SearchError

if TYPE_CHECKING:
    from hwnas.gradient.relaxation import Relaxation

_PASSES = 3
"""Forward passes that a step is worth: the pass itself and a backward pass, taken for two."""

LatencyTerm = Literal["constraint", "mul", "add"]


@dataclass(frozen=True, slots=True)
class GradientSettings:
    """``steps`` on the architecture, each on ``batch_size`` pairs; the best ``runners`` are evaluated in the end.

    The SuperTransformer's weights are frozen, or with ``adapt_weights`` a copy of them is trained on in turns with
    the architecture, after ``warmup`` steps on the weights alone, at ``weight_rate``. ``latency`` is how latency
    counts: ``constraint`` ends at the limit; ``mul`` and ``add`` are ProxylessNAS's losses with the limit for a
    reference, which end where they end.

    An option's effect on the loss is averaged over the last ``memory`` of the search. The temperature, relative to
    the largest effect, falls from ``hot`` to ``cold``; from ``settle`` on choices are decided one after another.
    """

    steps: int = 600
    batch_size: int = 64
    runners: int = 40
    latency: LatencyTerm = "constraint"
    adapt_weights: bool = False
    warmup: int = 0
    weight_rate: float = 1e-4
    hot: float = 0.5
    cold: float = 0.005
    memory: float = 0.2
    settle: float = 0.6
    checkpoint_every: int = 50

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "runners", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise SearchError(f"gradient search: {name} is {getattr(self, name)}; it must be at least 1")
        if self.latency not in ("constraint", "mul", "add"):
            raise SearchError(f"gradient search: latency is {self.latency!r}; known: constraint, mul, add")
        if self.warmup < 0 or (self.warmup and not self.adapt_weights):
            raise SearchError(f"gradient search: a warmup of {self.warmup} steps needs adapt_weights")
        if not self.hot >= self.cold > 0:
            raise SearchError(f"gradient search: temperatures fall from {self.hot} to {self.cold}; hot must be above")
        for name in ("memory", "settle", "weight_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise SearchError(f"gradient search: {name} is {getattr(self, name)}; it must be in (0, 1]")

    def relaxation(self) -> Relaxation:
        """How a step looks at a choice; every method has its own."""
        raise NotImplementedError

    @property
    def evaluations(self) -> int:
        """Most candidates that are evaluated; the steps cost more: see :meth:`cost`."""
        return self.runners

    def cost(self, pairs: int) -> int:
        """Evaluations of ``pairs`` pairs each that the whole search is worth, by forward passes."""
        steps = self.steps * (2 if self.adapt_weights else 1) + self.warmup
        return self.runners + -(-steps * self.batch_size * _PASSES // pairs)

    def as_dict(self) -> dict[str, object]:
        """What the result depends on, by name, as it stands in journals."""
        known = asdict(self)
        del known["checkpoint_every"]
        return known
