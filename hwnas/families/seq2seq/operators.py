"""An operator's key -> the deployed sublayer of these sizes, with seeded weights and inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from exporters import GraphInputs
from hwnas.data.task import UNK
from hwnas.errors import SpaceError
from hwnas.families.seq2seq.modules import (
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
from latency_luts import OperatorSpec

_POSITIONS = 1024
"""Rows of an operator's position table; only those in use are ever read."""

Built = tuple[nn.Module, GraphInputs]
Sizes = Mapping[str, int]


def build(operator: OperatorSpec, *, fixed: bool = False) -> Built:
    """The module of an operator and its inputs; the same operator always gets the same numbers.

    ``fixed``: as it is deployed in graphs of fixed shapes; only a decoder's self-attention is another then.
    Raises :class:`SpaceError` for an operator that is not of this family.
    """
    builders = {**_BUILDERS, **_FIXED} if fixed else _BUILDERS
    if operator.kind not in builders or operator.precision != "fp32":
        raise SpaceError(f"{operator} is not an operator of the seq2seq family")
    seed = int.from_bytes(hashlib.sha256(str(operator).encode()).digest()[:4], "big")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return builders[operator.kind](dict(operator.sizes))
        except KeyError as exc:
            raise SpaceError(f"{operator} lacks the size {exc}") from exc


class _AtLength(nn.Module):
    """Calls a module whose first argument is a number of tokens or queries with a fixed one."""

    def __init__(self, module: nn.Module, number: int, *, last: bool) -> None:
        super().__init__()
        self.module, self.number, self.last = module, number, last

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        result: Tensor | tuple[Tensor, Tensor]
        result = self.module(*tensors, self.number) if self.last else self.module(self.number, *tensors)
        return result


def _source_embedding(s: Sizes) -> Built:
    module = SourceEmbedding(s["vocabulary"], s["embed"], sinusoids(_POSITIONS, s["embed"]))
    source = _symbols(s["vocabulary"], s["batch"], s["tokens"])
    return module, GraphInputs({"source": source}, ("hidden", "mask"))


def _encoder_self_attention(s: Sizes) -> Built:
    hidden = torch.randn(s["batch"] * s["tokens"], s["embed"])
    mask = torch.zeros(s["batch"], 1, 1, s["tokens"])
    module = EncoderSelfAttention(s["embed"], s["heads"], s["qkv"])
    return module, GraphInputs({"hidden": hidden, "mask": mask}, ("output",))


def _encoder_ffn(s: Sizes) -> Built:
    hidden = torch.randn(s["batch"] * s["tokens"], s["embed"])
    return FeedForward(s["embed"], s["ffn"]), GraphInputs({"hidden": hidden}, ("output",))


def _cross_projection(s: Sizes) -> Built:
    shape = (s["batch"] * s["tokens"], s["embed"])
    memories = {f"memory_{layer}": torch.randn(shape) for layer in range(s["attended"])}
    module = CrossProjection(s["embed"], s["heads"], s["qkv"])
    return _AtLength(module, s["tokens"], last=False), GraphInputs(memories, ("key", "value"))


def _target_embedding(s: Sizes) -> Built:
    module = TargetEmbedding(s["vocabulary"], s["embed"], sinusoids(_POSITIONS, s["embed"]))
    tokens = _symbols(s["vocabulary"], s["batch"] * s["beam"])
    return module, GraphInputs({"tokens": tokens, "position": torch.tensor([3])}, ("hidden",))


def _decoder_self_attention(s: Sizes) -> Built:
    rows, shape = s["batch"] * s["beam"], (s["heads"], s["cache"], s["qkv"] // s["heads"])
    tensors = {
        "hidden": torch.randn(rows, s["embed"]),
        "past_key": torch.randn(rows, *shape),
        "past_value": torch.randn(rows, *shape),
    }
    module = DecoderSelfAttention(s["embed"], s["heads"], s["qkv"])
    past = {"past_key": {2: "past"}, "past_value": {2: "past"}}
    return module, GraphInputs(tensors, ("output", "key", "value"), past)


class _FixedStep(nn.Module):
    """Calls a decoder's self-attention over caches that keep their length."""

    def __init__(self, attention: DecoderSelfAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.attention.fixed_step(*tensors)


def _fixed_self_attention(s: Sizes) -> Built:
    """``cache`` past positions and this one; half of them are written, as in the middle of a sentence."""
    rows, length, here = s["batch"] * s["beam"], s["cache"] + 1, s["cache"] // 2
    shape = (rows, s["heads"], length, s["qkv"] // s["heads"])
    written = (torch.arange(length) < here)[:, None]
    tensors = {
        "hidden": torch.randn(rows, s["embed"]),
        "past_key": torch.randn(shape) * written,
        "past_value": torch.randn(shape) * written,
        "here": torch.eye(length)[here][:, None],
        "mask": torch.where(torch.arange(length) <= here, 0.0, MASKED_NARROWLY),
    }
    module = _FixedStep(DecoderSelfAttention(s["embed"], s["heads"], s["qkv"]))
    return module, GraphInputs(tensors, ("output", "key", "value"))


def _decoder_cross_attention(s: Sizes) -> Built:
    shape = (s["batch"], s["heads"], s["tokens"], s["qkv"] // s["heads"])
    tensors = {
        "hidden": torch.randn(s["batch"] * s["beam"], s["embed"]),
        "key": torch.randn(shape),
        "value": torch.randn(shape),
        "mask": torch.zeros(s["batch"], 1, 1, s["tokens"]),
    }
    module = DecoderCrossAttention(s["embed"], s["heads"], s["qkv"])
    return _AtLength(module, s["beam"], last=True), GraphInputs(tensors, ("output",))


def _decoder_ffn(s: Sizes) -> Built:
    hidden = torch.randn(s["batch"] * s["beam"], s["embed"])
    return FeedForward(s["embed"], s["ffn"]), GraphInputs({"hidden": hidden}, ("output",))


def _output_projection(s: Sizes) -> Built:
    hidden = torch.randn(s["batch"] * s["beam"], s["embed"])
    weight = nn.Parameter(torch.randn(s["vocabulary"], s["embed"]) * s["embed"] ** -0.5)
    return OutputProjection(weight), GraphInputs({"hidden": hidden}, ("logits",))


def _symbols(vocabulary: int, *shape: int) -> Tensor:
    return torch.randint(min(UNK, vocabulary - 1), vocabulary, shape)


_BUILDERS: Mapping[str, Callable[[Sizes], Built]] = {
    "source_embedding": _source_embedding,
    "encoder_self_attention": _encoder_self_attention,
    "encoder_ffn": _encoder_ffn,
    "cross_projection": _cross_projection,
    "target_embedding": _target_embedding,
    "decoder_self_attention": _decoder_self_attention,
    "decoder_cross_attention": _decoder_cross_attention,
    "decoder_ffn": _decoder_ffn,
    "output_projection": _output_projection,
}

_FIXED: Mapping[str, Callable[[Sizes], Built]] = {"decoder_self_attention": _fixed_self_attention}
