"""Greedy and beam search in torch, one step at a time over a key-value cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from hwnas.data.batching import padded_sources
from hwnas.data.task import BOS, EOS, PAD

Ids = tuple[int, ...]
Caches = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True, slots=True)
class MaxTokens:
    """How many tokens an answer may have: ``min(limit, factor * source tokens + plus)``, EOS included.

    ``limit`` also bounds the source; it must not be above the number of positions of the model.
    """

    factor: int = 2
    plus: int = 10
    limit: int = 128

    def of(self, source_tokens: int) -> int:
        """For one source, its EOS included."""
        return min(self.limit, self.factor * source_tokens + self.plus)

    @classmethod
    def for_model(cls, model: nn.Module) -> MaxTokens:
        """The usual ones, or fewer if the model says it has fewer ``positions``."""
        usual = cls()
        positions = getattr(model, "positions", usual.limit)
        return replace(usual, limit=min(usual.limit, positions))


class Decodable(Protocol):
    """What a model must offer to be decoded; the encoder's result is its own affair."""

    def encode(self, source: Tensor) -> Any:
        """``source`` (batch, tokens), padded -> what every step needs."""
        ...

    def empty_caches(self, rows: int) -> Caches:
        """Caches of no past tokens, each tensor with ``rows`` first."""
        ...

    def step(self, tokens: Tensor, position: Tensor, memory: Any, caches: Caches, beam: int) -> tuple[Tensor, Caches]:
        """``tokens`` (batch * beam,) at ``position`` (1,) -> logits (rows, vocabulary), grown caches."""
        ...


def greedy(
    model: nn.Module, sources: Sequence[Ids], max_tokens: MaxTokens | None = None, batch_size: int = 256
) -> list[Ids]:
    """The likeliest next token (the first of equals), one after another, up to and with EOS."""
    limits, answers = max_tokens or MaxTokens.for_model(model), cast("list[Ids]", [()] * len(sources))
    with _evaluating(model) as decoder:
        for chosen, source in _batches(sources, batch_size):
            most = torch.tensor([limits.of(len(sources[i])) for i in chosen])
            for i, ids in zip(chosen, _greedy(decoder, source, most), strict=True):
                answers[i] = ids
    return answers


def beam_search(
    model: nn.Module,
    sources: Sequence[Ids],
    beam: int,
    max_tokens: MaxTokens | None = None,
    *,
    length_penalty: float = 1.0,
    batch_size: int = 64,
) -> list[Ids]:
    """The answer of the highest sum of log-probabilities divided by ``length ** length_penalty``.

    Length counts EOS (Wu et al. 2016 with a plain power, as fairseq's ``--lenpen``). Of every
    source the ``beam`` best unfinished hypotheses are kept; the search of a source ends when
    ``beam`` hypotheses have ended or its length limit is reached.
    """
    limits, answers = max_tokens or MaxTokens.for_model(model), cast("list[Ids]", [()] * len(sources))
    with _evaluating(model) as decoder:
        for chosen, source in _batches(sources, batch_size):
            most = [limits.of(len(sources[i])) for i in chosen]
            found = _beam_search(decoder, source, beam, most, length_penalty)
            for i, ids in zip(chosen, found, strict=True):
                answers[i] = ids
    return answers


def next_logits(model: nn.Module, source: Ids, prefix: Ids) -> Tensor:
    """Logits (vocabulary,) of the token after ``prefix`` (without BOS) for one source."""
    with _evaluating(model) as decoder:
        memory, caches = decoder.encode(padded_sources([source])), decoder.empty_caches(1)
        for position, token in enumerate((BOS, *prefix)):
            logits, caches = decoder.step(torch.tensor([token]), torch.tensor([position]), memory, caches, 1)
        return logits[0]


def _greedy(model: Decodable, source: Tensor, most: Tensor) -> list[Ids]:
    rows = source.size(0)
    memory, caches = model.encode(source), model.empty_caches(rows)
    tokens, chosen = torch.full((rows,), BOS), []
    unfinished = torch.ones(rows, dtype=torch.bool)
    for position in range(int(most.max())):
        logits, caches = model.step(tokens, torch.tensor([position]), memory, caches, 1)
        tokens = logits.argmax(dim=1)
        chosen.append(tokens.masked_fill(~unfinished, PAD))
        unfinished &= (tokens != EOS) & (most > position + 1)
        if not unfinished.any():
            break
    lengths = _lengths(torch.stack(chosen, dim=1), most)
    return [tuple(row[:length]) for row, length in zip(torch.stack(chosen, dim=1).tolist(), lengths, strict=True)]


def _lengths(chosen: Tensor, most: Tensor) -> list[int]:
    """Tokens up to and with EOS, or the row's limit."""
    ended = chosen == EOS
    first = torch.where(ended.any(dim=1), ended.int().argmax(dim=1) + 1, chosen.size(1))
    return cast("list[int]", torch.minimum(first, most).tolist())


def _beam_search(model: Decodable, source: Tensor, beam: int, most: Sequence[int], length_penalty: float) -> list[Ids]:
    batch = source.size(0)
    memory, caches = model.encode(source), model.empty_caches(batch * beam)
    scores = torch.full((batch, beam), -torch.inf)
    scores[:, 0] = 0.0  # all beams begin alike: only one of them may be extended
    tokens, prefixes = torch.full((batch * beam,), BOS), torch.empty(batch * beam, 0, dtype=torch.int64)
    ended: list[list[tuple[float, Ids]]] = [[] for _ in range(batch)]
    done = [False] * batch
    for position in range(max(most)):
        logits, caches = model.step(tokens, torch.tensor([position]), memory, caches, beam)
        vocabulary, length = logits.size(1), position + 1
        total = scores[:, :, None] + logits.log_softmax(dim=1).view(batch, beam, vocabulary)
        # Twice as many as needed, for at most one extension of each beam ends it.
        values, places = total.flatten(1).topk(min(2 * beam, beam * vocabulary), dim=1)
        kept_rows, kept_tokens = [], []
        for i, (row_values, row_places) in enumerate(zip(values.tolist(), places.tolist(), strict=True)):
            kept: list[tuple[float, int, int]] = []
            for rank, (value, place) in enumerate(zip(row_values, row_places, strict=True)):
                parent, token = i * beam + place // vocabulary, place % vocabulary
                last = token == EOS or length == most[i]
                if value == -torch.inf or done[i]:
                    continue
                if last and rank < beam:
                    ended[i].append((value / length**length_penalty, (*prefixes[parent].tolist(), token)))
                elif not last and len(kept) < beam:
                    kept.append((value, parent, token))
            done[i] = done[i] or len(ended[i]) >= beam or length == most[i]
            kept += [(-torch.inf, i * beam, EOS)] * (beam - len(kept))
            scores[i] = torch.tensor([value for value, _, _ in kept])
            kept_rows += [parent for _, parent, _ in kept]
            kept_tokens += [token for _, _, token in kept]
        if all(done):
            break
        rows, tokens = torch.tensor(kept_rows), torch.tensor(kept_tokens)
        prefixes = torch.cat([prefixes[rows], tokens[:, None]], dim=1)
        caches = tuple((key[rows], value[rows]) for key, value in caches)
    return [max(hypotheses, key=lambda hypothesis: hypothesis[0])[1] for hypotheses in ended]


def _batches(sources: Sequence[Ids], batch_size: int) -> Iterator[tuple[list[int], Tensor]]:
    """Sources of like length together: their places, and their ids padded."""
    order = sorted(range(len(sources)), key=lambda i: (len(sources[i]), i))
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        yield chosen, padded_sources([sources[i] for i in chosen])


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[Decodable]:
    """Evaluation mode and no gradients inside, the model's own mode again afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield cast("Decodable", model)
    finally:
        model.train(training)
