"""Latency and energy of networks on accelerators: every operator estimated once a design, then only gathered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporters import Artifact
from hwnas.design_space import Design, DesignSpace
from hwnas.errors import AcceleratorError
from hwnas.estimating import prover
from hwnas.factors import Array, GatherCounts
from hwnas.families.base import Family
from hwnas.families.deployed import as_deployed
from hwnas.files import write_json
from hwnas.latency import operators_of
from hwnas.profiling import Progress, build_plan, quietly
from hwnas.sampling import Sampling
from hwnas.space import Genes, SearchSpace
from hwnas.workload import Workload
from latency_luts import OperatorSpec
from latency_luts.rows import DISPATCH
from profiler.errors import SimulationError
from profiler.exporting import open_exporter
from profiler.simulators.device import SimulatedDevice
from profiler.simulators.estimate import Provenance
from profiler.simulators.registry import code_fingerprint, open_estimator


@dataclass(frozen=True, slots=True)
class Table:
    """What every operator costs on one design: arrays of shape (operators,), in ms and mJ; energies NaN if unknown."""

    design: Design
    latency_ms: Array
    energy_mj: Array
    provenance: Provenance


def export_operators(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    device: SimulatedDevice,
    cache: Path,
    exporting: Progress = quietly,
) -> dict[OperatorSpec, Artifact]:
    """Every operator of ``space`` in the format ``device``'s engine reads, its outputs proven to be PyTorch's."""
    with open_exporter(device.engine) as exporter:
        kind = as_deployed(family, device.engine)
        plan = build_plan(space, kind, workload, Sampling(calibration=0, check=0), exporter, cache, exporting)
    artifacts = {}
    with prover(device, cache) as prove:
        for item in plan.items:
            if item.name != str(DISPATCH):
                (stage,) = item.program.stages
                prove(stage.artifact)
                artifacts[OperatorSpec.parse(item.name)] = stage.artifact
    return artifacts


class DesignCosts:
    """Costs of pairs of a network and an accelerator, for many pairs at once; all are estimates.

    A design's table is made when it is first asked for and kept in ``cache``. The designs that turned out
    to be impossible, with the reason, are in ``refused``.
    """

    def __init__(
        self,
        space: SearchSpace,
        family: Family,
        workload: Workload,
        designs: DesignSpace,
        artifacts: Mapping[OperatorSpec, Artifact],
        cache: Path,
    ) -> None:
        """``artifacts`` must hold every operator of ``space`` for ``workload``."""
        kind = as_deployed(family, designs.device.engine)
        self.designs, self.refused = designs, dict[tuple[int, ...], str]()
        self._operators = operators_of(space, kind, workload)
        self._artifacts = [artifacts[operator] for operator in self._operators]
        self._counts = GatherCounts(space, kind.terms(space, workload), self._operators)
        self._network, self._cache = len(space.choices), cache / "designs"
        self._tables: dict[tuple[int, ...], Table | None] = {}

    @property
    def tables(self) -> tuple[Table, ...]:
        """Of the designs asked for so far."""
        return tuple(table for table in self._tables.values() if table is not None)

    def table(self, positions: tuple[int, ...]) -> Table | None:
        """Of the design at these positions; ``None`` if it cannot be.

        Raises :class:`AcceleratorError` if energy is an objective and its engine tells none.
        """
        if positions not in self._tables:
            try:
                table = self._estimated(self.designs.design(positions))
            except SimulationError as exc:
                self._tables[positions] = None
                self.refused[positions] = str(exc)
            else:
                if "energy_mj" in self.designs.objectives and np.isnan(table.energy_mj).any():
                    raise AcceleratorError(
                        f"{self.designs.device.name!r} ({self.designs.device.engine}) does not tell every operator's"
                        " energy: name other objectives, choose another device, or give this one and its host"
                        " unit energies"
                    )
                self._tables[positions] = table
        return self._tables[positions]

    def possible(self, genes: Genes) -> npt.NDArray[np.bool_]:
        """For genes of pairs, of shape (pairs, choices of network and design), which can be built; shape (pairs,)."""
        return np.array([self.table(self._positions(gene)) is not None for gene in genes], dtype=np.bool_)

    def __call__(self, genes: Genes) -> Array:
        """Latency (ms) and energy (mJ; NaN if unknown) of possible pairs; shape (pairs, 2)."""
        tables = []
        for gene in genes:
            table = self.table(self._positions(gene))
            if table is None:
                raise SimulationError(self.refused[self._positions(gene)])
            tables.append(np.stack([table.latency_ms, table.energy_mj]))
        counts = self._counts(genes[:, : self._network])
        stacked = np.stack(tables) if tables else np.empty((0, 2, len(self._operators)))
        # summed one pair at a time: a pair costs the same whatever others are asked about with it
        return np.array([table @ count for table, count in zip(stacked, counts, strict=True)]).reshape(-1, 2)

    def _positions(self, gene: Genes) -> tuple[int, ...]:
        return tuple(int(position) for position in gene[self._network :])

    def _estimated(self, design: Design) -> Table:
        estimator = open_estimator(design.device)
        provenance = estimator.provenance
        content = [provenance.as_dict(), code_fingerprint(), self._contents()]
        path = self._cache / f"{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]}.json"
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            latency_ms, energy_mj = np.array(kept["latency_ms"], float), np.array(kept["energy_mj"], float)
            if latency_ms.shape == energy_mj.shape == (len(self._operators),):
                return Table(design, latency_ms, energy_mj, provenance)
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or damaged
            pass
        estimates = [estimator.estimate(artifact) for artifact in self._artifacts]
        latencies = [estimate.latency_ms for estimate in estimates]
        energies = [float("nan") if e.energy_mj is None else e.energy_mj for e in estimates]
        write_json(path, {"latency_ms": latencies, "energy_mj": energies})
        return Table(design, np.array(latencies), np.array(energies), provenance)

    def _contents(self) -> list[list[str]]:
        pairs = zip(self._operators, self._artifacts, strict=True)
        return [[str(operator), artifact.sha256, artifact.precision] for operator, artifact in pairs]
