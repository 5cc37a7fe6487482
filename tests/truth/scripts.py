"""What may disturb the device of known truth, one script per kind; drawn anew for every run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from truth.device import Noise, Script, Slowdown

HORIZON_MS = 120e3


@dataclass(frozen=True)
class Disturbed:
    """A script and the noise of the device it plays on."""

    script: Script
    noise: Noise = field(default_factory=Noise)


def slow_drift(rng: np.random.Generator) -> Slowdown:
    """Up to 8 to 16 % slower and back in 2 to 5 s, compute and memory each in its own time; a round takes 0.4 s."""
    depths, periods = np.log1p(rng.uniform(0.08, 0.16, 2)), rng.uniform(2e3, 5e3, 2)
    phases = rng.uniform(0, 2 * math.pi, 2)

    def slowdown(now_ms: float, _: np.random.Generator) -> tuple[float, float]:
        wave = depths * (1 + np.sin(2 * math.pi * now_ms / periods + phases)) / 2
        return float(np.exp(wave[0])), float(np.exp(wave[1]))

    return slowdown


def episodes(rng: np.random.Generator, gap_ms: float, length_ms: tuple[float, float], most: float) -> np.ndarray:
    """Starts and ends of episodes that come at random, at most for a share of ``most``; shape (episodes, 2)."""
    found, now = [], rng.exponential(gap_ms)
    while now < HORIZON_MS:
        length = rng.uniform(*length_ms)
        found.append((now, now + length))
        now += length + max(rng.exponential(gap_ms), length * (1 / most - 1) / 2)
    return np.array(found)


def during(episodes: np.ndarray, compute: np.ndarray, memory: np.ndarray) -> Slowdown:
    """Slower by these factors (one per episode) while an episode lasts."""

    def slowdown(now_ms: float, _: np.random.Generator) -> tuple[float, float]:
        index = int(np.searchsorted(episodes[:, 0], now_ms, side="right")) - 1
        if index >= 0 and now_ms < episodes[index, 1]:
            return float(compute[index]), float(memory[index])
        return 1.0, 1.0

    return slowdown


def frequency_steps(rng: np.random.Generator) -> Slowdown:
    """The clock frequency falls for several rounds: compute 40 % slower, memory 30 %."""
    when = episodes(rng, 2500, (800, 2000), 0.4)
    return during(when, np.full(len(when), 1.4), np.full(len(when), 1.3))


def small_steps(rng: np.random.Generator) -> Slowdown:
    """The clock frequency falls by little for several rounds: 10 to 20 % slower, the same in every episode."""
    when, depths = episodes(rng, 2500, (800, 2000), 0.4), rng.uniform(1.1, 1.2, 2)
    return during(when, np.full(len(when), depths[0]), np.full(len(when), depths[1]))


def neighbour(rng: np.random.Generator) -> Slowdown:
    """A neighbour comes for 3 to 12 visits: it takes memory bandwidth above all."""
    when = episodes(rng, 800, (35, 150), 0.2)
    return during(when, rng.uniform(1.35, 1.8, len(when)), rng.uniform(1.5, 2.5, len(when)))


def stolen(rng: np.random.Generator) -> Slowdown:
    """The host of the virtual machine takes the processor away now and then."""
    when = episodes(rng, 1500, (50, 300), 0.2)
    share = rng.uniform(1.4, 3.0, len(when))
    return during(when, share, share)


def jumps(rng: np.random.Generator, each_ms: float = 1500) -> tuple[tuple[float, float], ...]:
    """The wall clock is set forward or back by 1 ms to 10 s."""
    times = np.cumsum(rng.exponential(each_ms, int(HORIZON_MS / each_ms)))
    by_ms = rng.choice([-1, 1], len(times)) * 10 ** rng.uniform(0, 4, len(times))
    return tuple(zip(times.tolist(), by_ms.tolist(), strict=True))


def failures(rng: np.random.Generator) -> Script:
    """A worker that dies nine times and hangs three times in the first 6,000 requests."""
    requests = [int(number) for number in rng.choice(6000, 12, replace=False)]
    return Script(dies_at=frozenset(requests[:9]), hangs_at=frozenset(requests[9:]))


SCRIPTS: dict[str, Callable[[np.random.Generator], Disturbed]] = {
    "none": lambda rng: Disturbed(Script()),
    "heavy tail": lambda rng: Disturbed(Script(), Noise(jitter=0.01, tail_share=0.4, tail=0.2)),
    "slow drift": lambda rng: Disturbed(Script((slow_drift(rng),))),
    "frequency steps": lambda rng: Disturbed(Script((frequency_steps(rng),))),
    "small steps": lambda rng: Disturbed(Script((small_steps(rng),))),
    "neighbour": lambda rng: Disturbed(Script((neighbour(rng),))),
    "1 us clock": lambda rng: Disturbed(Script(granularity_ns=1_000)),
    "10 ms clock": lambda rng: Disturbed(Script(granularity_ns=10_000_000)),
    "clock jumps": lambda rng: Disturbed(Script(clock_jumps=jumps(rng))),
    "steal": lambda rng: Disturbed(Script(steal=stolen(rng))),
    "dying worker": lambda rng: Disturbed(failures(rng)),
    "drift, steps and neighbour": lambda rng: Disturbed(
        Script((slow_drift(rng), frequency_steps(rng), neighbour(rng)), granularity_ns=1_000)
    ),
}
KINDS = tuple(SCRIPTS)


def scripted(kind: str, seed: int) -> Disturbed:
    """One run's script of a kind of :data:`KINDS`."""
    return SCRIPTS[kind](np.random.default_rng([seed, *kind.encode()]))
