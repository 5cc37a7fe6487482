"""Joint search of network and accelerator: pairs on a Pareto front, by default of loss, latency and energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from hwnas.candidates import write_candidate
from hwnas.design_costs import DesignCosts, Table
from hwnas.design_space import PREFIX, Design, Objective
from hwnas.errors import InfeasibleError
from hwnas.files import write_json, write_text
from hwnas.limits import CandidateLimits
from hwnas.profiling import Progress, quietly
from hwnas.search.journal import SearchJournal
from hwnas.search.nsga2 import Nsga2, Nsga2Settings, pareto_front
from hwnas.search.protocol import Evaluator
from hwnas.search.run import search_header
from hwnas.space import Candidate, Genes, SearchSpace
from profiler.simulators.estimate import Provenance
from profiler.simulators.registry import code_fingerprint

JOURNAL, FRONT = "cosearch.journal.jsonl", "front.json"
"""In the folder: the loss of every network evaluated, and the result, whose networks and devices stand beside it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A network with an accelerator: validation ``loss`` in nats per token, and estimates of one inference there.

    ``energy_mj`` is ``None`` where the engine has none; ``peak_memory_mib`` is the network's own, in fp32.
    """

    network: Candidate
    design: Design
    loss: float
    latency_ms: float
    energy_mj: float | None
    peak_memory_mib: float
    provenance: Provenance

    @property
    def area_mm2(self) -> float | None:
        """Of the accelerator, where the engine knows it."""
        return self.design.area_mm2

    def objectives(self, names: Sequence[Objective]) -> tuple[float, ...]:
        """The figures of these names."""
        return tuple(float(getattr(self, name)) for name in names)

    def as_dict(self) -> dict[str, object]:
        """JSON-able; network and design by the names of their files."""
        return {
            "network": self.network.key,
            "accelerator": self.design.name,
            "choices": self.network.as_dict(),
            "parameters": dict(self.design.chosen),
            "loss": self.loss,
            "latency_ms": self.latency_ms,
            "energy_mj": self.energy_mj,
            "peak_memory_mib": self.peak_memory_mib,
            "area_mm2": self.area_mm2,
            "source": "estimated",
            "provenance": self.provenance.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class CoSearchOutcome:
    """The front, by rising first objective, and what was looked at to find it."""

    objectives: tuple[Objective, ...]
    front: tuple[Pair, ...]
    limits: str
    evaluated: int
    networks: int
    designs: int
    refused: tuple[str, ...]

    @property
    def origin(self) -> str:
        """Where latency, energy and area are from, to be shown with them."""
        told = sorted({f"{p.engine} {p.version} ({p.fidelity})" for p in (pair.provenance for pair in self.front)})
        return f"estimated by {', '.join(told)}"

    def as_dict(self) -> dict[str, object]:
        """JSON-able."""
        return {
            "method": "nsga2",
            "objectives": list(self.objectives),
            "source": "estimated",
            "origin": self.origin,
            "limits": self.limits,
            "pairs_evaluated": self.evaluated,
            "networks_evaluated": self.networks,
            "designs_estimated": self.designs,
            "designs_refused": sorted(set(self.refused)),
            "front": [pair.as_dict() for pair in self.front],
        }


def joint_space(space: SearchSpace, costs: DesignCosts) -> SearchSpace:
    """The choices of ``space`` and, after them, those of the accelerator."""
    name = f"{space.name}+{costs.designs.device.name}"
    return SearchSpace(name, space.family, (*space.choices, *costs.designs.choices), space.fixed, space.workload)


@dataclass(frozen=True)
class PairLimits:
    """Hard limits of pairs (a :class:`hwnas.search.protocol.Limits`): the design can be, the network meets ``network``.

    ``latency_ms`` and ``energy_mj`` are held against estimates; ``None`` is no limit.
    """

    network: CandidateLimits
    costs: DesignCosts
    latency_ms: float | None = None
    energy_mj: float | None = None

    def __post_init__(self) -> None:
        for name in ("latency_ms", "energy_mj"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InfeasibleError(f"limit {name} is {value}; it must be a number above 0")

    def allows(self, genes: Genes) -> npt.NDArray[np.bool_]:
        """For genes of pairs, shape (pairs, choices of both), which meet every limit; shape (pairs,)."""
        allowed = self.network.allows(genes[:, : len(self.network.space.choices)])
        allowed[allowed] = self.costs.possible(genes[allowed])
        if self.latency_ms is not None or self.energy_mj is not None:
            latency_ms, energy_mj = self.costs(genes[allowed]).T
            within = np.ones(len(latency_ms), dtype=np.bool_)
            if self.latency_ms is not None:
                within &= latency_ms <= self.latency_ms
            if self.energy_mj is not None:
                if np.isnan(energy_mj).any():
                    raise InfeasibleError(
                        f"an energy limit needs energies, and {self.costs.designs.device.name!r} does not tell them all"
                    )
                within &= energy_mj <= self.energy_mj
            allowed[allowed] = within
        return allowed

    def describe(self) -> str:
        """``latency <= 0.5 ms, area <= 4 mm2``."""
        area_mm2 = self.costs.designs.area_mm2
        limits = (("latency", self.latency_ms, "ms"), ("energy", self.energy_mj, "mJ"), ("area", area_mm2, "mm2"))
        parts = [f"{name} <= {value:g} {unit}" for name, value, unit in limits if value is not None]
        network = self.network.describe()
        return ", ".join([*parts, *([] if network == "no limit" else [network])]) or network


@dataclass(frozen=True, slots=True)
class CoSearchRequest:
    """How to search; ``evaluator`` says what the losses are from, so that others are never mixed in."""

    evaluator: str
    settings: Nsga2Settings = field(default_factory=Nsga2Settings)
    seed: int = 0


def co_search(
    space: SearchSpace,
    evaluate: Evaluator,
    limits: PairLimits,
    request: CoSearchRequest,
    out: Path,
    *,
    progress: Progress = quietly,
) -> CoSearchOutcome:
    """Search pairs by NSGA-II and write the front of all that were evaluated to ``out``.

    ``evaluate`` gives the loss of a network; it is asked once for each, whatever accelerators it is
    paired with, and the answer journaled. The same call after an interruption repeats no evaluation
    and ends with the same front. Raises :class:`InfeasibleError` if no pair meets the limits.
    """
    limits.network.check()
    costs, settings = limits.costs, request.settings
    joint = joint_space(space, costs)
    header = search_header(
        space,
        searcher="nsga2",
        settings=settings.as_dict(),
        seed=request.seed,
        limits=limits.describe(),
        evaluator=request.evaluator,
        latency=f"{costs.designs.fingerprint}/{code_fingerprint()}",
    )
    searcher = Nsga2(joint, limits, settings, seed=request.seed, probes=_probes(joint))
    pairs: dict[Candidate, Pair] = {}
    names = costs.designs.objectives
    asked = _asked(searcher, costs)  # what cannot be is refused before anything is written
    with SearchJournal(out / JOURNAL, space, header) as journal:
        networks: set[Candidate] = set()
        while asked:
            figures = costs(joint.encode_many(asked))
            scored = journal.evaluated([_network(space, pair) for pair in asked], evaluate)
            for pair, (latency_ms, energy_mj), evaluation in zip(asked, figures, scored, strict=True):
                network, table = evaluation.candidate, _table(costs, pair)
                networks.add(network)
                pairs[pair] = Pair(
                    network,
                    table.design,
                    loss=evaluation.loss,
                    latency_ms=float(latency_ms),
                    energy_mj=None if np.isnan(energy_mj) else float(energy_mj),
                    peak_memory_mib=limits.network.peak_memory_of(network),
                    provenance=table.provenance,
                )
                note = f"{len(networks)} networks, {len(costs.tables)} designs"
                progress(len(pairs), settings.evaluations, note)
            searcher.tell(asked, np.array([pairs[pair].objectives(names) for pair in asked]))
            asked = _asked(searcher, costs)
    evaluated = tuple(pairs.values())
    front = [evaluated[row] for row in pareto_front(np.array([pair.objectives(names) for pair in evaluated]))]
    outcome = CoSearchOutcome(
        objectives=names,
        front=tuple(sorted(front, key=lambda pair: (pair.objectives(names), pair.network.key, pair.design.name))),
        limits=limits.describe(),
        evaluated=len(evaluated),
        networks=len(networks),
        designs=len(costs.tables),
        refused=tuple(costs.refused.values()),
    )
    _write(space, outcome, out)
    return outcome


def _asked(searcher: Nsga2, costs: DesignCosts) -> tuple[Candidate, ...]:
    try:
        return searcher.ask()
    except InfeasibleError as exc:
        if costs.tables or not costs.refused:
            raise
        raise InfeasibleError(
            f"no accelerator of the design space can be: {next(iter(costs.refused.values()))}"
        ) from exc


def _probes(joint: SearchSpace) -> tuple[Candidate, ...]:
    """The smallest network with the first and the last design."""
    last = {choice.name: choice.values[-1] for choice in joint.choices if choice.name.startswith(PREFIX)}
    smallest = joint.extreme(0)
    return smallest, joint.candidate({**smallest.as_dict(), **last})


def _network(space: SearchSpace, pair: Candidate) -> Candidate:
    return space.candidate({name: value for name, value in pair.entries if not name.startswith(PREFIX)})


def _table(costs: DesignCosts, pair: Candidate) -> Table:
    table = costs.table(tuple(value for name, value in pair.entries if name.startswith(PREFIX)))
    assert table is not None, "a pair was evaluated that cannot be"
    return table


def _write(space: SearchSpace, outcome: CoSearchOutcome, out: Path) -> None:
    for network in {pair.network: None for pair in outcome.front}:
        write_candidate(out / "networks" / f"{network.key}.yml", space, network)
    write_text(out / "devices.yaml", _registry([pair.design for pair in outcome.front]))
    write_json(out / FRONT, outcome.as_dict())


def _registry(designs: Sequence[Design]) -> str:
    devices: dict[str, Mapping[str, object]] = {}
    for design in sorted(designs, key=lambda design: design.name):
        chosen = ", ".join(f"{name} {value}" for name, value in design.chosen.items())
        fields = design.device.model_dump(mode="json", exclude={"name"} if design.device.host else {"name", "host"})
        devices[design.name] = fields | {"description": chosen}
    return yaml.safe_dump({"devices": devices}, sort_keys=False, allow_unicode=True)
