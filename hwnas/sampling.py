"""How much is measured, and which whole models beside the operators."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from hwnas.space import Candidate, Choice, SearchSpace
from profiler import Device
from profiler.hardware import HardwareDevice

_DRAWS = 64
"""Random candidates among which the next calibration model is chosen."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A whole model to be timed beside the operators, and what for."""

    candidate: Candidate
    role: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How much is measured. Defaults give the shipped tables; each is recorded in the journal.

    After ``min_rounds`` an item is done when the 95 % interval of its latency is at most
    ``half_width`` of it to either side (None: every item has all ``rounds``), and after ``rounds``
    in any case; with ``budget_s`` the whole takes no longer than that many seconds.
    """

    rounds: int = 40
    samples: int = 5
    min_rounds: int = 10
    half_width: float | None = 0.02
    budget_s: float | None = None
    min_sample_ms: float = 2.0
    calibration: int = 10
    check: int = 10
    seed: int = 0
    memory_limit_mib: int = 8192
    extra: tuple[Candidate, ...] = field(default=())

    @classmethod
    def usual(cls, device: Device) -> Sampling:
        """The defaults; a virtual clock repeats, so few rounds do, and each is another process."""
        if isinstance(device, HardwareDevice) and device.effective_clock == "virtual":
            return cls(rounds=3, samples=2, half_width=None)
        return cls()


def choose_models(space: SearchSpace, sampling: Sampling) -> tuple[ModelChoice, ...]:
    """The whole models of a plan: calibration, check, and extra ones.

    The calibration models are the smallest, the largest, and others by which every value of every
    choice occurs about equally often: ten uniform draws may hold two narrow decoders. The check
    models are uniform draws, and none is a calibration model: a held-out error must be held out.
    """
    rng = random.Random(f"{sampling.seed}/models")
    chosen: dict[Candidate, str] = {}
    if sampling.calibration >= 2:
        chosen = {space.extreme(0): "calibration", space.extreme(-1): "calibration"}
    size = space.size()
    while len(chosen) < min(sampling.calibration, size):
        chosen[_rarest(space, chosen, rng)] = "calibration"
    while len(chosen) < min(sampling.calibration + sampling.check, size):
        chosen.setdefault(space.sample(rng), "check")
    for candidate in sampling.extra:
        chosen.setdefault(candidate, "extra")
    return tuple(ModelChoice(candidate, role) for candidate, role in chosen.items())


def _rarest(space: SearchSpace, chosen: Collection[Candidate], rng: random.Random) -> Candidate:
    """Of some random candidates the new one whose values occur least among ``chosen``.

    Counted are the choices that every candidate has, each against the share its values should
    have; the layers of a kind weigh as much together as a width or a depth.
    """
    seen = Counter(entry for candidate in chosen for entry in candidate.entries)
    kinds: dict[str, list[Choice]] = {}
    for choice in space.choices:
        if choice.when is None:
            kinds.setdefault(choice.name.split(".")[0], []).append(choice)

    def commonness(candidate: Candidate) -> float:
        return sum(
            sum(len(choice.values) * seen[choice.name, candidate[choice.name]] for choice in choices) / len(choices)
            for choices in kinds.values()
        )

    drawn: list[Candidate] = []
    while not drawn:
        drawn = [candidate for candidate in (space.sample(rng) for _ in range(_DRAWS)) if candidate not in chosen]
    return min(drawn, key=commonness)
