"""What a candidate must not exceed: predicted latency or its upper bound, energy, parameters, peak memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hwnas.errors import InfeasibleError
from hwnas.families.base import Family
from hwnas.latency import TableSum
from hwnas.search.protocol import BoundedLatency, LatencyModel, RangedLatency
from hwnas.space import Candidate, Genes, SearchSpace
from hwnas.workload import Workload


@dataclass(frozen=True)
class CandidateLimits:
    """Hard limits (a :class:`hwnas.search.protocol.Limits`); ``None`` is no limit.

    ``latency`` is needed for ``latency_ms``, which is held against predictions, or with a
    ``confidence`` against what a fresh measurement stays below so often; ``energy`` for ``energy_mj``.
    Parameters are counted in full (embeddings and output layer too), in millions; peak memory is the
    family's, in MiB, for ``workload``. Both are computed once per candidate, and only for candidates
    that meet the other limits.

    Raises :class:`InfeasibleError` for a limit that is no amount, or lacks what it is held against, and
    :class:`latency_luts.LutError` for a confidence about a table that knows no intervals.
    """

    space: SearchSpace
    family: Family
    workload: Workload
    latency: LatencyModel | None = None
    latency_ms: float | None = None
    params_m: float | None = None
    peak_memory_mib: float | None = None
    confidence: float | None = None
    energy: TableSum | None = None
    energy_mj: float | None = None
    _known: dict[Candidate, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("latency_ms", "energy_mj", "params_m", "peak_memory_mib"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InfeasibleError(f"limit {name} is {value}; it must be a number above 0")
        if self.latency_ms is not None and self.latency is None:
            raise InfeasibleError(f"a latency limit of {self.latency_ms:g} ms needs a latency table")
        if self.energy_mj is not None and self.energy is None:
            raise InfeasibleError(f"an energy limit of {self.energy_mj:g} mJ needs a table with energies")
        if self.confidence is not None and self.latency_ms is not None:
            if not isinstance(self.latency, BoundedLatency):
                raise InfeasibleError(f"a confidence of {self.confidence:g} needs a latency table with intervals")
            self.bound_ms(self.space.encode_many([self.space.extreme(0)]))  # says what is wrong with it, if anything

    def allows(self, genes: Genes) -> npt.NDArray[np.bool_]:
        """For genes of shape (candidates, choices), which meet every limit; shape (candidates,)."""
        allowed = np.ones(len(genes), dtype=np.bool_)
        if self.latency is not None and self.latency_ms is not None:
            allowed &= self.bound_ms(genes) <= self.latency_ms
        if self.energy is not None and self.energy_mj is not None:
            allowed &= self.energy(genes) <= self.energy_mj
        if self.params_m is not None or self.peak_memory_mib is not None:
            for row in np.flatnonzero(allowed):
                allowed[row] = self._fits(self.space.decode(genes[row]))
        return allowed

    def bound_ms(self, genes: Genes) -> npt.NDArray[np.float64]:
        """What the latency limit is held against."""
        assert self.latency is not None
        if self.confidence is not None and isinstance(self.latency, BoundedLatency):
            return self.latency.upper_ms(genes, self.confidence)
        return self.latency.latency_ms(genes)

    def _fits(self, candidate: Candidate) -> bool:
        known = self._known.get(candidate)
        if known is None:
            known = self.params_m is None or self.params_of(candidate) <= self.params_m
            if known and self.peak_memory_mib is not None:
                known = self.peak_memory_of(candidate) <= self.peak_memory_mib
            self._known[candidate] = known
        return known

    def params_of(self, candidate: Candidate) -> float:
        """Millions of parameters of a candidate, all counted."""
        return self.family.count(self.space, candidate, self.workload, "full").params / 1e6

    def peak_memory_of(self, candidate: Candidate) -> float:
        """MiB of a candidate, as the family counts it."""
        return self.family.peak_memory_bytes(self.space, candidate, self.workload) / 2**20

    def describe(self) -> str:
        """``latency <= 0.5 ms, params <= 1 M``; ``no limit`` if there is none."""
        sure = "" if self.confidence is None else f" at {100 * self.confidence:g} % confidence"
        parts = [
            f"{name} <= {value:g} {unit}"
            for name, value, unit in (
                ("latency", self.latency_ms, f"ms{sure}"),
                ("energy", self.energy_mj, "mJ"),
                ("params", self.params_m, "M"),
                ("peak memory", self.peak_memory_mib, "MiB"),
            )
            if value is not None
        ]
        return ", ".join(parts) or "no limit"

    def probes(self) -> tuple[Candidate, ...]:
        """Candidates likely to meet the limits if any does: the smallest one and the fastest one."""
        smallest = self.space.extreme(0)
        fastest = self.latency.fastest() if isinstance(self.latency, RangedLatency) else None
        thriftiest = None if self.energy is None else self.energy.least()
        return (*(found[1] for found in (fastest, thriftiest) if found is not None), smallest)

    def check(self) -> None:
        """Refuse a limit that no candidate can meet, telling the feasible range.

        Each limit is checked alone (latency exactly, where the table's terms allow it; size and
        memory at the smallest candidate). Limits that exclude each other only together are found
        by the search's sampler. Raises :class:`InfeasibleError`.
        """
        smallest, largest = self.space.extreme(0), self.space.extreme(-1)
        if self.latency_ms is not None and self.latency is not None:
            low, high = latency_range_ms(self.space, self.latency)
            ends = f"the fastest candidate has {low:.4g} ms, the slowest {high:.4g} ms"
            if self.confidence is not None and isinstance(self.latency, RangedLatency):
                least_ms = self.latency.least_upper_ms(self.confidence)
                if least_ms is not None:
                    low, ends = least_ms, f"{ends}, and none can be shown to stay below {least_ms:.4g} ms"
            self._refuse("latency", self.latency_ms < low, ends)
        if self.energy_mj is not None and self.energy is not None:
            least, most = self.energy.least(), self.energy.most()
            if least is not None and most is not None:
                ends = f"the thriftiest candidate takes {least[0]:.4g} mJ, the hungriest {most[0]:.4g} mJ"
                self._refuse("energy", self.energy_mj < least[0], ends)
        if self.params_m is not None:
            low, high = self.params_of(smallest), self.params_of(largest)
            ends = f"the smallest candidate has {low:.4g} M, the largest {high:.4g} M"
            self._refuse("params", self.params_m < low, ends)
        if self.peak_memory_mib is not None:
            low, high = self.peak_memory_of(smallest), self.peak_memory_of(largest)
            ends = f"the smallest candidate needs {low:.4g} MiB, the largest {high:.4g} MiB"
            self._refuse("peak memory", self.peak_memory_mib < low, ends)

    def _refuse(self, what: str, infeasible: bool, ends: str) -> None:
        if infeasible:
            raise InfeasibleError(
                f"no candidate of space {self.space.name!r} meets {self.describe()}: {what} is out of reach, {ends}"
            )


def latency_range_ms(space: SearchSpace, latency: LatencyModel) -> tuple[float, float]:
    """Least and greatest latency over the space: each exact where it is known, else of the extreme candidates."""
    ends = latency.latency_ms(space.encode_many([space.extreme(0), space.extreme(-1)]))
    fastest, slowest = (latency.fastest(), latency.slowest()) if isinstance(latency, RangedLatency) else (None, None)
    return (
        float(ends.min()) if fastest is None else fastest[0],
        float(ends.max()) if slowest is None else slowest[0],
    )
