"""A space of 41,796 candidates whose loss and latency are known for every one of them.

The loss is a stand-in, seeded and committed: every width and depth helps less and less
(saturates), sublayers hold each other back like the narrowest of two pipes, and every pair of
choices interacts at random. At least 30 % of its variance comes from pairs (see
``variance_shares``), so choosing each value on its own does not find the optimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import combinations

import numpy as np
import numpy.typing as npt

from hwnas.factors import Factor, GatherSum
from hwnas.space import Candidate, Choice, Genes, SearchSpace
from hwnas.workload import Workload

Array = npt.NDArray[np.float64]

_LAYERS = 3
SPACE = SearchSpace(
    "stand_in",
    "stand_in",
    (
        Choice("encoder_embed", (32, 64, 96)),
        Choice("encoder_heads", (2, 4)),
        Choice("encoder_ffn.0", (64, 128, 256)),
        Choice("encoder_ffn.1", (64, 128, 256)),
        Choice("decoder_embed", (32, 64, 96)),
        Choice("decoder_layers", (1, 2, 3)),
        *(
            Choice(f"{name}.{layer}", values, ("decoder_layers", layer + 1) if layer else None)
            for layer in range(_LAYERS)
            for name, values in (("decoder_ffn", (64, 128, 256)), ("decoder_heads", (2, 4)))
        ),
    ),
    {},
    Workload(),
)
_DEPTH = SPACE.index["decoder_layers"]
_GAIN = {"encoder_embed": 0.10, "decoder_embed": 0.14, "decoder_layers": 0.02}
_PAIR = 0.02
"""Standard deviation of what a pair of values adds at random, in nats."""
_SATURATION = {"embed": 40.0, "layers": 1.0, "ffn": 60.0, "heads": 1.5}


def _kind(name: str) -> str:
    return name.split(".", maxsplit=1)[0].removeprefix("encoder_").removeprefix("decoder_")


def _benefit(choice: Choice) -> Array:
    """Between 0 and 1, rising with the value ever more slowly."""
    values = np.array(choice.values, dtype=np.float64)
    return 1 - np.exp(-values / _SATURATION[_kind(choice.name)])


def _gate(choice: Choice) -> Array:
    """Of shape (depths,): whether the choice is active at each index of the depth."""
    depths = np.array(SPACE.choices[_DEPTH].values)
    return (depths >= (choice.when[1] if choice.when else 1)).astype(np.float64)


@cache
def loss_factors() -> tuple[Factor, ...]:
    """The loss as a sum of tables of at most two choices (and the depth, where one is gated)."""
    rng = np.random.default_rng(20)
    factors = []
    for position, choice in enumerate(SPACE.choices):
        factors.append(_gated([position], -_GAIN.get(choice.name, 0.03) * _benefit(choice)))
    for i, j in combinations(range(len(SPACE.choices)), 2):
        first, second = _benefit(SPACE.choices[i]), _benefit(SPACE.choices[j])
        narrowest = -0.004 * np.minimum(first[:, None], second[None, :])
        noise = rng.normal(size=narrowest.shape)
        noise -= noise.mean(axis=0, keepdims=True) + noise.mean(axis=1, keepdims=True) - noise.mean()
        factors.append(_gated([i, j], narrowest + _PAIR * noise))
    return tuple(factors)


@cache
def latency_factors() -> tuple[Factor, ...]:
    """A made-up latency: width times width, as matrix products cost."""
    factors = []
    for position, choice in enumerate(SPACE.choices):
        if position in {_DEPTH, *(SPACE.index[f"{side}_embed"] for side in ("encoder", "decoder"))}:
            continue
        embed = SPACE.index[f"{choice.name.split('_')[0]}_embed"]
        widths = np.array(SPACE.choices[embed].values)[:, None]
        values = np.array(choice.values)[None, :]
        cost = 0.02 + 2e-5 * widths * values if _kind(choice.name) == "ffn" else 0.03 + 2e-4 * widths + 0.004 * values
        steps = 1.0 if choice.name.startswith("encoder") else 3.0
        factors.append(_gated([embed, position], steps * cost))
    return tuple(factors)


def _gated(positions: list[int], table: Array) -> Factor:
    """``table`` (axes as ``positions``), counted only where all its choices are active."""
    gate = np.prod([_gate(SPACE.choices[p]) for p in positions], axis=0)
    if gate.all():
        return _ordered(positions, table)
    if _DEPTH in positions:
        shape = [-1 if p == _DEPTH else 1 for p in positions]
        return _ordered(positions, table * gate.reshape(shape))
    return _ordered([_DEPTH, *positions], gate.reshape(-1, *[1] * table.ndim) * table[None])


def _ordered(positions: list[int], table: Array) -> Factor:
    order = sorted(range(len(positions)), key=positions.__getitem__)
    return Factor(tuple(positions[k] for k in order), np.ascontiguousarray(table.transpose(order)))


@cache
def truth() -> tuple[tuple[Candidate, ...], Genes, Array, Array]:
    """Every candidate with its gene, loss and latency (ms)."""
    candidates = tuple(SPACE)
    genes = np.array([[c.values.index(v[c.name]) if c.name in v else 0 for c in SPACE.choices]
                      for v in (candidate.as_dict() for candidate in candidates)])  # fmt: skip
    return candidates, genes, GatherSum(SPACE, loss_factors(), 1.5)(genes), latency_of(genes)


@cache
def _latency() -> GatherSum:
    return GatherSum(SPACE, latency_factors(), 0.1)


def latency_of(genes: Genes) -> Array:
    """Milliseconds, shape (candidates,)."""
    return _latency()(genes)


@cache
def losses() -> Mapping[Candidate, float]:
    """The loss of every candidate."""
    candidates, _, loss, _ = truth()
    return dict(zip(candidates, loss.tolist(), strict=True))


class LatencyLimit:
    """``Limits``: the stand-in latency must not exceed ``latency_ms``."""

    def __init__(self, latency_ms: float) -> None:
        self.latency_ms = latency_ms

    def allows(self, genes: Genes) -> npt.NDArray[np.bool_]:
        return latency_of(genes) <= self.latency_ms

    def describe(self) -> str:
        return f"latency <= {self.latency_ms:g} ms"


def limit_at(share: float) -> LatencyLimit:
    """The limit that this share of all candidates meets."""
    return LatencyLimit(float(np.quantile(truth()[3], share)))


def best_within(limits: LatencyLimit) -> tuple[Candidate, float]:
    """The true constrained optimum, by looking at every candidate."""
    candidates, genes, loss, _ = truth()
    best = int(np.argmin(np.where(limits.allows(genes), loss, np.inf)))
    return candidates[best], float(loss[best])


def variance_shares(depth: int | None = None) -> tuple[float, float]:
    """Shares of the loss's variance from single choices and from pairs (functional ANOVA).

    Over all genes, uniformly; or over those of one decoder ``depth`` at which every choice is
    active, so that no pair is only one layer's being there.
    """
    sizes = [len(choice.values) for choice in SPACE.choices]
    grid = np.array(list(np.ndindex(*sizes)))
    loss = GatherSum(SPACE, loss_factors())(grid).reshape(sizes)
    if depth is not None:
        loss = loss.take([SPACE.choices[_DEPTH].values.index(depth)], axis=_DEPTH)
    loss = loss - loss.mean()
    axes = range(loss.ndim)
    single = [loss.mean(axis=tuple(a for a in axes if a != i), keepdims=True) for i in axes]
    pairs = [
        loss.mean(axis=tuple(a for a in axes if a not in (i, j)), keepdims=True) - single[i] - single[j]
        for i, j in combinations(axes, 2)
    ]
    total = float((loss**2).mean())
    return (
        sum(float((e**2).mean()) for e in single) / total,
        sum(float((e**2).mean()) for e in pairs) / total,
    )
