"""The stand-alone SubTransformer, built from exactly the sublayers that are measured and deployed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwnas.families.base import Vocabularies
from hwnas.families.seq2seq.modules import (
    MASKED,
    MASKED_NARROWLY,
    CrossProjection,
    DecoderCrossAttention,
    DecoderSelfAttention,
    EncoderSelfAttention,
    FeedForward,
    OutputProjection,
    SourceEmbedding,
    TargetEmbedding,
    sinusoids,
)
from hwnas.families.seq2seq.space import layer_values
from hwnas.space import Candidate

Caches = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of every decoder layer's self-attention, each (rows, heads, past, head_dim)."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the decoder needs of a source: per layer keys and values, and the mask by attended layers."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    masks: dict[int, Tensor]


class SubTransformer(nn.Module):
    """One candidate. ``attended`` tells per decoder layer how many of the last encoder layers it sees."""

    def __init__(
        self,
        candidate: Candidate,
        vocabularies: Vocabularies,
        qkv: int,
        positions: int,
        widest: tuple[int, int],
        precisions: Mapping[str, str] | None = None,
    ) -> None:
        """``widest`` are the space's largest encoder and decoder widths: whose position tables are cut.

        ``precisions`` are those that modules are deployed in, by path, where it is not fp32; PyTorch computes in fp32.
        """
        super().__init__()
        self.precisions = dict(precisions or {})
        embed, decoder_embed = candidate["encoder_embed"], candidate["decoder_embed"]
        layers, decoder_layers = candidate["encoder_layers"], candidate["decoder_layers"]
        encoder_heads = layer_values(candidate, "encoder_heads", layers)
        self_heads = layer_values(candidate, "decoder_self_heads", decoder_layers)
        cross_heads = layer_values(candidate, "decoder_cross_heads", decoder_layers)
        encoder_ffn = layer_values(candidate, "encoder_ffn", layers)
        decoder_ffn = layer_values(candidate, "decoder_ffn", decoder_layers)
        self.attended = layer_values(candidate, "decoder_attended", decoder_layers)
        self.positions = positions

        table = sinusoids(positions, widest[0])[:, :embed].contiguous()
        self.source_embedding = SourceEmbedding(vocabularies.source, embed, table)
        self.encoder_attention = nn.ModuleList(EncoderSelfAttention(embed, h, qkv) for h in encoder_heads)
        self.encoder_ffn = nn.ModuleList(FeedForward(embed, ffn) for ffn in encoder_ffn)
        self.cross_projection = nn.ModuleList(CrossProjection(embed, h, qkv) for h in cross_heads)

        table = sinusoids(positions, widest[1])[:, :decoder_embed].contiguous()
        self.target_embedding = TargetEmbedding(vocabularies.target, decoder_embed, table)
        self.self_attention = nn.ModuleList(DecoderSelfAttention(decoder_embed, h, qkv) for h in self_heads)
        self.cross_attention = nn.ModuleList(DecoderCrossAttention(decoder_embed, h, qkv) for h in cross_heads)
        self.decoder_ffn = nn.ModuleList(FeedForward(decoder_embed, ffn) for ffn in decoder_ffn)
        self.output = OutputProjection(self.target_embedding.weight)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Teacher-forced logits (batch, target tokens, vocabulary) of ids (batch, tokens), BOS first."""
        memory, tokens = self.encode(source), target.size(1)
        hidden = self.target_embedding(target, torch.arange(tokens, device=target.device))
        for layer, attended in enumerate(self.attended):
            hidden = self.self_attention[layer].teacher_forced(hidden, tokens)  # type: ignore[operator]
            key, value, mask = memory.keys[layer], memory.values[layer], memory.masks[attended]
            hidden = self.cross_attention[layer](hidden, key, value, mask, tokens)
            hidden = self.decoder_ffn[layer](hidden)
        logits: Tensor = self.output(hidden)
        return logits.view(target.size(0), tokens, -1)

    def encode(self, source: Tensor, masked: float = MASKED) -> Memory:
        """The encoder, and the cross-attention keys and values of every layer; ``source`` (batch, tokens)."""
        embed = self.source_embedding  # called as a module where it can be: that names its nodes when exported
        hidden, mask = embed(source) if masked == MASKED else embed.embed(source, masked)
        outputs = []
        for attention, ffn in zip(self.encoder_attention, self.encoder_ffn, strict=True):
            hidden = ffn(attention(hidden, mask))
            outputs.append(hidden)
        outputs.reverse()
        projected = [
            projection(source.size(1), *outputs[:attended])
            for projection, attended in zip(self.cross_projection, self.attended, strict=True)
        ]
        masks = {n: mask if n == 1 else torch.cat([mask] * n, dim=3) for n in sorted(set(self.attended))}
        return Memory(tuple(key for key, _ in projected), tuple(value for _, value in projected), masks)

    def empty_caches(self, rows: int) -> Caches:
        """The caches before the first step of ``rows`` = batch * beam hypotheses."""
        weight = self.target_embedding.weight
        empty = [
            weight.new_zeros(rows, attention.heads, 0, attention.head_dim)  # type: ignore[call-overload]
            for attention in self.self_attention
        ]
        return tuple((cache, cache) for cache in empty)

    def step(
        self, tokens: Tensor, position: Tensor, memory: Memory, caches: Caches, beam: int
    ) -> tuple[Tensor, Caches]:
        """One step: tokens (rows = batch * beam,), position (1,) -> logits (rows, vocabulary), caches."""
        return self._step(
            tokens, position, memory, beam, lambda layer, x: self.self_attention[layer](x, *caches[layer])
        )

    def fixed_step(
        self, tokens: Tensor, position: Tensor, memory: Memory, caches: Caches, beam: int
    ) -> tuple[Tensor, Caches]:
        """As :meth:`step` over caches that keep their length; see :meth:`DecoderSelfAttention.fixed_step`."""
        positions = torch.arange(caches[0][0].size(2))
        here = (positions == position).to(memory.keys[0].dtype)[:, None]
        mask = torch.where(positions <= position, 0.0, MASKED_NARROWLY)

        def attend(layer: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            attention = self.self_attention[layer]
            return attention.fixed_step(x, *caches[layer], here, mask)  # type: ignore[no-any-return, operator]

        return self._step(tokens, position, memory, beam, attend)

    def _step(
        self,
        tokens: Tensor,
        position: Tensor,
        memory: Memory,
        beam: int,
        attend: Callable[[int, Tensor], tuple[Tensor, Tensor, Tensor]],
    ) -> tuple[Tensor, Caches]:
        hidden = self.target_embedding(tokens, position)
        caches = []
        for layer, attended in enumerate(self.attended):
            hidden, next_key, next_value = attend(layer, hidden)
            caches.append((next_key, next_value))
            key, value, mask = memory.keys[layer], memory.values[layer], memory.masks[attended]
            hidden = self.cross_attention[layer](hidden, key, value, mask, beam)
            hidden = self.decoder_ffn[layer](hidden)
        return self.output(hidden), tuple(caches)
