"""The two deployable graphs of a model: the encoder, and one decoder step with its cache."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from exporters import GraphInputs
from hwnas.data.task import UNK
from hwnas.families.base import GraphStage, ModelGraphs
from hwnas.families.seq2seq.model import Memory, SubTransformer
from hwnas.families.seq2seq.modules import MASKED
from hwnas.families.seq2seq.precision import ENCODED
from hwnas.workload import Workload

ENCODER, DECODER_STEP = "encoder", "decoder_step"


class EncoderGraph(nn.Module):
    """``source`` -> cross-attention keys and values of every decoder layer, then the masks."""

    def __init__(self, model: SubTransformer, masked: float = MASKED) -> None:
        super().__init__()
        self.model, self.masked = model, masked

    def forward(self, source: Tensor) -> tuple[Tensor, ...]:
        """``source`` (batch, tokens) -> in the order of :func:`memory_names`."""
        memory = self.model.encode(source, self.masked)
        pairs = zip(memory.keys, memory.values, strict=True)
        return (*(tensor for pair in pairs for tensor in pair), *memory.masks.values())


class DecoderStepGraph(nn.Module):
    """``tokens``, ``position``, what the encoder gave, and the caches -> logits and the caches after.

    They grow by this step's position, or, ``fixed``, keep their length and are written there.
    """

    def __init__(self, model: SubTransformer, beam: int, *, fixed: bool = False) -> None:
        super().__init__()
        self.model, self.beam = model, beam
        self.step = model.fixed_step if fixed else model.step

    def forward(self, tokens: Tensor, position: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """``tokens`` (batch * beam,), ``position`` (1,), then :func:`memory_names` and the caches."""
        layers = len(self.model.attended)
        kept, attended = tensors[: 2 * layers], sorted(set(self.model.attended))
        masks = dict(zip(attended, tensors[2 * layers :], strict=False))
        past = tensors[2 * layers + len(attended) :]
        caches = tuple(zip(past[::2], past[1::2], strict=True))
        logits, after = self.step(tokens, position, Memory(kept[::2], kept[1::2], masks), caches, self.beam)
        return (logits, *(tensor for pair in after for tensor in pair))


def memory_names(model: SubTransformer) -> tuple[str, ...]:
    """``cross_key_0, cross_value_0, … , cross_mask_1 …``: what goes from the encoder to the decoder."""
    pairs = [f"cross_{what}_{layer}" for layer in range(len(model.attended)) for what in ("key", "value")]
    return (*pairs, *(f"cross_mask_{attended}" for attended in sorted(set(model.attended))))


def cache_names(model: SubTransformer) -> tuple[str, ...]:
    """``self_key_0, self_value_0, …``; those after the step are called ``next_self_key_0, …``."""
    return tuple(f"self_{what}_{layer}" for layer in range(len(model.attended)) for what in ("key", "value"))


def build_graphs(model: SubTransformer, workload: Workload) -> ModelGraphs:
    """Graphs for any batch and source length, the beam fixed to the workload's; inputs of its sizes.

    The decoder step runs once per target token: it carries its caches, and its ``position`` counts.
    """
    rows, names, caches = workload.batch * workload.beam, memory_names(model), cache_names(model)
    generator = torch.Generator().manual_seed(workload.source_tokens)
    source = symbols(model.source_embedding.weight.size(0), (workload.batch, workload.source_tokens), generator)
    precisions: dict[str, dict[str, str]] = {ENCODER: {}, DECODER_STEP: {}}
    for module, precision in model.precisions.items():
        precisions[ENCODER if module.partition(".")[0] in ENCODED else DECODER_STEP][module] = precision
    encoder = GraphInputs({"source": source}, names, {"source": {0: "batch", 1: "source"}}, (), precisions[ENCODER])
    with torch.no_grad():
        memory = dict(zip(names, EncoderGraph(model)(source), strict=True))

    past: dict[str, Tensor] = {}
    for name, (cache, _) in zip(caches, (pair for pair in model.empty_caches(rows) for _ in pair), strict=True):
        past[name] = torch.randn(rows, cache.size(1), workload.cache, cache.size(3), generator=generator)
    tokens = symbols(model.target_embedding.weight.size(0), (rows,), generator)
    step = GraphInputs(
        {"tokens": tokens, "position": torch.tensor([workload.cache]), **memory, **past},
        ("logits", *(f"next_{name}" for name in caches)),
        {"tokens": {0: "rows"}, **_dynamic(model), **{name: {0: "rows", 2: "past"} for name in caches}},
        precisions=precisions[DECODER_STEP],
    )
    decoder = GraphStage(
        DECODER_STEP,
        repeat=workload.target_tokens,
        feeds={name: f"{ENCODER}.{name}" for name in names},
        carry={name: f"next_{name}" for name in caches},
        initial={name: (*tensor.shape[:2], 0, tensor.size(3)) for name, tensor in past.items()},
        counter="position",
    )
    return ModelGraphs(
        {
            ENCODER: (EncoderGraph(model), encoder),
            DECODER_STEP: (DecoderStepGraph(model, workload.beam), step),
        },
        (GraphStage(ENCODER), decoder),
    )


def _dynamic(model: SubTransformer) -> dict[str, dict[int, str]]:
    axes: dict[str, dict[int, str]] = {}
    for layer, attended in enumerate(model.attended):
        for what in ("key", "value"):
            axes[f"cross_{what}_{layer}"] = {0: "batch", 2: f"keys_{attended}"}
        axes[f"cross_mask_{attended}"] = {0: "batch", 3: f"keys_{attended}"}
    return axes


def symbols(vocabulary: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random symbols of a vocabulary that are no padding."""
    return torch.randint(min(UNK, vocabulary - 1), vocabulary, shape, generator=generator)
