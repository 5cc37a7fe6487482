"""The declared host processor of an accelerator: a roofline with the cost of going there and back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, model_validator

from profiler.simulators.estimate import Primitive, Provenance
from profiler.simulators.graph import Node
from profiler.simulators.vector import node_bytes, operations_of

MS, MJ_PER_PJ = 1e3, 1e-9


class HostParameters(BaseModel):
    """What the host does in a second, what reaching it costs, and (both or neither) its energies."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    operations_per_s: float = Field(gt=0)
    transfer_bytes_per_s: float = Field(gt=0)
    launch_us: float = Field(default=0.0, ge=0)
    bytes_per_value: float = Field(default=4.0, gt=0)
    pj_per_operation: float | None = Field(default=None, ge=0)
    pj_per_byte: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _both(self) -> HostParameters:
        if (self.pj_per_operation is None) != (self.pj_per_byte is None):
            raise ValueError("pj_per_operation and pj_per_byte: give both, or neither for no energy")
        return self


@dataclass(frozen=True, slots=True)
class HostEngine:
    """A :class:`profiler.simulators.nodewise.NodeEngine` that takes any operator whose work is known."""

    parameters: HostParameters
    configuration: str

    @property
    def provenance(self) -> Provenance:
        """A roofline nobody has calibrated."""
        return Provenance("host", "1", self.configuration, "uncalibrated")

    @property
    def precisions(self) -> Collection[str]:
        """Its values have one width, whatever the graph says."""
        return ("fp32", "fp16", "int8", "int4")

    def primitive(self, node: Node) -> Primitive | None:
        """Launch, then the operands over the link and back, then the operations; nothing overlaps."""
        operations = operations_of(node)
        if operations is None:
            return None
        host, moved = self.parameters, node_bytes(node, self.parameters.bytes_per_value)
        seconds = host.launch_us / 1e6 + moved / host.transfer_bytes_per_s + operations / host.operations_per_s
        energy = None
        if host.pj_per_operation is not None and host.pj_per_byte is not None:
            energy = (operations * host.pj_per_operation + moved * host.pj_per_byte) * MJ_PER_PJ
        detail = {"host": 1.0, "operations": operations, "transfer_bytes": moved}
        return Primitive(node.name, node.op, MS * seconds, energy, detail)
