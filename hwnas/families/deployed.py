"""A family as a runtime or an engine deploys it: in a precision, and with every shape fixed where it must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hwnas.errors import SpaceError
from hwnas.families.base import Convention, Count, Family, FixedShapes, ModelGraphs, Term, Vocabularies
from hwnas.space import Candidate, SearchSpace
from hwnas.workload import Workload
from latency_luts import LatencyLut, OperatorSpec
from latency_luts.rows import DISPATCH
from profiler.exporting import FIXED_SHAPES, format_of, precision_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from exporters import GraphInputs
    from hwnas.data.task import Batch

_PLAIN = "fp32"
_MIXED = "mixed precision is for ONNX Runtime, without --precision"


@dataclass(frozen=True, slots=True)
class Deployed:
    """Implements :class:`Family` by ``family``: its operators are of ``precision``, and if ``fixed``, its shapes.

    Where shapes are fixed, a cache has the length of the target from the first step on, whatever
    the workload says of it.
    """

    family: Family
    precision: str
    fixed: bool

    def space(self, document: Mapping[str, Any]) -> SearchSpace:
        """The family's."""
        return self.family.space(document)

    def terms(self, space: SearchSpace, workload: Workload) -> tuple[Term, ...]:
        """The family's terms, with operators of this precision.

        Raises :class:`SpaceError` for a space that chooses the precisions of its operators.
        """
        if space.mixed:
            raise SpaceError(f"space {space.name!r} chooses precisions itself: {_MIXED}")
        if self.fixed:
            workload = replace(workload, cache=workload.target_tokens - 1)
        return tuple(
            replace(term, operator=replace(term.operator, precision=self.precision))
            for term in self.family.terms(space, workload)
        )

    def count(self, space: SearchSpace, candidate: Candidate, workload: Workload, convention: Convention) -> Count:
        """The family's."""
        return self.family.count(space, candidate, workload, convention)

    def peak_memory_bytes(self, space: SearchSpace, candidate: Candidate, workload: Workload) -> int:
        """The family's: of weights in fp32."""
        return self.family.peak_memory_bytes(space, candidate, workload)

    def module(self, operator: OperatorSpec) -> tuple[nn.Module, GraphInputs]:
        """The module in fp32: what gives it its precision is the exporter."""
        plain = replace(operator, precision=_PLAIN)
        if self.fixed and isinstance(self.family, FixedShapes):
            return self.family.fixed_module(plain)
        return self.family.module(plain)

    def model(self, space: SearchSpace, candidate: Candidate, vocabularies: Vocabularies) -> nn.Module:
        """The family's."""
        return self.family.model(space, candidate, vocabularies)

    def loss(self, model: nn.Module, batch: Batch, label_smoothing: float) -> tuple[torch.Tensor, int]:
        """The family's."""
        return self.family.loss(model, batch, label_smoothing)

    def logits(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """The family's."""
        return self.family.logits(model, batch)

    def graphs(self, model: nn.Module, workload: Workload) -> ModelGraphs:
        """The family's of fixed shapes; raises :class:`SpaceError` if it has none and needs them.

        Or if the model has precisions of its own.
        """
        if getattr(model, "precisions", None):
            raise SpaceError(f"the candidate has precisions of its own: {_MIXED}")
        if not self.fixed:
            return self.family.graphs(model, workload)
        if not isinstance(self.family, FixedShapes):
            raise SpaceError(
                f"the family {type(self.family).__name__} has no graphs of fixed shapes"
                " (see hwnas.families.FixedShapes); profile its operators alone: --calibration 0 --check 0"
            )
        return self.family.fixed_graphs(model, workload)


def as_deployed(family: Family, runtime: str, precision: str | None = None) -> Family:
    """``family`` as ``runtime`` (or an engine) takes it; ``precision`` defaults to the one it is known by.

    A family that is deployed already is given back as it is.
    """
    if isinstance(family, Deployed):
        return family
    precision = precision or precision_of(runtime)
    fixed = format_of(runtime) in FIXED_SHAPES
    return Deployed(family, precision, fixed) if fixed or precision != _PLAIN else family


def as_in_table(family: Family, lut: LatencyLut) -> Family:
    """``family`` as it was when the operators of ``lut`` were measured or estimated."""
    precisions = {operator.precision for operator in lut.rows if operator.kind != DISPATCH.kind}
    precision = precisions.pop() if len(precisions) == 1 else _PLAIN
    return as_deployed(family, lut.target.runtime_name, precision)


def own_family(family: Family) -> Family:
    """The family that ``family`` was made of: whose code decides what its modules compute."""
    return family.family if isinstance(family, Deployed) else family


def precision_in(family: Family) -> str:
    """The precision that whole models of ``family`` are exported in."""
    return family.precision if isinstance(family, Deployed) else _PLAIN
