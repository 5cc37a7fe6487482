"""Hard limits on several devices at once: what a candidate must meet on every one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.errors import InfeasibleError
from hwnas.limits import CandidateLimits
from hwnas.space import Candidate, Genes


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """A :class:`hwnas.search.protocol.Limits`; ``devices`` are the limits by the device's name, at least one.

    What is no device's (parameters, peak memory) stands with the first.
    """

    devices: Mapping[str, CandidateLimits]

    @property
    def first(self) -> CandidateLimits:
        """Of the device that finalists are measured on."""
        return next(iter(self.devices.values()))

    def allows(self, genes: Genes) -> npt.NDArray[np.bool_]:
        """For genes of shape (candidates, choices), which meet every limit everywhere; shape (candidates,)."""
        allowed = np.ones(len(genes), dtype=np.bool_)
        for limits in reversed(list(self.devices.values())):  # the first has what is costly to tell
            allowed[allowed] = limits.allows(genes[allowed])
        return allowed

    def describe(self) -> str:
        """``latency <= 0.5 ms``; with more than one device ``x86: latency <= 0.5 ms; pi4: latency <= 9 ms``."""
        if len(self.devices) == 1:
            return self.first.describe()
        told = {name: limits.describe() for name, limits in self.devices.items()}
        return "; ".join(f"{name}: {limit}" for name, limit in told.items() if limit != "no limit") or "no limit"

    def probes(self) -> tuple[Candidate, ...]:
        """Candidates likely to meet the limits if any does."""
        return tuple(dict.fromkeys(probe for limits in self.devices.values() for probe in limits.probes()))

    def check(self) -> None:
        """Refuse a limit that no candidate can meet on its device, telling the range; raises InfeasibleError."""
        for name, limits in self.devices.items():
            try:
                limits.check()
            except InfeasibleError as exc:
                if len(self.devices) == 1:
                    raise
                raise InfeasibleError(f"{name}: {exc}") from None
