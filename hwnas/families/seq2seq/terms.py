"""The operators a space can need and the choices each depends on. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product

from hwnas.families.base import Term
from hwnas.space import SearchSpace
from hwnas.workload import Workload
from latency_luts import OperatorSpec


def terms(space: SearchSpace, workload: Workload) -> tuple[Term, ...]:
    """Every operator of every candidate: the encoder's once, the decoder step's per target token.

    Where precision is a choice, an operator is in that of its block (:mod:`hwnas.families.seq2seq.precision`).

    ``attended`` encoder layers are concatenated on the length axis (HAT, section 3.1), so the
    keys and values of such a layer are ``attended * tokens`` long.
    """
    return (
        *_encoder_terms(space, workload),
        *_cross_terms(space, workload),
        *_decoder_terms(space, workload),
    )


def _encoder_terms(space: SearchSpace, workload: Workload) -> Iterator[Term]:
    batch, tokens, qkv = workload.batch, workload.source_tokens, space.fixed["qkv"]
    yield from _expand(
        space, 1, ["encoder_embed"],
        lambda embed: OperatorSpec.of(
            "source_embedding", batch=batch, embed=embed, tokens=tokens, vocabulary=workload.vocabulary
        ),
    )  # fmt: skip
    for layer in _layers(space, "encoder_layers"):
        yield from _expand(
            space, 1, ["encoder_embed", f"encoder_heads.{layer}"],
            lambda embed, heads: OperatorSpec.of(
                "encoder_self_attention", batch=batch, embed=embed, heads=heads, qkv=qkv, tokens=tokens
            ),
            f"encoder_attention_bits.{layer}",
        )  # fmt: skip
        yield from _expand(
            space, 1, ["encoder_embed", f"encoder_ffn.{layer}"],
            lambda embed, ffn: OperatorSpec.of(
                "encoder_ffn", batch=batch, embed=embed, ffn=ffn, tokens=tokens
            ),
            f"encoder_ffn_bits.{layer}",
        )  # fmt: skip


def _cross_terms(space: SearchSpace, workload: Workload) -> Iterator[Term]:
    batch, tokens, qkv = workload.batch, workload.source_tokens, space.fixed["qkv"]
    for layer in _layers(space, "decoder_layers"):
        yield from _expand(
            space, 1, ["encoder_embed", f"decoder_cross_heads.{layer}", f"decoder_attended.{layer}"],
            lambda embed, heads, attended: OperatorSpec.of(
                "cross_projection",
                attended=attended, batch=batch, embed=embed, heads=heads, qkv=qkv, tokens=tokens,
            ),
            f"decoder_cross_bits.{layer}",
        )  # fmt: skip


def _decoder_terms(space: SearchSpace, workload: Workload) -> Iterator[Term]:
    batch, beam, vocabulary = workload.batch, workload.beam, workload.vocabulary
    steps, qkv, source_tokens = workload.target_tokens, space.fixed["qkv"], workload.source_tokens
    for kind in ("target_embedding", "output_projection"):
        yield from _expand(
            space, steps, ["decoder_embed"],
            lambda embed, kind=kind: OperatorSpec.of(
                kind, batch=batch, beam=beam, embed=embed, vocabulary=vocabulary
            ),
            "output_bits" if kind == "output_projection" else "",
        )  # fmt: skip
    for layer in _layers(space, "decoder_layers"):
        yield from _expand(
            space, steps, ["decoder_embed", f"decoder_self_heads.{layer}"],
            lambda embed, heads: OperatorSpec.of(
                "decoder_self_attention",
                batch=batch, beam=beam, cache=workload.cache, embed=embed, heads=heads, qkv=qkv,
            ),
            f"decoder_self_bits.{layer}",
        )  # fmt: skip
        yield from _expand(
            space, steps, ["decoder_embed", f"decoder_cross_heads.{layer}", f"decoder_attended.{layer}"],
            lambda embed, heads, attended: OperatorSpec.of(
                "decoder_cross_attention",
                batch=batch, beam=beam, embed=embed, heads=heads, qkv=qkv, tokens=source_tokens * attended,
            ),
            f"decoder_cross_bits.{layer}",
        )  # fmt: skip
        yield from _expand(
            space, steps, ["decoder_embed", f"decoder_ffn.{layer}"],
            lambda embed, ffn: OperatorSpec.of("decoder_ffn", batch=batch, beam=beam, embed=embed, ffn=ffn),
            f"decoder_ffn_bits.{layer}",
        )  # fmt: skip


def _layers(space: SearchSpace, depth: str) -> range:
    return range(max(space.choices[space.index[depth]].values))


def _expand(
    space: SearchSpace, count: int, names: Sequence[str], operator: Callable[..., OperatorSpec], bits: str = ""
) -> Iterator[Term]:
    """One term per combination of values, and per depth at which the layer exists at all.

    ``bits`` is the choice of the operator's precision, if the space has it.
    """
    if bits in space.index:
        for index, precision in enumerate(space.choices[space.index[bits]].precisions):
            for term in _expand(space, count, names, operator):
                yield Term(replace(term.operator, precision=precision), term.count, {**term.when, bits: index})
        return
    choices = [space.choices[space.index[name]] for name in names]
    depths: list[dict[str, int]] = [{}]
    for gate, least in {choice.when for choice in choices if choice.when is not None}:
        values = space.choices[space.index[gate]].values
        depths = [{gate: index} for index, value in enumerate(values) if value >= least]
    for picks in product(*(enumerate(choice.values) for choice in choices)):
        spec = operator(*(value for _, value in picks))
        for depth in depths:
            yield Term(spec, count, {**dict(zip(names, (index for index, _ in picks), strict=True)), **depth})
