"""How good a model is: validation loss, and the task's own metric on real answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from hwnas.data.batching import fixed_batches, length_order
from hwnas.data.task import PAD, Pair, Split, Task
from hwnas.decoding import MaxTokens, beam_search, greedy
from hwnas.families.base import Family


def validation_loss(model: nn.Module, family: Family, pairs: Sequence[Pair], batch_size: int = 250) -> float:
    """Negative log-likelihood in nats per target token, without label smoothing; lower is better.

    The batches are always the same, so the same weights give the same number.
    Raises :class:`hwnas.errors.DataError` without pairs.
    """
    training = model.training
    model.eval()
    total, tokens = 0.0, 0
    try:
        with torch.inference_mode():
            for batch in fixed_batches(pairs, batch_size):
                loss, count = family.loss(model, batch, 0.0)
                total += float(loss)
                tokens += count
    finally:
        model.train(training)
    return total / tokens


def pair_losses(
    model: nn.Module, family: Family, pairs: Sequence[Pair], batch_size: int = 100
) -> npt.NDArray[np.float64]:
    """Negative log-likelihood of every pair in nats, (pairs,), in their order; they sum to that of all tokens.

    As :func:`validation_loss`, which is this over the number of target tokens, up to rounding.
    """
    training = model.training
    model.eval()
    losses = []
    try:
        with torch.inference_mode():
            for batch in fixed_batches(pairs, batch_size):
                target = batch.target[:, 1:]
                logits = family.logits(model, batch).transpose(1, 2)
                each = functional.cross_entropy(logits, target, ignore_index=PAD, reduction="none")
                losses.append(each.sum(dim=1).numpy())
    finally:
        model.train(training)
    in_order = np.empty(len(pairs))
    in_order[length_order(pairs)] = np.concatenate(losses)
    return in_order


def translate(
    model: nn.Module, task: Task, sources: Sequence[str], beam: int = 1, max_tokens: MaxTokens | None = None
) -> list[str]:
    """The model's answer to every source text; greedy with a beam of 1."""
    encoded = [task.source_vocabulary.encode(source) for source in sources]
    found = greedy(model, encoded, max_tokens) if beam == 1 else beam_search(model, encoded, beam, max_tokens)
    return [task.target_vocabulary.decode(ids) for ids in found]


def quality_of(
    model: nn.Module, family: Family, task: Task, split: Split, *, beam: int = 1, sources: int | None = None
) -> dict[str, float | str]:
    """``loss`` on the split, and the task's metric on its first ``sources`` inputs (default: all).

    The metric is told as by :func:`scores`.
    """
    references = dict(list(task.references[split].items())[:sources])
    answers = translate(model, task, list(references), beam)
    quality: dict[str, float | str] = {"loss": validation_loss(model, family, task.pairs[split])}
    return quality | scores(task, answers, list(references.values()))


def scores(task: Task, answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float | str]:
    """The task's metric on answers: ``per`` and ``wer`` as fractions, or ``bleu`` with sacrebleu's ``signature``."""
    from hwnas.metrics import bleu, per_wer

    if task.metric == "per_wer":
        rates = per_wer(answers, references)
        return {"per": rates.per, "wer": rates.wer}
    score = bleu(answers, references)
    return {"bleu": score.score, "signature": score.signature}
