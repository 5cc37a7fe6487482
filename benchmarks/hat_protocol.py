"""What HAT's way to latencies costs here: whole models in eager PyTorch, 5 dry and 20 timed runs each.

    python -m benchmarks.hat_protocol [--space hat_wmt14_ende] [--models 20] [--rows 2000] [--json]

As HAT's latency_dataset.py does: encoder and decoder apart, the beam in the batch, in training mode and
with autograd on. The decoder's dry runs are a forward pass over all tokens each, the timed ones go
step by step with its cache. The time of ``--rows`` models (2,000
in HAT's data sets) is extrapolated from ``--models`` random ones.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from typing import Any

from hwnas.families import get_family
from hwnas.families.base import Vocabularies
from hwnas.spaces import load_space
from hwnas.workload import Workload

DRY, TIMED = 5, 20


def model_seconds(model: Any, workload: Workload) -> float:
    """Wall seconds that one row of HAT's data set takes."""
    import torch

    source = torch.randint(4, workload.vocabulary, (workload.batch, workload.source_tokens))
    tokens = torch.full((workload.batch * workload.beam,), 4)

    beams = model.encode(source.repeat_interleave(workload.beam, dim=0))
    targets = torch.full((len(tokens), workload.target_tokens), 4)

    def decode(memory: Any) -> None:
        caches = model.empty_caches(len(tokens))
        for position in range(workload.target_tokens):
            _, caches = model.step(tokens, torch.tensor([position]), memory, caches, workload.beam)

    model.train()
    began = time.perf_counter()
    for _ in range(DRY + TIMED):
        memory = model.encode(source)
    for _ in range(DRY):
        teacher_forced(model, beams, targets)
    for _ in range(TIMED):
        decode(memory)
    return time.perf_counter() - began


def teacher_forced(model: Any, memory: Any, targets: Any) -> Any:
    """Logits of all tokens of ``targets`` (rows, tokens) at once: the model's forward pass, its encoder aside."""
    import torch

    tokens = targets.size(1)
    hidden = model.target_embedding(targets, torch.arange(tokens))
    for layer, attended in enumerate(model.attended):
        hidden = model.self_attention[layer].teacher_forced(hidden, tokens)
        key, value, mask = memory.keys[layer], memory.values[layer], memory.masks[attended]
        hidden = model.decoder_ffn[layer](model.cross_attention[layer](hidden, key, value, mask, tokens))
    return model.output(hidden).view(len(targets), tokens, -1)


def extrapolate(space_name: str, models: int, rows: int, seed: int = 0) -> dict[str, float]:
    """Seconds per model, its standard deviation, and hours for ``rows`` models, by HAT's protocol."""
    import torch

    space = load_space(space_name)
    family, workload, rng = get_family(space.family), space.workload, random.Random(seed)
    vocabularies = Vocabularies(workload.vocabulary, workload.vocabulary)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    seconds = [model_seconds(family.model(space, space.sample(rng), vocabularies), workload) for _ in range(models)]
    mean = statistics.fmean(seconds)
    return {
        "models": models,
        "seconds_per_model": mean,
        "seconds_sd": statistics.stdev(seconds) if models > 1 else 0.0,
        "rows": rows,
        "hours_extrapolated": mean * rows / 3600,
    }


def main() -> None:
    """Print the cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="hat_wmt14_ende")
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cost = extrapolate(given.space, given.models, given.rows)
    if given.json:
        print(json.dumps(cost))
        return
    print(
        f"HAT's protocol on {given.space}: {cost['seconds_per_model']:.2f} s per model (sd {cost['seconds_sd']:.2f}, "
        f"{given.models} models); {given.rows} models would take {cost['hours_extrapolated']:.2f} h"
    )


if __name__ == "__main__":
    main()
