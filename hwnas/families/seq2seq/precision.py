"""A precision for every block of a model: the choices, and the modules and operators each decides for. Needs no torch.

A block is what is quantised as a whole: attention or feed-forward network of a layer, or the output projection.
Embeddings stay in fp32: they are looked up, not multiplied, and the target's is the output projection's too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hwnas.space import Candidate, Choice, SearchSpace

BITS: Mapping[str, int] = {"fp32": 32, "int8-dynamic": 8}
"""What a block may be in -> the value of its choice: bits of its weights."""

_ENCODER, _DECODER = "encoder_layers", "decoder_layers"
BLOCKS: Mapping[str, tuple[str | None, tuple[str, ...]]] = {
    "encoder_attention_bits": (_ENCODER, ("encoder_attention",)),
    "encoder_ffn_bits": (_ENCODER, ("encoder_ffn",)),
    "decoder_self_bits": (_DECODER, ("self_attention",)),
    "decoder_cross_bits": (_DECODER, ("cross_projection", "cross_attention")),
    "decoder_ffn_bits": (_DECODER, ("decoder_ffn",)),
    "output_bits": (None, ("output",)),
}
"""Choice -> the depth that it has one for each layer of, and the modules of a model that it decides for."""

ENCODED = ("encoder_attention", "encoder_ffn", "cross_projection")
"""Of these modules those that run once a source, in the encoder's graph."""


def precision_choices(values: Mapping[str, list[int]], precisions: Sequence[str]) -> list[Choice]:
    """One for every block, given the values of the depths; none without ``precisions``."""
    if not precisions:
        return []
    bits, choices = tuple(BITS[precision] for precision in precisions), []
    for name, (depth, _) in BLOCKS.items():
        if depth is None:
            choices.append(Choice(name, bits, precisions=tuple(precisions)))
            continue
        for layer in range(max(values[depth])):
            when = (depth, layer + 1) if layer >= min(values[depth]) else None
            choices.append(Choice(f"{name}.{layer}", bits, when, tuple(precisions)))
    return choices


def precisions_of(space: SearchSpace, candidate: Candidate) -> dict[str, str]:
    """Modules of a candidate's model that are not in fp32, by path: ``encoder_ffn.0`` -> ``int8-dynamic``."""
    found = {}
    for choice in space.choices:
        if choice.precisions and choice.name in candidate:
            precision = choice.precisions[choice.values.index(candidate[choice.name])]
            block, _, layer = choice.name.partition(".")
            for module in BLOCKS[block][1] if precision != "fp32" else ():
                found[f"{module}.{layer}" if layer else module] = precision
    return found
