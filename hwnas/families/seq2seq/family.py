"""The seq2seq family as the rest of hwnas sees it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from hwnas.errors import SpaceError
from hwnas.families.base import Convention, Count, Mixture, ModelGraphs, Sublayers, Term, Vocabularies
from hwnas.families.seq2seq import count as counting
from hwnas.families.seq2seq import terms as listing
from hwnas.families.seq2seq.precision import BITS, BLOCKS, precisions_of
from hwnas.families.seq2seq.space import parse_space
from hwnas.space import Candidate, SearchSpace
from hwnas.workload import Workload
from latency_luts import OperatorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from exporters import GraphInputs
    from hwnas.data.task import Batch
    from hwnas.families.seq2seq.model import SubTransformer


class Seq2Seq:
    """HAT's encoder-decoder Transformer (Wang et al., ACL 2020); implements :class:`Family`,
    :class:`FixedShapes`, :class:`SoftChoices`, :class:`MixedPrecision` and :class:`KnownSublayers`.

    ``scopes``: the modules of :class:`hwnas.families.seq2seq.model.SubTransformer`, and the kind
    of operator that each (or each of a list) is; nodes of exported graphs are named after them.
    """

    scopes: ClassVar[Mapping[str, str]] = {
        "source_embedding": "source_embedding",
        "encoder_attention": "encoder_self_attention",
        "encoder_ffn": "encoder_ffn",
        "cross_projection": "cross_projection",
        "target_embedding": "target_embedding",
        "self_attention": "decoder_self_attention",
        "cross_attention": "decoder_cross_attention",
        "decoder_ffn": "decoder_ffn",
        "output": "output_projection",
    }

    def space(self, document: Mapping[str, Any]) -> SearchSpace:
        """See :func:`hwnas.families.seq2seq.space.parse_space`."""
        return parse_space(document)

    def terms(self, space: SearchSpace, workload: Workload) -> tuple[Term, ...]:
        """See :func:`hwnas.families.seq2seq.terms.terms`."""
        return listing.terms(space, workload)

    def count(self, space: SearchSpace, candidate: Candidate, workload: Workload, convention: Convention) -> Count:
        """See :func:`hwnas.families.seq2seq.count.count`."""
        return counting.count(candidate, space.fixed["qkv"], workload, convention)

    def peak_memory_bytes(self, space: SearchSpace, candidate: Candidate, workload: Workload) -> int:
        """See :func:`hwnas.families.seq2seq.count.peak_memory_bytes`."""
        return counting.peak_memory_bytes(candidate, space.fixed["qkv"], workload)

    def module(self, operator: OperatorSpec) -> tuple[nn.Module, GraphInputs]:
        """See :func:`hwnas.families.seq2seq.operators.build`."""
        from hwnas.families.seq2seq.operators import build

        return build(replace(operator, precision="fp32") if operator.precision in BITS else operator)

    def model(self, space: SearchSpace, candidate: Candidate, vocabularies: Vocabularies) -> nn.Module:
        """A :class:`hwnas.families.seq2seq.model.SubTransformer`, initialised by torch's generator."""
        from hwnas.families.seq2seq.model import SubTransformer

        widest = (_widest(space, "encoder_embed"), _widest(space, "decoder_embed"))
        fixed, precisions = space.fixed, precisions_of(space, candidate)
        return SubTransformer(candidate, vocabularies, fixed["qkv"], fixed["positions"], widest, precisions)

    def loss(self, model: nn.Module, batch: Batch, label_smoothing: float) -> tuple[torch.Tensor, int]:
        """Label smoothing spreads ``label_smoothing`` evenly over all symbols; PAD targets do not count."""
        from torch.nn import functional

        from hwnas.data.task import PAD

        target = batch.target[:, 1:]
        loss = functional.cross_entropy(
            self.logits(model, batch).flatten(0, 1),
            target.flatten(),
            ignore_index=PAD,
            reduction="sum",
            label_smoothing=label_smoothing,
        )
        return loss, int((target != PAD).sum())

    def logits(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Teacher-forced logits, (batch, target tokens - 1, vocabulary): one per symbol after BOS."""
        logits: torch.Tensor = model(batch.source, batch.target[:, :-1])
        return logits

    def graphs(self, model: nn.Module, workload: Workload) -> ModelGraphs:
        """See :func:`hwnas.families.seq2seq.graphs.build_graphs`."""
        from hwnas.families.seq2seq.graphs import build_graphs

        return build_graphs(_own(model), workload)

    def fixed_module(self, operator: OperatorSpec) -> tuple[nn.Module, GraphInputs]:
        """See :func:`hwnas.families.seq2seq.operators.build`."""
        from hwnas.families.seq2seq.operators import build

        return build(operator, fixed=True)

    def fixed_graphs(self, model: nn.Module, workload: Workload) -> ModelGraphs:
        """See :func:`hwnas.families.seq2seq.fixed_graphs.build_fixed_graphs`."""
        from hwnas.families.seq2seq.fixed_graphs import build_fixed_graphs

        return build_fixed_graphs(_own(model), workload)

    def soft(self, largest: nn.Module, mixtures: Mapping[str, Mixture]) -> nn.Module:
        """A :class:`hwnas.families.seq2seq.soft.SoftSubTransformer`."""
        from hwnas.families.seq2seq.soft import SoftSubTransformer

        if any(name.partition(".")[0] in BLOCKS for name in mixtures):
            raise SpaceError(
                "a soft model knows no precisions, so gradients would be blind to their loss;"
                " search this space by another method, like evolution"
            )
        return SoftSubTransformer(_own(largest), mixtures)

    def in_its_precisions(self, model: nn.Module) -> AbstractContextManager[None]:
        """See :func:`hwnas.families.seq2seq.simulated_precision.in_its_precisions`."""
        from hwnas.families.seq2seq.simulated_precision import in_its_precisions

        return in_its_precisions(_own(model))

    def sublayers(self, model: nn.Module) -> Sublayers:
        """Keys and values of the cross-attention are the decoder's."""
        own = _own(model)
        attention = [*own.cross_projection, *own.self_attention, *own.cross_attention]
        return Sublayers(
            attention=[*own.encoder_attention, *attention],
            feed_forward=[*own.encoder_ffn, *own.decoder_ffn],
            decoder=[*attention, *own.decoder_ffn],
        )


def _own(model: nn.Module) -> SubTransformer:
    from hwnas.families.seq2seq.model import SubTransformer

    if not isinstance(model, SubTransformer):
        raise SpaceError(f"{type(model).__name__} is not a model of the seq2seq family")
    return model


def _widest(space: SearchSpace, name: str) -> int:
    return max(space.choices[space.index[name]].values)
