"""The rows of a table: one operator measured, or one whole model measured in the same rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from latency_luts.operator import OperatorSpec

Role = Literal["calibration", "check", "extra"]
"""Fitted on; held out to test the table; measured for its own sake (a search's winner)."""

Status = Literal["converged", "budget", "unstable"]
"""Measured until the interval was tight; until the budget was spent; without ever settling."""

DISPATCH = OperatorSpec.of("dispatch")
"""The empty graph: what calling the runtime costs when there is nothing to do."""


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One operator's latency, with where it came from.

    ``metrics`` holds further named numbers, their units in their names (``energy_mj``,
    ``wall_ms``, ``spread``). ``parity_error`` is the largest absolute difference between the
    measured artifact's outputs and PyTorch's (``None`` in a row taken over from elsewhere, whose
    artifact nobody here compared). ``streamed_bytes`` are the weights every call reads.
    ``interval_ms`` is the 95 % interval of ``latency_ms``, ``raw_ms`` the latency before drift was
    corrected; both and ``status`` are ``None`` where they are not known: in tables of older code,
    and of estimates and counted instructions, which have no sampling error.
    """

    operator: OperatorSpec
    latency_ms: float
    rounds: int
    samples: int
    artifact_sha256: str
    parity_error: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    streamed_bytes: int = 0
    interval_ms: tuple[float, float] | None = None
    raw_ms: float | None = None
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class WholeModel:
    """A whole model measured in the same rounds as the operators.

    ``operators`` says how often the model pays each operator. ``halves_ms`` are its latencies
    over the even and over the odd rounds: what two measurements of one truth differ by (``None``
    if not known).
    ``candidate`` is whatever names the model in its space. ``interval_ms``, ``status`` and ``metrics``
    as in an :class:`OperatorRow`.
    """

    model: str
    role: Role
    candidate: Mapping[str, int]
    operators: Mapping[OperatorSpec, int]
    latency_ms: float
    halves_ms: tuple[float, float] | None
    rounds: int
    samples: int
    artifact_sha256: str
    parity_error: float | None
    interval_ms: tuple[float, float] | None = None
    status: Status | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    def scaled(self, factor: float) -> WholeModel:
        """The same at another level of the device: all latencies times ``factor``."""
        halves, interval = (
            None if pair is None else (factor * pair[0], factor * pair[1])
            for pair in (self.halves_ms, self.interval_ms)
        )
        return replace(self, latency_ms=factor * self.latency_ms, halves_ms=halves, interval_ms=interval)
