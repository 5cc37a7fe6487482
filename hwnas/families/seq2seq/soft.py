"""The SuperTransformer with soft choices: one forward pass that mixes every choice's values by their weights.

Values of a choice are leading slices of each other (weight entanglement), so a mixture of them is a
mask, not several sublayers: widths fade out towards their end, heads mix attention maps, depths mix
the outputs after each possible last layer. With weights that are one-hot it is the candidate itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.data.task import PAD
from hwnas.families.base import Mixture
from hwnas.families.seq2seq.model import SubTransformer
from hwnas.families.seq2seq.modules import MASKED, Affine, Norm

_NORM_EPSILON = 1e-5
_ABSENT = 1e-9
"""Stands for a weight of 0 under a logarithm; the attention that leaks is as small."""


class SoftSubTransformer(nn.Module):
    """Teacher-forced only, without dropout; ``largest`` gives the parameters, ``mixtures`` has every choice.

    What is computed is as wide and deep as the largest value that takes part in each mixture.
    """

    def __init__(self, largest: SubTransformer, mixtures: Mapping[str, Mixture]) -> None:
        super().__init__()
        self.largest = largest
        self._mixtures = mixtures

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (batch, target tokens, vocabulary) of ids (batch, tokens), BOS first."""
        memories, mask = self._encode(source)
        width, depth = _Width.of(self._mixtures["decoder_embed"]), self._mixtures["decoder_layers"]
        embedding, batch, tokens = self.largest.target_embedding, target.size(0), target.size(1)
        hidden = width.embed(target, embedding.weight, embedding.positions)
        later = torch.full((tokens, tokens), -math.inf, device=target.device).triu(1)
        result: Tensor | None = None
        for layer in range(max(depth.values)):
            hidden = self._self_attend(layer, hidden, later, batch, width)
            hidden = self._cross_attend(layer, hidden, memories, mask, batch, width)
            block = self.largest.decoder_ffn[layer]
            hidden = _feed_forward(block, hidden, width, self._mixtures[f"decoder_ffn.{layer}"])
            if layer + 1 in depth.values:
                ended = hidden if len(depth.values) == 1 else depth.weights[depth.values.index(layer + 1)] * hidden
                result = ended if result is None else result + ended
        assert result is not None
        logits = F.linear(result, embedding.weight[:, : width.widest])
        return logits.view(batch, tokens, -1)

    def _encode(self, source: Tensor) -> tuple[list[Tensor], Tensor]:
        """The output of every encoder layer, (batch * tokens, embed), and the mask of the padding."""
        width, depth = _Width.of(self._mixtures["encoder_embed"]), self._mixtures["encoder_layers"]
        embedding = self.largest.source_embedding
        hidden = width.embed(source, embedding.weight, embedding.positions)
        mask = torch.where(source == PAD, MASKED, 0.0).to(hidden.dtype)[:, None, None, :]
        outputs = []
        for layer in range(max(depth.values)):
            block = self.largest.encoder_attention[layer]
            query, key, value = _project(block.project, hidden, source.size(0), 3, width.widest)
            context = _attend(query, key, value, mask, self._mixtures[f"encoder_heads.{layer}"])
            hidden = width.residual(block.residual, context, hidden)
            block = self.largest.encoder_ffn[layer]
            hidden = _feed_forward(block, hidden, width, self._mixtures[f"encoder_ffn.{layer}"])
            outputs.append(hidden)
        return outputs, mask

    def _self_attend(self, layer: int, hidden: Tensor, later: Tensor, batch: int, width: _Width) -> Tensor:
        block = self.largest.self_attention[layer]
        query, key, value = _project(block.project, hidden, batch, 3, width.widest)
        context = _attend(query, key, value, later, self._mixtures[f"decoder_self_heads.{layer}"])
        return width.residual(block.residual, context, hidden)

    def _cross_attend(
        self, layer: int, hidden: Tensor, memories: Sequence[Tensor], mask: Tensor, batch: int, width: _Width
    ) -> Tensor:
        """Attention to the encoder layers that some value attends to, each as likely as it is attended to."""
        attended = self._attended(layer)
        encoder_width = max(self._mixtures["encoder_embed"].values)
        memory = torch.cat([memories[each].view(batch, -1, encoder_width) for each in attended], dim=1)
        key, value = _project(
            self.largest.cross_projection[layer].project, memory.flatten(0, 1), batch, 2, encoder_width
        )
        masks = [mask if weight is None else mask + (weight + _ABSENT).log() for weight in attended.values()]
        block = self.largest.cross_attention[layer]
        (query,) = _project(block.project, hidden, batch, 1, width.widest)
        context = _attend(query, key, value, torch.cat(masks, dim=3), self._mixtures[f"decoder_cross_heads.{layer}"])
        return width.residual(block.residual, context, hidden)

    def _attended(self, layer: int) -> dict[int, Tensor | None]:
        """Encoder layers that are attended to, and how likely; ``None`` for surely."""
        depth, attended = self._mixtures["encoder_layers"], self._mixtures[f"decoder_attended.{layer}"]
        pairs = [(d, a) for d in range(len(depth.values)) for a in range(len(attended.values))]
        found: dict[int, Tensor | None] = {}
        for each in range(max(depth.values)):
            seen = [(d, a) for d, a in pairs if depth.values[d] - attended.values[a] <= each < depth.values[d]]
            if len(seen) == len(pairs):
                found[each] = None
            elif seen:
                found[each] = torch.stack([depth.weights[d] * attended.weights[a] for d, a in seen]).sum()
        return found


@dataclass(frozen=True, slots=True)
class _Width:
    """A mixture of leading slices of an axis: ``slices`` (values, widest) has ones where a value reaches."""

    values: tuple[int, ...]
    weights: Tensor
    slices: Tensor

    @classmethod
    def of(cls, mixture: Mixture) -> _Width:
        weights, values = mixture.weights, torch.tensor(mixture.values, device=mixture.weights.device)
        axis = torch.arange(max(mixture.values), device=weights.device)
        return cls(mixture.values, weights, (axis < values[:, None]).to(weights.dtype))

    @property
    def widest(self) -> int:
        return self.slices.size(1)

    @property
    def single(self) -> bool:
        return len(self.values) == 1

    def mask(self) -> Tensor:
        """How much there is of each position; shape (widest,)."""
        return self.weights @ self.slices

    def embed(self, ids: Tensor, weight: Tensor, positions: Tensor) -> Tensor:
        """``ids`` (batch, tokens) -> (batch * tokens, widest), each value with a scale of its own."""
        symbols = F.embedding(ids, weight[:, : self.widest])
        places = positions[: ids.size(1), : self.widest]
        if self.single:
            return (symbols * math.sqrt(self.widest) + places).flatten(0, 1)
        scales = self.weights.new_tensor([math.sqrt(value) for value in self.values])
        return (symbols * ((self.weights * scales) @ self.slices) + places * self.mask()).flatten(0, 1)

    def residual(self, block: Tensor | nn.Module, inner: Tensor, residual: Tensor) -> Tensor:
        """Project ``inner`` (rows, any), add ``residual`` (rows, widest), normalise: what ``_Residual`` does."""
        assert isinstance(block, nn.Module)
        project, norm = block.project, block.norm
        assert isinstance(project, Affine) and isinstance(norm, Norm)
        weight, bias = project.weight[: self.widest, : inner.size(1)], project.bias[: self.widest]
        return self.normalise(residual + F.linear(inner, weight, bias), norm)

    def normalise(self, x: Tensor, norm: Norm) -> Tensor:
        """The mixture of the layer normalisations of every value's slice of ``x`` (rows, widest)."""
        weight, bias = norm.weight[: self.widest], norm.bias[: self.widest]
        if self.single:
            return F.layer_norm(x, (self.widest,), weight, bias)
        averages = (self.slices / self.slices.sum(dim=1, keepdim=True)).T
        mean = x @ averages  # (rows, values)
        variance = (x.square() @ averages - mean.square()).clamp_min(0.0)
        scale = self.weights * (variance + _NORM_EPSILON).rsqrt()
        return (x * (scale @ self.slices) - (mean * scale) @ self.slices) * weight + bias * self.mask()


def _feed_forward(block: nn.Module, hidden: Tensor, width: _Width, mixture: Mixture) -> Tensor:
    ffn, expand = _Width.of(mixture), block.expand
    assert isinstance(expand, Affine)
    inner = F.relu(F.linear(hidden, expand.weight[: ffn.widest, : width.widest], expand.bias[: ffn.widest]))
    return width.residual(block.residual, inner if ffn.single else inner * ffn.mask(), hidden)


def _project(project: Tensor | nn.Module, hidden: Tensor, batch: int, parts: int, width: int) -> tuple[Tensor, ...]:
    """Queries, keys, values: ``parts`` tensors (batch, tokens, qkv) of ``hidden`` (batch * tokens, width)."""
    assert isinstance(project, Affine)
    return (
        F.linear(hidden, project.weight[:, :width], project.bias)
        .view(batch, hidden.size(0) // batch, -1)
        .chunk(parts, dim=2)
    )


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, heads: Mixture) -> Tensor:
    """Queries, keys and values (batch, tokens, qkv) -> contexts (batch * queries, qkv), mixed over ``heads``.

    Scores are computed once, for heads so fine that every number of heads unites some of them; the
    contexts of few heads are those of the fine ones under a shared attention map, so mixing contexts is
    mixing maps.
    """
    qkv = query.size(2)
    fine = math.lcm(*heads.values)
    query, key, value = (x.view(*x.shape[:2], fine, qkv // fine).transpose(1, 2) for x in (query, key, value))
    scores = query @ key.transpose(2, 3)  # (batch, fine, queries, keys)
    maps: Tensor | None = None
    for position, number in enumerate(heads.values):
        united = scores.view(len(scores), number, fine // number, *scores.shape[2:]).sum(dim=2)
        attention = (united * (qkv // number) ** -0.5 + mask).softmax(dim=-1)
        if len(heads.values) > 1:
            attention = heads.weights[position] * attention.repeat_interleave(fine // number, dim=1)
        maps = attention if maps is None else maps + attention
    assert maps is not None
    return (maps @ value).transpose(1, 2).reshape(-1, qkv)
