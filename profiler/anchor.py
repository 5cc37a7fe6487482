"""The level of a device in an earlier session, at which a later one tells its latencies.

A device is some per cent faster or slower from one session to the next, and one session cannot tell. Its reference
workloads can: in ten sessions of one virtual machine within five hours the common level of the operators of `g2p`
moved from -2 to +6 %, and within 1 % once the compute reference had been divided out. The memory reference moved by
10 % meanwhile, which no operator followed, so that it counts for nothing between sessions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from profiler.reference_track import BOUND

MADE_OF = ("cpu_model", "gpu_name", "numpy", "threads")
"""The facts of a machine without which its references' latencies are not to be compared."""

SPREAD = 0.01
"""Standard deviation, as a share, of what is left between two sessions of which one is told at the other's level.

It is no part of an interval over one session's rounds, for no number of rounds makes it smaller. Seen were 0.5 % for
the median operator (ten sessions); with 1 % the intervals of predictions held 93 to 99 % in three (docs/results.md).
"""

OWN_SPREAD = 0.03
"""The same of two sessions that are told each at its own level, as those ten differed from each other."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The compute reference's undisturbed latency in ms in a session, and the facts that it depends on."""

    compute_ms: float
    made_of: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, compute_ms: float, facts: Mapping[str, object]) -> Anchor:
        """Of a session in which the compute reference took so long and the device told these facts."""
        return cls(compute_ms, {name: facts[name] for name in MADE_OF if facts.get(name) is not None})

    def factor(self, compute_ms: float) -> float:
        """What the latencies of a session are multiplied by in which the compute reference took ``compute_ms``."""
        return self.compute_ms / compute_ms

    def refusal(self, compute_ms: float | None, facts: Mapping[str, object]) -> str | None:
        """Why a session with such a reference and these facts cannot be told at this level; None if it can."""
        for name, then in self.made_of.items():
            if facts.get(name, then) != then:
                return f"{name} was {then}, is {facts[name]}"
        if compute_ms is None:
            return "its compute reference was not taken"
        if abs(math.log(self.factor(compute_ms))) > BOUND:
            return f"its compute reference takes {1 / self.factor(compute_ms):.2f} times as long"
        return None
