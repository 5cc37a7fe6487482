"""The two deployable graphs with every shape fixed, for runtimes and accelerators that know no others.

The source is padded to the workload's length, and the caches have the length of its target from the
first step on: a step writes its position, and masks those that are not written yet.
"""

from __future__ import annotations

import torch
from torch import Tensor

from exporters import GraphInputs
from hwnas.data.task import PAD
from hwnas.families.base import GraphStage, ModelGraphs
from hwnas.families.seq2seq.graphs import (
    DECODER_STEP,
    ENCODER,
    DecoderStepGraph,
    EncoderGraph,
    cache_names,
    memory_names,
    symbols,
)
from hwnas.families.seq2seq.model import SubTransformer
from hwnas.families.seq2seq.modules import MASKED_NARROWLY
from hwnas.workload import Workload

Tensors = dict[str, Tensor]


def build_fixed_graphs(model: SubTransformer, workload: Workload) -> ModelGraphs:
    """Graphs of exactly the workload's sizes; otherwise as :func:`hwnas.families.seq2seq.graphs.build_graphs`.

    Their inputs are those of a step in the middle of a sentence; representative ones are a padded
    source, and the first and the last step.
    """
    generator = torch.Generator().manual_seed(workload.source_tokens)
    encoder, names, caches = EncoderGraph(model, MASKED_NARROWLY), memory_names(model), cache_names(model)
    vocabulary = model.source_embedding.weight.size(0)
    source = symbols(vocabulary, (workload.batch, workload.source_tokens), generator)
    padded = source.clone()
    padded[:, (workload.source_tokens + 1) // 2 :] = PAD
    steps = _steps(model, workload, padded, generator)
    middle = steps.pop(len(steps) // 2)
    decoder = GraphStage(
        DECODER_STEP,
        repeat=workload.target_tokens,
        feeds={name: f"{ENCODER}.{name}" for name in names},
        carry={name: f"next_{name}" for name in caches},
        initial={name: tuple(middle[name].shape) for name in caches},
        counter="position",
    )
    return ModelGraphs(
        {
            ENCODER: (encoder, GraphInputs({"source": source}, names, representative=[{"source": padded}])),
            DECODER_STEP: (
                DecoderStepGraph(model, workload.beam, fixed=True),
                GraphInputs(middle, ("logits", *(f"next_{name}" for name in caches)), representative=steps),
            ),
        },
        (GraphStage(ENCODER), decoder),
    )


def _steps(model: SubTransformer, workload: Workload, source: Tensor, generator: torch.Generator) -> list[Tensors]:
    """Inputs of the first, the middle and the last step of a sentence of random symbols."""
    rows, length, names = workload.batch * workload.beam, workload.target_tokens, cache_names(model)
    graph = DecoderStepGraph(model, workload.beam, fixed=True).eval()
    wanted, kept = {0, length // 2, length - 1}, []
    with torch.no_grad():
        memory = dict(zip(memory_names(model), EncoderGraph(model, MASKED_NARROWLY).eval()(source), strict=True))
        empty = (cache for pair in model.empty_caches(rows) for cache in pair)
        past = {
            name: cache.new_zeros(rows, cache.size(1), length, cache.size(3))
            for name, cache in zip(names, empty, strict=True)
        }
        for position in range(length):
            tokens = symbols(model.target_embedding.weight.size(0), (rows,), generator)
            given = {"tokens": tokens, "position": torch.tensor([position]), **memory, **past}
            if position in wanted:
                kept.append(given)
            _, *after = graph(*given.values())
            past = dict(zip(names, after, strict=True))
    return kept
