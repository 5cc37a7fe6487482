"""A decoder cheap enough to try any search on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwnas.deploy import runner


class Markov(nn.Module):
    """Logits that follow from the last token, the position and the past's sum: any search can be tried on it."""

    def __init__(self, seed: int, vocabulary: int = 7) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(12, vocabulary, vocabulary, generator=generator) * 1.5
        self.past = torch.randn(vocabulary, generator=generator)

    def encode(self, source: Tensor) -> Tensor:
        return source.float().mean(dim=1)

    def empty_caches(self, rows: int) -> tuple[tuple[Tensor, Tensor], ...]:
        return ((torch.zeros(rows, 1), torch.zeros(rows, 1)),)

    def step(self, tokens: Tensor, position: Tensor, memory: Tensor, caches: object, beam: int) -> object:
        ((seen, other),) = caches  # type: ignore[misc]
        logits = self.table[int(position) % 12, tokens] + seen * self.past + memory.repeat_interleave(beam)[:, None]
        return logits, ((seen + tokens[:, None] / 7, other),)


def step_of(model: Markov, source: tuple[int, ...], rows: int) -> runner.Step:
    memory, caches = model.encode(torch.tensor([source])), model.empty_caches(rows)

    def step(tokens, position, parents):  # type: ignore[no-untyped-def]
        nonlocal caches
        order = torch.tensor(list(parents))
        caches = tuple((a[order], b[order]) for a, b in caches)
        logits, caches = model.step(torch.tensor(list(tokens)), torch.tensor([position]), memory, caches, rows)  # type: ignore[misc]
        return logits.numpy()  # type: ignore[attr-defined]

    return step
