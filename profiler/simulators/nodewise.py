"""Estimate a graph node by node: the engine, else a declared host, else a refusal that names the node."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from exporters import Artifact
from profiler.errors import SimulationError
from profiler.simulators.estimate import Estimate, Primitive, Provenance, total
from profiler.simulators.graph import Graph, Node, read_graph

VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that give the same values in the same order another name or shape: no compiler moves anything."""


class NodeEngine(Protocol):
    """An engine that knows the cost of single operators."""

    @property
    def provenance(self) -> Provenance:
        """What stands in every estimate."""
        ...

    @property
    def precisions(self) -> Collection[str]:
        """The artifact precisions it takes."""
        ...

    def primitive(self, node: Node) -> Primitive | None:
        """What ``node`` costs; ``None`` if the engine cannot map it. Never asked about :data:`VIEWS`."""
        ...


@dataclass(frozen=True, slots=True)
class NodewiseEstimator:
    """An :class:`Estimator` of any :class:`NodeEngine`; ``host`` takes what the engine cannot map."""

    engine: NodeEngine
    host: NodeEngine | None = None

    @property
    def provenance(self) -> Provenance:
        """The engine's; its configuration covers the host too, which makes it ``uncalibrated``."""
        return self.engine.provenance.with_host(self.host)

    def estimate(self, artifact: Artifact) -> Estimate:
        """See :class:`Estimator`."""
        if artifact.precision not in self.engine.precisions:
            raise SimulationError(
                f"{artifact.path.name} is {artifact.precision}; this {self.provenance.engine} device takes"
                f" {', '.join(sorted(self.engine.precisions))}: export it so, or declare it in its parameters"
            )
        graph = read_graph(artifact)
        return total(self.primitives(graph), self.provenance)

    def primitives(self, graph: Graph) -> tuple[Primitive, ...]:
        """The cost of every node that does something."""
        return tuple(self._primitive(node) for node in graph.nodes if node.op not in VIEWS)

    def _primitive(self, node: Node) -> Primitive:
        found = self.engine.primitive(node)
        if found is None and self.host is not None:
            found = self.host.primitive(node)
        if found is None:
            raise SimulationError(
                f"{self.provenance.engine} cannot map {node}; declare a host for it in the device, or export without it"
            )
        return found
