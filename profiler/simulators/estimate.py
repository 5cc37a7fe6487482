"""What an engine says of an artifact: latency, energy where it has it, a breakdown, and where it is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from exporters import Artifact

Fidelity = Literal["exact-to-reference", "vendor-estimate", "calibrated", "uncalibrated"]
"""``exact-to-reference``: equals a published simulator, checked in our tests. ``vendor-estimate``: what the chip's
own tool says. ``calibrated``: fitted to measurements. ``uncalibrated``: a model that nothing was fitted to, and any
device with a declared host."""


@dataclass(frozen=True, slots=True)
class Primitive:
    """One node of the graph: its name there, its operator (``kind``), and what it costs.

    ``energy_mj`` is ``None`` where the engine has no energy. ``detail`` holds the engine's own
    figures, units in their names (``cycles``, ``dram_read_bytes``, ``utilisation``).
    """

    name: str
    kind: str
    latency_ms: float
    energy_mj: float | None
    detail: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which engine, in which version, with which parameters; ``configuration`` is their sha256."""

    engine: str
    version: str
    configuration: str
    fidelity: Fidelity

    def as_dict(self) -> dict[str, str]:
        """JSON-able; what stands in the header of a table."""
        return {
            "engine": self.engine,
            "version": self.version,
            "configuration": self.configuration,
            "fidelity": self.fidelity,
        }

    def with_host(self, host: object | None) -> Provenance:
        """Of estimates in which a declared host (if there is one) takes a part: nobody has compared that."""
        return self if host is None else replace(self, fidelity="uncalibrated")


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimate of one artifact: a pure function of it and of the configuration.

    ``energy_mj`` is ``None`` unless every primitive has one.
    """

    latency_ms: float
    energy_mj: float | None
    primitives: tuple[Primitive, ...]
    provenance: Provenance

    @property
    def coverage(self) -> float:
        """Share of the primitives that the accelerator itself runs, between 0 and 1; a host runs the rest."""
        on_host = sum("host" in primitive.detail for primitive in self.primitives)
        return 1 - on_host / len(self.primitives) if self.primitives else 1.0


class Estimator(Protocol):
    """An engine with its parameters."""

    @property
    def provenance(self) -> Provenance:
        """What stands in every estimate."""
        ...

    def estimate(self, artifact: Artifact) -> Estimate:
        """Cost of one call of ``artifact`` on its reference inputs' shapes.

        Raises :class:`profiler.errors.SimulationError` for an artifact of the wrong format or
        precision, or with an operator that can neither be mapped nor be left to a declared host.
        """
        ...


def total(primitives: tuple[Primitive, ...], provenance: Provenance) -> Estimate:
    """The estimate of nodes that run one after another."""
    energies = [primitive.energy_mj for primitive in primitives]
    known = [energy for energy in energies if energy is not None]
    return Estimate(
        latency_ms=sum(primitive.latency_ms for primitive in primitives),
        energy_mj=sum(known) if len(known) == len(energies) else None,
        primitives=primitives,
        provenance=provenance,
    )
