"""Is a bundle what it promises? Parity of its graphs, its decoding beside PyTorch's, its latency here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.deploy.runner import Bundle

if TYPE_CHECKING:
    from torch import nn

    from hwnas.data.task import Task
    from hwnas.decoding import MaxTokens


@dataclass(frozen=True, slots=True)
class DecodingReport:
    """``inputs`` were decoded greedily by both; ``equal`` the same way.

    ``near_ties`` differ, but first at a step where PyTorch's two logits lie closer than
    ``tie_margin`` (twice the graphs' largest parity error): either is right there.
    ``different`` differ for no such reason, and should be none.
    """

    inputs: int
    equal: int
    near_ties: int
    different: int
    tie_margin: float
    examples: tuple[str, ...]


def compare_decoding(
    bundle: Bundle,
    model: nn.Module,
    task: Task,
    sources: Sequence[str],
    max_tokens: MaxTokens,
    parity_error: float,
) -> DecodingReport:
    """Decode ``sources`` greedily with the bundle's own runner and with PyTorch, and compare."""
    from hwnas.decoding import greedy, next_logits

    margin = 2 * parity_error
    encoded = [task.source_vocabulary.encode(source) for source in sources]
    expected = greedy(model, encoded, max_tokens)
    equal = ties = 0
    examples = []
    for source, ids, wanted in zip(sources, encoded, expected, strict=True):
        given = bundle.greedy(ids)
        if tuple(given) == tuple(wanted):
            equal += 1
            continue
        step = next(i for i, (a, b) in enumerate(zip([*given, -1], [*wanted, -1], strict=False)) if a != b)
        logits = next_logits(model, ids, tuple(wanted[:step]))
        pair = [float(logits[token]) for token in (given[step], wanted[step])]
        if abs(pair[0] - pair[1]) <= margin:
            ties += 1
        else:
            examples.append(
                f"{source}: {bundle.target.decode(given)!r} instead of {bundle.target.decode(wanted)!r}"
            )
    different = len(sources) - equal - ties
    return DecodingReport(len(sources), equal, ties, different, margin, tuple(examples[:5]))


def open_bundle(folder: Path, threads: int | None = None) -> Bundle:
    """The bundle in ``folder``; raises :class:`hwnas.errors.DeployError` if it cannot be trusted."""
    from hwnas.deploy.runner import BundleError
    from hwnas.errors import DeployError

    try:
        return Bundle(folder, threads)
    except BundleError as exc:
        raise DeployError(str(exc)) from exc
