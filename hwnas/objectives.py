"""What candidates are judged by besides their loss: latency and energy on every device, parameters, peak memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from hwnas.device_limits import DeviceLimits
from hwnas.errors import SearchError
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits
from hwnas.search.fronts import LOSS
from hwnas.space import Candidate, Genes

Array = npt.NDArray[np.float64]
Objective = Literal["loss", "latency_ms", "energy_mj", "params_m", "peak_memory_mib"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


@dataclass(frozen=True, slots=True)
class CandidateCosts:
    """A :class:`hwnas.search.protocol.Costs`: ``columns`` by their name, each of genes, shape (candidates,)."""

    columns: Mapping[str, Callable[[Genes], Array]]

    @property
    def names(self) -> tuple[str, ...]:
        """``latency_ms``; where there are several devices ``latency_ms/x86``, ``latency_ms/pi4``."""
        return tuple(self.columns)

    def __call__(self, genes: Genes) -> Array:
        """For genes of shape (candidates, choices); shape (candidates, names)."""
        return np.column_stack([column(genes) for column in self.columns.values()])


def costs_of(objectives: Sequence[str], limits: DeviceLimits) -> CandidateCosts | None:
    """The costs among ``objectives`` (the loss goes without saying); ``None`` if there are none.

    Latency and energy count on every device, by its own table. Raises :class:`SearchError` for an unknown
    objective, and for energy where a table has none.
    """
    unknown = sorted(set(objectives) - set(OBJECTIVES))
    if unknown:
        raise SearchError(f"objective {', '.join(unknown)} is unknown; known: {', '.join(OBJECTIVES)}")
    columns: dict[str, Callable[[Genes], Array]] = {}
    for objective in dict.fromkeys(objectives):
        if objective in ("latency_ms", "energy_mj"):
            for device, its in limits.devices.items():
                name = objective if len(limits.devices) == 1 else f"{objective}/{device}"
                columns[name] = _latency(its) if objective == "latency_ms" else _energy(device, its)
        elif objective != LOSS:
            columns[objective] = _counted(limits.first, objective)
    return CandidateCosts(columns) if columns else None


def _latency(limits: CandidateLimits) -> Callable[[Genes], Array]:
    assert limits.latency is not None
    return limits.latency.latency_ms


def _energy(device: str, limits: CandidateLimits) -> Callable[[Genes], Array]:
    latency = limits.latency
    if not isinstance(latency, TableLatency) or "energy_mj" not in latency.metrics:
        raise SearchError(f"energy_mj cannot be an objective: what is known of {device} has no energies")
    return latency.metric("energy_mj")


def _counted(limits: CandidateLimits, objective: str) -> Callable[[Genes], Array]:
    """Counted by the family, once per candidate."""
    known: dict[Candidate, float] = {}

    def one(candidate: Candidate) -> float:
        if candidate not in known:
            known[candidate] = (
                limits.params_of(candidate) if objective == "params_m" else limits.peak_memory_of(candidate)
            )
        return known[candidate]

    def column(genes: Genes) -> Array:
        return np.array([one(limits.space.decode(gene)) for gene in genes], dtype=np.float64)

    return column
