"""What a kind of Transformer must tell the rest of hwnas: its terms, modules, models and graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from hwnas.space import Candidate, SearchSpace
from hwnas.workload import Workload
from latency_luts import OperatorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from exporters import GraphInputs
    from hwnas.data.task import Batch

Convention = Literal["hat", "full"]


@dataclass(frozen=True, slots=True)
class Term:
    """``operator`` is paid ``count`` times when every choice in ``when`` has the index given there."""

    operator: OperatorSpec
    count: int
    when: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Count:
    """Size and work of a candidate; ``macs`` are multiply-accumulates (FLOPs = 2 x macs)."""

    params: int
    macs: int


@dataclass(frozen=True, slots=True)
class GraphStage:
    """How a deployed graph is called; the fields are those of :class:`profiler.program.Stage`."""

    graph: str
    repeat: int = 1
    feeds: Mapping[str, str] = field(default_factory=dict)
    carry: Mapping[str, str] = field(default_factory=dict)
    initial: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    counter: str | None = None


@dataclass(frozen=True, slots=True)
class ModelGraphs:
    """The deployable graphs of one model, by file stem, and the order they run in for a workload."""

    graphs: Mapping[str, tuple[nn.Module, GraphInputs]]
    stages: tuple[GraphStage, ...]


@dataclass(frozen=True, slots=True)
class Mixture:
    """The values of a choice that take part in a soft model, and how much of each: ``weights`` (values,)."""

    values: tuple[int, ...]
    weights: torch.Tensor


@dataclass(frozen=True, slots=True)
class Vocabularies:
    """Number of source and of target symbols, special symbols included."""

    source: int
    target: int


class Family(Protocol):
    """A kind of Transformer. Nothing here imports torch until a module or model is asked for.

    It may have ``scopes``, a mapping from the names of modules of its stand-alone model to kinds of
    operators, by which a runtime's profile is put beside a table (:mod:`hwnas.scopes`).
    """

    def space(self, document: Mapping[str, Any]) -> SearchSpace:
        """The search space a YAML document describes; raises :class:`hwnas.errors.SpaceError`."""
        ...

    def terms(self, space: SearchSpace, workload: Workload) -> tuple[Term, ...]:
        """Everything any candidate of the space pays for one ``workload``, and when it does."""
        ...

    def count(self, space: SearchSpace, candidate: Candidate, workload: Workload, convention: Convention) -> Count:
        """Parameters and multiply-accumulates for one workload (batch and beam 1)."""
        ...

    def peak_memory_bytes(self, space: SearchSpace, candidate: Candidate, workload: Workload) -> int:
        """Weights in fp32, key-value caches and the largest set of live activations."""
        ...

    def module(self, operator: OperatorSpec) -> tuple[nn.Module, GraphInputs]:
        """One operator as deployed, with seeded weights and inputs."""
        ...

    def model(self, space: SearchSpace, candidate: Candidate, vocabularies: Vocabularies) -> nn.Module:
        """The stand-alone SubTransformer. Every parameter and buffer of a candidate's model is a leading
        slice of that of the same name in the largest candidate's: that is the weight sharing."""
        ...

    def loss(self, model: nn.Module, batch: Batch, label_smoothing: float) -> tuple[torch.Tensor, int]:
        """Summed (label-smoothed) negative log-likelihood in nats, and the number of target tokens."""
        ...

    def logits(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Teacher-forced logits, (batch, target tokens, vocabulary); for in-place distillation."""
        ...

    def graphs(self, model: nn.Module, workload: Workload) -> ModelGraphs:
        """The deployable graphs of a stand-alone model, sharing its weights."""
        ...


@runtime_checkable
class FixedShapes(Protocol):
    """What a family adds whose models can be deployed where every shape is fixed (TFLite, most accelerators)."""

    def fixed_module(self, operator: OperatorSpec) -> tuple[nn.Module, GraphInputs]:
        """As :meth:`Family.module`; an operator with a cache gets it at its full length, and a mask."""
        ...

    def fixed_graphs(self, model: nn.Module, workload: Workload) -> ModelGraphs:
        """As :meth:`Family.graphs`, for exactly the workload's sizes: caches keep the length of its target."""
        ...


@runtime_checkable
class SoftChoices(Protocol):
    """What a family adds whose SuperTransformer can be searched by gradients of its choices."""

    def soft(self, largest: nn.Module, mixtures: Mapping[str, Mixture]) -> nn.Module:
        """The largest candidate's model with every choice a mixture of its values, differentiable in their weights.

        ``mixtures`` has every choice of the space. With one-hot weights its logits are those of that
        candidate's model; memory and time follow from the largest value in each mixture.
        """
        ...


@runtime_checkable
class MixedPrecision(Protocol):
    """What a family adds in whose spaces precision can be a choice, made for every block of a model.

    Its terms, graphs (``GraphInputs.precisions``) and models (``precisions``: module paths that are not in fp32,
    and what they are in) follow from the candidate; models compute in fp32 all the same, but for here.
    """

    def in_its_precisions(self, model: nn.Module) -> AbstractContextManager[None]:
        """Inside the block, ``model`` loses what it loses when it is deployed."""
        ...


@dataclass(frozen=True, slots=True)
class Sublayers:
    """The modules of a stand-alone model by what they are for; a decoder's stand in ``decoder`` too."""

    attention: Sequence[nn.Module]
    feed_forward: Sequence[nn.Module]
    decoder: Sequence[nn.Module]


@runtime_checkable
class KnownSublayers(Protocol):
    """What a family adds whose candidates can be ranked by what their weights alone tell."""

    def sublayers(self, model: nn.Module) -> Sublayers:
        """The sublayers of a stand-alone model, embeddings and output projection left out."""
        ...
