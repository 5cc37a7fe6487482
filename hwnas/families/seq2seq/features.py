"""What HAT's data sets tell about a model: ten averages, and the parts and the work that follow from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hwnas.errors import SpaceError
from hwnas.families.seq2seq.space import DECODER_CHOICES, ENCODER_CHOICES
from hwnas.space import Genes, SearchSpace
from hwnas.workload import Workload

Array = npt.NDArray[np.float64]

FEATURES = (
    "encoder_embed_dim",
    "encoder_layer_num",
    "encoder_ffn_embed_dim_avg",
    "encoder_self_attention_heads_avg",
    "decoder_embed_dim",
    "decoder_layer_num",
    "decoder_ffn_embed_dim_avg",
    "decoder_self_attention_heads_avg",
    "decoder_ende_attention_heads_avg",
    "decoder_arbitrary_ende_attn_avg",
)
"""The ten columns that describe a model in HAT's latency data sets (latency_dataset.py), in their order.

``_avg`` is the mean over the layers that exist; the last counts attended encoder layers (1 to 3).
"""

ENCODER_PARTS = ("encoder", "encoder_layer", "encoder_ffn", "encoder_heads")
DECODER_PARTS = (
    "decoder",
    "decoder_layer",
    "decoder_layer_width",
    "decoder_ffn",
    "decoder_self_heads",
    "decoder_cross_heads",
    "decoder_attended",
    "cross_projection",
)
PARTS = ENCODER_PARTS + DECODER_PARTS
"""What a model's latency is a sum of; see :func:`count_parts`."""


def count_parts(features: Array) -> Array:
    """How much of each of ``PARTS`` models have, (models, 12), from features (models, 10).

    The finest additive form that averages determine, as sum = layers x mean: a constant; per
    encoder layer its width, its feed-forward area and its heads; per decoder the width (embedding and
    output projection); per decoder layer a constant, the width, the feed-forward area, both kinds
    of heads, the attended encoder layers (cross-attention), and these times the encoder's width
    (the keys and values, projected once a sentence). Widths are in units of 512, feed-forward widths
    in units of 1024, heads in units of 8.
    """
    embed, layers, ffn, heads, target, depth, target_ffn, self_heads, cross_heads, attended = features.T
    width, target_width = embed / 512, target / 512
    return np.column_stack(
        [
            np.ones(len(features)),
            layers * width,
            layers * width * ffn / 1024,
            layers * heads / 8,
            target_width,
            depth,
            depth * target_width,
            depth * target_width * target_ffn / 1024,
            depth * self_heads / 8,
            depth * cross_heads / 8,
            depth * attended,
            depth * attended * width,
        ]
    )


def count_macs(features: Array, qkv: int, workload: Workload) -> Array:
    """Multiply-accumulates of models, (models,), by HAT's convention, from features (models, 10).

    Exactly what :func:`hwnas.families.seq2seq.count.count` gives with ``hat``: it is linear in
    every per-layer size, so means times layers are enough.
    """
    embed, layers, ffn, _, target, depth, target_ffn, _, _, attended = features.T
    source_tokens, target_tokens = workload.source_tokens, workload.target_tokens
    keys = attended * source_tokens
    per_encoder_layer = (
        source_tokens * (4 * qkv * embed + 2 * embed * ffn)
        + 2 * source_tokens**2 * qkv
        + source_tokens * (qkv + 2 * embed)
    )
    per_decoder_layer = (
        target_tokens * (6 * qkv * target + 2 * target * target_ffn)
        + 2 * target_tokens**2 * qkv
        + keys * 2 * qkv * embed
        + 2 * target_tokens * keys * qkv
        + target_tokens * (2 * qkv + 3 * target)
    )
    macs: Array = (
        source_tokens * embed + target_tokens * target + layers * per_encoder_layer + depth * per_decoder_layer
    )
    return macs


class FeaturesOfGenes:
    """HAT's ten features of the candidates of a seq2seq space, many at once."""

    def __init__(self, space: SearchSpace) -> None:
        """Raises :class:`SpaceError` for a space that has not the seq2seq family's choices, or chooses precisions."""
        if space.mixed:
            raise SpaceError(f"space {space.name!r} chooses precisions, which HAT's features do not tell; use a table")
        self._choices = len(space.choices)
        self._values = [np.array(choice.values, dtype=np.float64) for choice in space.choices]
        try:
            self._sides = [
                _Side(space, "encoder_embed", "encoder_layers", ENCODER_CHOICES),
                _Side(space, "decoder_embed", "decoder_layers", DECODER_CHOICES),
            ]
        except KeyError as exc:
            raise SpaceError(
                f"space {space.name!r} has no choice {exc}; HAT's features are those of the seq2seq family"
            ) from None

    def __call__(self, genes: Genes) -> Array:
        """Shape (candidates, 10), in the order of ``FEATURES``, for genes of shape (candidates, choices).

        Raises :class:`SpaceError` for another number of choices or an index out of range.
        """
        if genes.ndim != 2 or genes.shape[1] != self._choices:
            raise SpaceError(f"genes have shape {genes.shape}, not (candidates, {self._choices})")
        try:
            values = np.column_stack([value[genes[:, place]] for place, value in enumerate(self._values)])
        except IndexError:
            raise SpaceError("a gene has an index that is not one of its choice's values") from None
        return np.column_stack([column for side in self._sides for column in side.columns(values)])


class _Side:
    """Where the choices of the encoder or of the decoder stand in a gene."""

    def __init__(self, space: SearchSpace, embed: str, depth: str, per_layer: Sequence[str]) -> None:
        self._embed, self._depth = space.index[embed], space.index[depth]
        layers = range(max(space.choices[self._depth].values))
        self._layers = [[space.index[f"{name}.{layer}"] for layer in layers] for name in per_layer]

    def columns(self, values: Array) -> list[Array]:
        """Width, depth, and the means over the layers that exist, each (candidates,)."""
        depth = values[:, self._depth]
        exists = np.arange(len(self._layers[0])) < depth[:, None]
        means = [(values[:, places] * exists).sum(axis=1) / depth for places in self._layers]
        return [values[:, self._embed], depth, *means]
