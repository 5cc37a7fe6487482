"""A sequence-to-sequence task: pairs of token ids in three splits, two vocabularies, a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from hwnas.data.vocabulary import BOS, EOS, PAD, UNK
from hwnas.errors import WorkloadError
from hwnas.workload import Workload

if TYPE_CHECKING:
    import torch

__all__ = ["BOS", "EOS", "PAD", "UNK", "Batch", "Pair", "Split", "Task", "Vocabulary", "require_vocabulary"]

Split = Literal["train", "valid", "test"]


class Vocabulary(Protocol):
    """Text <-> ids; ids never contain PAD or BOS; ``encode`` ends with EOS."""

    def __len__(self) -> int: ...

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of ``text`` with EOS at the end; unknown symbols become UNK."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids up to the first EOS, which is left out."""
        ...

    def as_dict(self) -> dict[str, object]:
        """What a bundle needs to do the same with the standard library alone."""
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """Source and target ids, both ending with EOS."""

    source: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded int64 tensors, PAD on the right: source (batch, source tokens), target (batch, target tokens).

    ``target`` starts with BOS and ends with EOS: the model reads ``target[:, :-1]`` and predicts
    ``target[:, 1:]``.
    """

    source: torch.Tensor
    target: torch.Tensor


@dataclass(frozen=True, slots=True)
class Task:
    """Real data, ready to train on.

    ``references`` maps a split to ``{source text: all acceptable target texts}`` for the metric;
    a pair stands in ``pairs`` once per acceptable target. ``metric`` names how quality is
    reported: ``per_wer`` or ``bleu``. ``fingerprint`` changes when the data do.
    """

    name: str
    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary
    pairs: Mapping[Split, tuple[Pair, ...]]
    references: Mapping[Split, Mapping[str, tuple[str, ...]]]
    metric: Literal["per_wer", "bleu"]
    fingerprint: str


def require_vocabulary(workload: Workload, task: Task) -> None:
    """Raises :class:`WorkloadError` unless ``workload`` has as many output symbols as ``task``.

    A latency for another number of symbols is not this model's latency.
    """
    symbols = len(task.target_vocabulary)
    if workload.vocabulary != symbols:
        raise WorkloadError(
            f"the workload has {workload.vocabulary} output symbols, task {task.name!r} has {symbols};"
            f" profile with --vocabulary {symbols}"
        )
