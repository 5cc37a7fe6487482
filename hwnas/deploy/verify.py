"""Is a bundle what it promises? Its decoding beside PyTorch's, and whether it can be opened at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.deploy import runner
from hwnas.deploy.runner import Bundle, Ids, Ranking

if TYPE_CHECKING:
    from torch import nn

    from hwnas.data.task import Task


@dataclass(frozen=True, slots=True)
class DecodingReport:
    """``inputs`` were decoded by both with ``beam`` hypotheses; ``equal`` the same way.

    ``near_ties`` differ, but part where PyTorch's numbers lie closer than ``parity_error`` (the
    graphs' largest) explains: either is right there (see :func:`compare_decoding`).
    ``different`` differ for no such reason, and should be none.
    """

    inputs: int
    beam: int
    equal: int
    near_ties: int
    different: int
    parity_error: float
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The report, and both answers to each source: ``given`` by the bundle, ``wanted`` by PyTorch."""

    report: DecodingReport
    sources: tuple[str, ...]
    given: tuple[Ids, ...]
    wanted: tuple[Ids, ...]


def compare_decoding(
    bundle: Bundle, model: nn.Module, task: Task, sources: Sequence[str], parity_error: float
) -> Comparison:
    """Decode ``sources`` with the bundle's own runner and with PyTorch, and compare.

    With e = ``parity_error``, answers that differ are a near tie if the runner's choice follows
    from logits that are each off by e at most:

    - greedy: at the first token that differs, PyTorch's two logits differ by at most 2 e;
    - beam: log-softmax moves by at most 2 e, hence a sum over n tokens by 2 n e, and a score (the
      sum over n ** p, p the length penalty) by 2 n ** (1 - p) e. Either the scores PyTorch gives
      the two answers (n and m tokens) differ by at most 2 (n ** (1 - p) + m ** (1 - p)) e (which
      is 4 e for p = 1), or the searches parted on the way by a near tie: at the first rank of the
      first step, of n tokens, at which they rank different hypotheses, PyTorch's sums for these
      two differ by at most 4 n e.
    """
    from hwnas.decoding import MaxTokens, beam_search, greedy

    beam, limits = bundle.beam, MaxTokens(**bundle.manifest["max_tokens"])
    encoded = [task.source_vocabulary.encode(source) for source in sources]
    if beam == 1:
        expected = greedy(model, encoded, limits)
    else:
        expected = beam_search(model, encoded, beam, limits, length_penalty=bundle.length_penalty)
    equal = ties = 0
    examples, answers = [], []
    for source, ids, wanted in zip(sources, encoded, expected, strict=True):
        trace: list[Ranking] = []
        given = bundle.decode(ids, trace)
        answers.append(given)
        if given == wanted:
            equal += 1
        elif (
            _greedy_tie(model, ids, given, wanted, parity_error)
            if beam == 1
            else _beam_tie(bundle, model, ids, given, wanted, trace, parity_error)
        ):
            ties += 1
        else:
            examples.append(f"{source}: {bundle.target.decode(given)!r} instead of {bundle.target.decode(wanted)!r}")
    different = len(sources) - equal - ties
    report = DecodingReport(len(sources), beam, equal, ties, different, parity_error, tuple(examples[:5]))
    return Comparison(report, tuple(sources), tuple(answers), tuple(expected))


def _greedy_tie(model: nn.Module, source: Ids, given: Ids, wanted: Ids, parity_error: float) -> bool:
    from hwnas.decoding import next_logits

    step = next((i for i, (a, b) in enumerate(zip(given, wanted, strict=False)) if a != b), None)
    if step is None:  # one goes on where the other ended: no tie of logits explains that
        return False
    logits = next_logits(model, source, wanted[:step])
    return abs(float(logits[given[step]]) - float(logits[wanted[step]])) <= 2 * parity_error


def _beam_tie(
    bundle: Bundle, model: nn.Module, source: Ids, given: Ids, wanted: Ids, trace: list[Ranking], parity_error: float
) -> bool:
    penalty = bundle.length_penalty
    shares = [log_probability(model, source, ids) / len(ids) ** penalty for ids in (given, wanted)]
    explained = sum(2 * len(ids) ** (1 - penalty) * parity_error for ids in (given, wanted))
    if abs(shares[0] - shares[1]) <= explained:
        return True
    own: list[Ranking] = []
    step = _torch_step(model, source, bundle.beam)
    runner.beam_search(step, bundle.beam, bundle.max_tokens(source), penalty, own)
    for tokens, (theirs, ours) in enumerate(zip(trace, own, strict=False), start=1):
        for (one, _), (other, _) in zip(theirs, ours, strict=False):
            if one != other:
                gap = log_probability(model, source, other) - log_probability(model, source, one)
                return abs(gap) <= 4 * tokens * parity_error
    return False


def log_probability(model: nn.Module, source: Ids, answer: Ids) -> float:
    """PyTorch's sum of the log-probabilities of the tokens of ``answer``, without length penalty."""
    from hwnas.decoding import next_logits

    logits = (next_logits(model, source, answer[:position]) for position in range(len(answer)))
    return sum(float(following.log_softmax(dim=0)[token]) for following, token in zip(logits, answer, strict=True))


def _torch_step(model: nn.Module, source: Ids, beam: int) -> runner.Step:
    """The steps of one input in PyTorch, for the runner's own search."""
    import torch

    from hwnas.data.batching import padded_sources

    decoder: Any = model
    with torch.inference_mode():
        memory, caches = decoder.encode(padded_sources([source])), decoder.empty_caches(beam)

    def step(tokens: Sequence[int], position: int, parents: Sequence[int]) -> Any:
        nonlocal caches
        rows = torch.tensor(list(parents))
        caches = tuple((key[rows], value[rows]) for key, value in caches)
        with torch.inference_mode():
            logits, caches = decoder.step(torch.tensor(list(tokens)), torch.tensor([position]), memory, caches, beam)
        return logits.numpy()

    return step


def open_bundle(folder: Path, threads: int | None = None) -> Bundle:
    """The bundle in ``folder``, to be closed; one of TVM is answered in that toolchain's environment.

    Raises :class:`hwnas.errors.DeployError` if it cannot be trusted or its runtime is not here.
    """
    from hwnas.deploy.graphs import BundleError
    from hwnas.errors import DeployError

    try:
        if format_in(folder) == "tvm" and None in (find_spec("tvm"), find_spec("tvm_ffi")):
            from hwnas.deploy.remote import RemoteBundle
            from profiler.toolchain.place import installed_python
            from profiler.transports.local import LocalChannel

            return RemoteBundle(folder, LocalChannel, str(installed_python("tvm")), str(folder), threads)
        return Bundle(folder, threads)
    except BundleError as exc:
        raise DeployError(str(exc)) from exc


def format_in(folder: Path) -> str:
    """The format of the bundle in ``folder``, as far as it says; opening it tells whether to trust that."""
    try:
        return str(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["format"])
    except (OSError, ValueError, KeyError, TypeError):
        return "onnx"
