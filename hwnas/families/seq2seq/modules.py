"""The sublayers as deployed, one class per kind of operator, residual and post-normalisation included.

Activations are matrices of ``rows`` by ``embed``: batch * tokens rows in the encoder and in training,
batch * beam rows in a decoder step, so that every projection is one plain matrix product.
Keys and values are kept split by head: (batch, heads, tokens, head_dim).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.data.task import PAD

MASKED = -1e4
"""Added to the scores of padding; its exponential is 0 in fp32, and it fits into fp16."""

MASKED_NARROWLY = -30.0
"""The same where the scores may be quantised: an int8 tensor that holds it has levels left for the scores
(exp(-30) is 1e-13)."""


class Affine(nn.Module):
    """``torch.nn.Linear`` with Glorot's initialisation, and nothing to initialise on the meta device."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        if not self.weight.is_meta:
            nn.init.xavier_uniform_(self.weight)
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (rows, inputs) -> (rows, outputs)."""
        return F.linear(x, self.weight, self.bias)


class Norm(nn.Module):
    """Layer normalisation over the last axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (rows, width) -> the same shape."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias)


class ElasticDropout(nn.Module):
    """Dropout that knows the width it works on, so that a SuperTransformer can scale it as HAT does."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.p = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return F.dropout(x, self.p, self.training) if self.training and self.p > 0 else x


class _Residual(nn.Module):
    """Project to ``embed``, drop out, add the residual, normalise (post-LN, Vaswani et al. 2017, 5.4)."""

    def __init__(self, inner: int, embed: int) -> None:
        super().__init__()
        self.project = Affine(inner, embed)
        self.dropout = ElasticDropout(embed)
        self.norm = Norm(embed)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """``x`` (rows, inner), ``residual`` (rows, embed) -> (rows, embed)."""
        return self.norm(residual + self.dropout(self.project(x)))  # type: ignore[no-any-return]


class SourceEmbedding(nn.Module):
    """Source symbols -> scaled embedding plus position, and the mask of the padding."""

    positions: Tensor

    def __init__(self, vocabulary: int, embed: int, positions: Tensor) -> None:
        super().__init__()
        self.weight = _embedding(vocabulary, embed)
        self.scale = math.sqrt(embed)
        self.dropout = ElasticDropout(embed)
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """``source`` (batch, tokens) int64 -> hidden (batch * tokens, embed), mask (batch, 1, 1, tokens)."""
        return self.embed(source, MASKED)

    def embed(self, source: Tensor, masked: float) -> tuple[Tensor, Tensor]:
        """The same with ``masked`` at the padding; no default of ``forward``, which exporters take for an input."""
        hidden = F.embedding(source, self.weight) * self.scale + self.positions[: source.size(1)]
        mask = torch.where(source == PAD, masked, 0.0)
        return self.dropout(hidden.reshape(-1, self.weight.size(1))), mask[:, None, None, :]


class TargetEmbedding(nn.Module):
    """Target symbols -> scaled embedding plus position."""

    positions: Tensor

    def __init__(self, vocabulary: int, embed: int, positions: Tensor) -> None:
        super().__init__()
        self.weight = _embedding(vocabulary, embed)
        self.scale = math.sqrt(embed)
        self.dropout = ElasticDropout(embed)
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """``tokens`` (rows,) at one ``position`` (1,), or (batch, tokens) at (tokens,) -> (rows, embed)."""
        hidden = F.embedding(tokens, self.weight) * self.scale + F.embedding(position, self.positions)
        return self.dropout(hidden if tokens.dim() == 1 else hidden.flatten(0, 1))  # type: ignore[no-any-return]


class EncoderSelfAttention(nn.Module):
    """Self-attention over the source."""

    def __init__(self, embed: int, heads: int, qkv: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, qkv // heads
        self.scale = self.head_dim**-0.5
        self.project = Affine(embed, 3 * qkv)
        self.residual = _Residual(qkv, embed)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """``hidden`` (batch * tokens, embed), ``mask`` (batch, 1, 1, tokens) -> as ``hidden``."""
        split = self.project(hidden).view(-1, mask.size(3), 3 * self.heads, self.head_dim)
        query, key, value = split.transpose(1, 2).split(self.heads, dim=1)
        context = _attend(query, key, value, mask, self.scale).transpose(1, 2)
        return self.residual(context.reshape(-1, self.heads * self.head_dim), hidden)  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Two projections with a ReLU between."""

    def __init__(self, embed: int, ffn: int) -> None:
        super().__init__()
        self.expand = Affine(embed, ffn)
        self.residual = _Residual(ffn, embed)

    def forward(self, hidden: Tensor) -> Tensor:
        """``hidden`` (rows, embed) -> the same shape."""
        return self.residual(F.relu(self.expand(hidden)), hidden)  # type: ignore[no-any-return]


class CrossProjection(nn.Module):
    """Keys and values of one decoder layer over the last encoder layers, once per sentence."""

    def __init__(self, embed: int, heads: int, qkv: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, qkv // heads
        self.project = Affine(embed, 2 * qkv)

    def forward(self, tokens: int, *memories: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder outputs, the last layer first, each (batch * tokens, embed) -> key, value.

        Both are (batch, heads, layers * tokens, head_dim): arbitrary encoder-decoder attention
        concatenates on the length axis (HAT, section 3.1).
        """
        memory = memories[0]
        if len(memories) > 1:
            width = memory.size(1)
            memory = torch.cat([each.view(-1, tokens, width) for each in memories], dim=1).view(-1, width)
        split = self.project(memory).view(-1, len(memories) * tokens, 2 * self.heads, self.head_dim)
        key, value = split.transpose(1, 2).split(self.heads, dim=1)
        return key, value


class DecoderSelfAttention(nn.Module):
    """Self-attention over the target so far: one step with its cache, or all positions at once."""

    def __init__(self, embed: int, heads: int, qkv: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, qkv // heads
        self.scale = self.head_dim**-0.5
        self.project = Affine(embed, 3 * qkv)
        self.residual = _Residual(qkv, embed)

    def forward(self, hidden: Tensor, past_key: Tensor, past_value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step: hidden (rows, embed), caches (rows, heads, past, head_dim) -> hidden, grown caches."""
        split = self.project(hidden).view(-1, 3 * self.heads, 1, self.head_dim)
        query, new_key, new_value = split.split(self.heads, dim=1)
        key = torch.cat([past_key, new_key], dim=2)
        value = torch.cat([past_value, new_value], dim=2)
        context = _attend(query, key, value, None, self.scale)
        return self.residual(context.view(-1, self.heads * self.head_dim), hidden), key, value

    def fixed_step(
        self, hidden: Tensor, past_key: Tensor, past_value: Tensor, here: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step whose caches keep their length: (rows, heads, length, head_dim), zeros where nothing was written.

        ``here`` (length, 1) is 1 at this step's position and 0 elsewhere: the caches are written by
        arithmetic, which every runtime and accelerator has, and no scatter. ``mask`` (length,) is
        added to the scores, :data:`MASKED_NARROWLY` at later positions.
        """
        split = self.project(hidden).view(-1, 3 * self.heads, 1, self.head_dim)
        query, new_key, new_value = split.split(self.heads, dim=1)
        key, value = past_key + here * new_key, past_value + here * new_value
        context = _attend(query, key, value, mask, self.scale)
        return self.residual(context.view(-1, self.heads * self.head_dim), hidden), key, value

    def teacher_forced(self, hidden: Tensor, tokens: int) -> Tensor:
        """All positions at once, none seeing a later one: ``hidden`` (batch * tokens, embed) -> the same."""
        split = self.project(hidden).view(-1, tokens, 3 * self.heads, self.head_dim)
        query, key, value = split.transpose(1, 2).split(self.heads, dim=1)
        context = F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)
        return self.residual(context.reshape(-1, self.heads * self.head_dim), hidden)  # type: ignore[no-any-return]


class DecoderCrossAttention(nn.Module):
    """Attention to the source; the beams, or in training the positions, of a sentence share its keys."""

    def __init__(self, embed: int, heads: int, qkv: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, qkv // heads
        self.scale = self.head_dim**-0.5
        self.project = Affine(embed, qkv)
        self.residual = _Residual(qkv, embed)

    def forward(self, hidden: Tensor, key: Tensor, value: Tensor, mask: Tensor, queries: int) -> Tensor:
        """Hidden (batch * queries, embed), keys and values (batch, heads, keys, head_dim) -> as ``hidden``.

        ``mask`` is (batch, 1, 1, keys). With one query per sentence nothing has to be transposed.
        """
        query = self.project(hidden)
        if queries == 1:
            context = _attend(query.view(-1, self.heads, 1, self.head_dim), key, value, mask, self.scale)
        else:
            query = query.view(-1, queries, self.heads, self.head_dim).transpose(1, 2)
            context = _attend(query, key, value, mask, self.scale).transpose(1, 2)
        return self.residual(context.reshape(-1, self.heads * self.head_dim), hidden)  # type: ignore[no-any-return]


class OutputProjection(nn.Module):
    """Hidden states -> logits, with the target embedding's weights (HAT shares them)."""

    zeros: Tensor

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight
        # A bias of zeros makes this one Gemm on the table as it lies, not a product with its transpose.
        self.register_buffer("zeros", torch.zeros(weight.size(0)), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """``hidden`` (rows, embed) -> logits (rows, vocabulary)."""
        return F.linear(hidden, self.weight, self.zeros)


def sinusoids(positions: int, embed: int) -> Tensor:
    """Table (positions, embed) of interleaved sines and cosines (Vaswani et al. 2017, section 3.5).

    A narrower model takes the leading columns of the widest one's, as HAT does.
    """
    if torch.get_default_device().type == "meta":
        return torch.empty(positions, embed)
    pairs = (embed + 1) // 2
    frequency = torch.exp(torch.arange(pairs) * (-math.log(10000.0) / pairs))
    angle = torch.arange(positions)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :embed].contiguous()


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Softmax attention; written out, because the runtimes fuse the scale into the first product."""
    scores = torch.matmul(query, key.transpose(2, 3)) * scale
    if mask is not None:
        scores = scores + mask
    return torch.matmul(scores.softmax(dim=-1), value)


def _embedding(vocabulary: int, embed: int) -> nn.Parameter:
    weight = nn.Parameter(torch.empty(vocabulary, embed))
    if not weight.is_meta:
        nn.init.normal_(weight, std=embed**-0.5)
    return weight
