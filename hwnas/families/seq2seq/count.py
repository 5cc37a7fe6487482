"""Parameters, multiply-accumulates and peak memory of a candidate, by formula."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.families.base import Convention, Count, Vocabularies
from hwnas.families.seq2seq.space import layer_values
from hwnas.space import Candidate
from hwnas.workload import Workload

_FP32_BYTES = 4


@dataclass(frozen=True, slots=True)
class _Sizes:
    """A candidate's sizes, per layer where they are."""

    embed: int
    qkv: int
    ffn: tuple[int, ...]
    attended: tuple[int, ...]
    decoder_embed: int
    decoder_ffn: tuple[int, ...]
    heads: int

    @classmethod
    def of(cls, candidate: Candidate, qkv: int) -> _Sizes:
        depth, decoder_depth = candidate["encoder_layers"], candidate["decoder_layers"]
        heads = [
            *layer_values(candidate, "encoder_heads", depth),
            *layer_values(candidate, "decoder_self_heads", decoder_depth),
            *layer_values(candidate, "decoder_cross_heads", decoder_depth),
        ]
        return cls(
            embed=candidate["encoder_embed"],
            qkv=qkv,
            ffn=layer_values(candidate, "encoder_ffn", depth),
            attended=layer_values(candidate, "decoder_attended", decoder_depth),
            decoder_embed=candidate["decoder_embed"],
            decoder_ffn=layer_values(candidate, "decoder_ffn", decoder_depth),
            heads=max(heads),
        )


def count(
    candidate: Candidate,
    qkv: int,
    workload: Workload,
    convention: Convention,
    vocabularies: Vocabularies | None = None,
) -> Count:
    """Size and work of one sentence (batch and beam 1; all target tokens in one teacher-forced pass).

    ``hat`` is what HAT's ``train.py --profile-flops`` reports, less embedding table and output layer:
    each matrix product at its true size (attention scores and values over every pair of positions,
    causal or not; cross-attention keys and values over all attended layers) and, by the rules of the
    torchprofile of that time (May 2020), one multiply-accumulate per element for a layer
    normalisation and for a multiplication, of which HAT has two kinds: the scale of an embedding and
    the scale of a query. Additions (bias, residual, mask), softmax and ReLU are free.
    ``full`` adds the output projection and every bias and residual addition; its parameters are
    those of the stand-alone model, the output layer tied to the target embedding.
    ``vocabularies`` defaults to the workload's for both sides.
    """
    sizes = _Sizes.of(candidate, qkv)
    params, macs = _body_params(sizes), _body_macs(sizes, workload)
    if convention == "full":
        symbols = vocabularies or Vocabularies(workload.vocabulary, workload.vocabulary)
        params += symbols.source * sizes.embed + symbols.target * sizes.decoder_embed
        macs += _remaining_macs(sizes, workload, symbols.target)
    return Count(params, macs)


def _body_params(sizes: _Sizes) -> int:
    embed, decoder, qkv = sizes.embed, sizes.decoder_embed, sizes.qkv
    encoder_attention = 3 * (qkv * embed + qkv) + qkv * embed + embed
    self_attention = 3 * (qkv * decoder + qkv) + qkv * decoder + decoder
    cross_attention = (qkv * decoder + qkv) + 2 * (qkv * sizes.embed + qkv) + qkv * decoder + decoder
    total = sum(encoder_attention + _ffn_params(embed, ffn) + 2 * 2 * embed for ffn in sizes.ffn)
    for ffn in sizes.decoder_ffn:
        total += self_attention + cross_attention + _ffn_params(decoder, ffn) + 3 * 2 * decoder
    return total


def _ffn_params(embed: int, ffn: int) -> int:
    return 2 * embed * ffn + ffn + embed


def _body_macs(sizes: _Sizes, workload: Workload) -> int:
    source, target, qkv = workload.source_tokens, workload.target_tokens, sizes.qkv
    embed, decoder = sizes.embed, sizes.decoder_embed
    total = source * embed + target * decoder  # embedding scales
    for ffn in sizes.ffn:
        total += source * (4 * qkv * embed + 2 * embed * ffn) + 2 * source * source * qkv
        total += source * qkv + 2 * source * embed  # query scale, two layer normalisations
    for ffn, attended in zip(sizes.decoder_ffn, sizes.attended, strict=True):
        keys = attended * source
        total += target * (4 * qkv * decoder + 2 * decoder * ffn) + 2 * target * target * qkv
        total += target * 2 * qkv * decoder + keys * 2 * qkv * sizes.embed + 2 * target * keys * qkv
        total += 2 * target * qkv + 3 * target * decoder  # query scales, three layer normalisations
    return total


def _remaining_macs(sizes: _Sizes, workload: Workload, vocabulary: int) -> int:
    source, target, qkv = workload.source_tokens, workload.target_tokens, sizes.qkv
    embed, decoder = sizes.embed, sizes.decoder_embed
    total = target * decoder * vocabulary
    for ffn in sizes.ffn:
        total += source * (3 * qkv + embed + ffn + embed) + 2 * source * embed
    for ffn, attended in zip(sizes.decoder_ffn, sizes.attended, strict=True):
        total += target * (3 * qkv + decoder + qkv + decoder + ffn + decoder) + 3 * target * decoder
        total += attended * source * 2 * qkv
    return total


def peak_memory_bytes(candidate: Candidate, qkv: int, workload: Workload) -> int:
    """Weights, the key-value caches at their longest, and the largest set of live activations, in fp32.

    The encoder's activations and the decoder's caches are not alive together: the peak is the
    larger of the two phases. A step holds its caches twice (as they were, and grown) and one
    sublayer's inputs, intermediate results and outputs, or the logits.
    """
    sizes = _Sizes.of(candidate, qkv)
    weights = count(candidate, qkv, workload, "full").params
    batch, source, rows = workload.batch, workload.source_tokens, workload.batch * workload.beam
    cross = sum(2 * batch * source * attended * qkv for attended in sizes.attended)
    cache = 2 * len(sizes.decoder_ffn) * rows * workload.target_tokens * qkv
    kept = max(sizes.attended) * batch * source * sizes.embed
    encoder = max(
        batch * source * (2 * sizes.embed + 4 * qkv) + 2 * batch * sizes.heads * source * source,
        batch * source * (2 * sizes.embed + max(sizes.ffn)),
    )
    longest = max(max(sizes.attended) * source, workload.target_tokens)
    step = max(
        rows * (2 * sizes.decoder_embed + 4 * qkv) + 2 * rows * sizes.heads * longest,
        rows * (2 * sizes.decoder_embed + max(sizes.decoder_ffn)),
        rows * (sizes.decoder_embed + workload.vocabulary),
    )
    # A step's graph returns the grown caches of all layers while the old ones, its inputs, are still alive.
    return _FP32_BYTES * (weights + cross + max(kept + encoder, 2 * cache + step))
