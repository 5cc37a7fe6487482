"""Training: a random SubTransformer per update, resumable at any update, ending with the same weights."""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from hwnas.checkpoint import Checkpoint
from hwnas.data.batching import batch_of_update
from hwnas.data.task import PAD, Batch, Task
from hwnas.errors import CheckpointError, HwnasError
from hwnas.families.base import Family, Vocabularies
from hwnas.space import Candidate, SearchSpace
from hwnas.supernet import SuperTransformer, set_dropout
from hwnas.training_settings import FinetuneSettings, TrainingSettings

__all__ = [
    "FinetuneSettings",
    "TrainedSupernet",
    "TrainingProgress",
    "TrainingSettings",
    "finetune",
    "load_supernet",
    "train_model",
    "train_supernet",
]


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """``loss`` is the mean of the last 50 updates in nats per token; tokens count source and target."""

    update: int
    updates: int
    loss: float
    tokens_per_s: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class TrainedSupernet:
    """The SuperTransformer in evaluation mode, its last (mean of 50) and all training losses."""

    supernet: SuperTransformer
    loss: float
    losses: tuple[float, ...]


Show = Callable[[TrainingProgress], None]


def train_supernet(
    space: SearchSpace,
    family: Family,
    task: Task,
    settings: TrainingSettings,
    checkpoint: Path,
    progress: Show | None = None,
) -> TrainedSupernet:
    """Train a SuperTransformer from scratch, or go on from ``checkpoint`` if it exists.

    With one thread a run that was killed and started again ends with bit-identical weights. Raises
    :class:`CheckpointError` if the checkpoint is damaged, of another run, or cannot be written.
    """
    supernet = _new_supernet(space, family, task, settings)
    identity = {"what": "supertransformer", **_subject(space, task)}
    losses = _train(supernet, family, task, settings, subject=identity, path=checkpoint, progress=progress)
    return TrainedSupernet(supernet.eval(), _recent(losses), losses)


def load_supernet(checkpoint: Path, space: SearchSpace, family: Family, task: Task) -> SuperTransformer:
    """The trained SuperTransformer of a space and task, in evaluation mode.

    Raises :class:`CheckpointError` if it is of another space or data, or its training has not ended.
    """
    content = Checkpoint.load(checkpoint)
    content.require({"what": "supertransformer", **_subject(space, task)}, checkpoint)
    updates = content.identity["updates"]
    if content.update != updates:
        raise CheckpointError(
            f"{checkpoint} is at update {content.update} of {updates}; run the training again to end it"
        )
    supernet = SuperTransformer(family, space, _vocabularies(task))
    _restore(supernet, content, checkpoint)
    return supernet.eval()


def train_model(
    model: nn.Module,
    family: Family,
    task: Task,
    settings: TrainingSettings,
    checkpoint: Path,
    progress: Show | None = None,
) -> nn.Module:
    """Train one stand-alone model from the weights it has (fresh ones: from scratch); resumable likewise.

    Returns ``model``, in evaluation mode. Raises :class:`CheckpointError` as :func:`train_supernet`.
    """
    if settings.sandwich:
        raise HwnasError("training: sandwich is for SuperTransformers, not for a single model")
    set_dropout(model, settings.dropout)
    identity: dict[str, str | int] = {
        "what": "model",
        "data": task.fingerprint,
        **_sizes(_vocabularies(task)),
    }
    _train(model, family, task, settings, subject=identity, path=checkpoint, progress=progress)
    return model.eval()


def finetune(
    model: nn.Module,
    family: Family,
    task: Task,
    settings: FinetuneSettings,
    checkpoint: Path,
    progress: Show | None = None,
) -> nn.Module:
    """:func:`train_model` for a short while; HAT trains its winner anew (section 3.3), this goes on."""
    warmup = min(20, settings.updates // 5)
    whole = TrainingSettings(**asdict(settings), schedule="linear", warmup=warmup)
    return train_model(model, family, task, whole, checkpoint, progress)


def _train(
    net: nn.Module,
    family: Family,
    task: Task,
    settings: TrainingSettings,
    *,
    subject: Mapping[str, str | int],
    path: Path,
    progress: Show | None,
) -> tuple[float, ...]:
    """The loop all of the above share; everything random in an update derives from (seed, update)."""
    identity = {**subject, **asdict(settings), "start": weights_digest(net)}
    del identity["checkpoint_every"]
    optimizer = torch.optim.Adam(net.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
    losses: list[float] = []
    if path.exists():
        content = Checkpoint.load(path)
        content.require(identity, path)
        _restore(net, content, path)
        optimizer.load_state_dict(dict(content.optimizer))
        losses = list(content.losses)
    net.train()
    began, first, tokens = time.monotonic(), len(losses), 0
    with torch.random.fork_rng(devices=[]):
        for update in range(first, settings.updates):
            batch = batch_of_update(task.pairs["train"], settings.batch_size, settings.seed, update)
            torch.manual_seed(_seed(settings.seed, update))
            losses.append(_backward(net, family, batch, settings, update))
            _step(net, optimizer, settings, update)
            tokens += int((batch.source != PAD).sum()) + int((batch.target[:, 1:] != PAD).sum())
            done = update + 1
            if done % settings.checkpoint_every == 0 or done == settings.updates:
                Checkpoint(identity, done, net.state_dict(), optimizer.state_dict(), tuple(losses)).save(path)
            if progress is not None and (done % 20 == 0 or done == settings.updates):
                spent = time.monotonic() - began
                left = spent / (done - first) * (settings.updates - done)
                progress(TrainingProgress(done, settings.updates, _recent(losses), tokens / spent, left))
    return tuple(losses)


def _backward(net: nn.Module, family: Family, batch: Batch, settings: TrainingSettings, update: int) -> float:
    """Gradients of one update, averaged over its models; the loss of the first (largest or random) one."""
    if not isinstance(net, SuperTransformer):
        loss, tokens = family.loss(net, batch, settings.label_smoothing)
        loss = loss / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        return _finite(loss, update)
    candidates = _candidates(net.space.in_fp32, settings, update)
    shown, soft_targets = math.nan, None
    for number, candidate in enumerate(candidates):
        with net.active(candidate) as model:
            if soft_targets is None:
                loss, tokens = family.loss(model, batch, settings.label_smoothing)
                loss = loss / tokens
            else:
                loss = _distillation_loss(family.logits(model, batch), soft_targets, batch)
            if number == 0:
                shown = _finite(loss, update)
            (loss / len(candidates)).backward()  # type: ignore[no-untyped-call]
            if settings.distil and soft_targets is None:
                with torch.no_grad():
                    soft_targets = family.logits(model, batch).softmax(dim=-1)
    return shown


def _candidates(space: SearchSpace, settings: TrainingSettings, update: int) -> list[Candidate]:
    rng = random.Random(f"{settings.seed}/{update}")
    sampled = [space.sample(rng) for _ in range(settings.random_subnets)]
    return [space.extreme(-1), *sampled, space.extreme(0)] if settings.sandwich else sampled


def _distillation_loss(logits: torch.Tensor, soft_targets: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy against the largest's distribution, nats per token."""
    real = batch.target[:, 1:] != PAD
    return F.cross_entropy(logits[real], soft_targets[real])


def _step(net: nn.Module, optimizer: torch.optim.Adam, settings: TrainingSettings, update: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = settings.rate(update)
    nn.utils.clip_grad_norm_(net.parameters(), settings.clip, foreach=True)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _finite(loss: torch.Tensor, update: int) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise HwnasError(f"training: the loss is {value} at update {update}; try a lower learning rate")
    return value


def _new_supernet(space: SearchSpace, family: Family, task: Task, settings: TrainingSettings) -> SuperTransformer:
    with _seeded(settings.seed):
        return SuperTransformer(family, space, _vocabularies(task), dropout=settings.dropout)


def _restore(net: nn.Module, content: Checkpoint, path: Path) -> None:
    try:
        net.load_state_dict(dict(content.model))
    except RuntimeError as exc:
        raise CheckpointError(f"{path} does not fit this model; remove it to start anew") from exc


def _subject(space: SearchSpace, task: Task) -> dict[str, str | int]:
    return {"space": space.in_fp32.fingerprint, "data": task.fingerprint, **_sizes(_vocabularies(task))}


def _vocabularies(task: Task) -> Vocabularies:
    return Vocabularies(len(task.source_vocabulary), len(task.target_vocabulary))


def _sizes(vocabularies: Vocabularies) -> dict[str, int]:
    return {"source_vocabulary": vocabularies.source, "target_vocabulary": vocabularies.target}


def _seed(seed: int, update: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{update}".encode()).digest()[:7], "big")


def weights_digest(net: nn.Module) -> str:
    """Digest of the weights a training starts from, by name."""
    digest = hashlib.sha256()
    for name, parameter in net.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _recent(losses: list[float] | tuple[float, ...]) -> float:
    last = losses[-50:]
    return sum(last) / len(last)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(seed, -1))
        yield
