"""The loop around every search method: evaluate, journal, resume, show progress, keep the best."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import SearchError
from hwnas.search.evolution import Ranked
from hwnas.search.journal import SearchJournal
from hwnas.search.protocol import Evaluation, Evaluator, Searcher
from hwnas.space import SearchSpace


def best_of(space: SearchSpace, evaluations: Iterable[Evaluation], count: int) -> tuple[Evaluation, ...]:
    """The ``count`` of lowest loss, each candidate once, best first, ties by gene order."""
    once = {evaluation.candidate: evaluation for evaluation in evaluations}
    ranked = sorted(Ranked.of(space, evaluation) for evaluation in once.values())
    return tuple(Evaluation(entry.candidate, entry.loss) for entry in ranked[:count])


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found; a pure function of searcher and evaluator, however often it was interrupted."""

    best: Evaluation
    evaluations: tuple[Evaluation, ...]

    def top(self, count: int, space: SearchSpace) -> tuple[Evaluation, ...]:
        """The ``count`` best evaluations, best first, ties by gene order."""
        return best_of(space, self.evaluations, count)

    def save(self, path: Path, header: Mapping[str, object]) -> None:
        """Write the header, the best and the number of evaluations as JSON, atomically; no time stamps."""
        document = {
            **header,
            "best": {"candidate": self.best.candidate.as_dict(), "loss": self.best.loss},
            "evaluations": len(self.evaluations),
        }
        partial = path.with_name(path.name + ".partial")
        try:
            partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError as exc:
            raise SearchError(f"cannot write {path}: {exc.strerror or exc}") from exc


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is: evaluations so far, how many of them came from the journal, the best loss."""

    evaluations: int
    replayed: int
    best_loss: float


def search_header(
    space: SearchSpace,
    *,
    searcher: str,
    settings: Mapping[str, object],
    seed: int,
    limits: str,
    evaluator: str,
    latency: str = "",
) -> dict[str, object]:
    """What makes a search this search: resumed only if all of it is the same.

    ``evaluator`` and ``latency`` are fingerprints of the evaluator (weights, data) and of the
    latency model the limits were judged by.
    """
    return {
        "space": space.name,
        "fingerprint": space.fingerprint,
        "searcher": searcher,
        "settings": dict(settings),
        "seed": seed,
        "limits": limits,
        "evaluator": evaluator,
        "latency": latency,
    }


def run_search(
    searcher: Searcher,
    evaluate: Evaluator,
    space: SearchSpace,
    journal_path: Path,
    *,
    header: Mapping[str, object],
    progress: Callable[[Progress], None] | None = None,
) -> SearchResult:
    """Run ``searcher`` to its end; every evaluation is in the journal as soon as ``evaluate`` tells it.

    Called again after an interruption, at any point, it takes what the journal has and evaluates
    only the rest; the result is that of an undisturbed run. Raises :class:`SearchError` if the
    journal is of another search (see :class:`SearchJournal`) or the searcher proposed nothing;
    what ``evaluate`` raises comes through, with everything journaled so far in place.
    """
    done: list[Evaluation] = []
    best: Ranked | None = None
    with SearchJournal(journal_path, space, header) as journal:
        replayable = set(journal.losses)
        replayed = 0
        while candidates := searcher.ask():
            batch = []
            for evaluation in journal.evaluated(candidates, evaluate):
                batch.append(evaluation)
                replayed += evaluation.candidate in replayable
                replayable.discard(evaluation.candidate)
                ranked = Ranked.of(space, evaluation)
                best = ranked if best is None else min(best, ranked)
                if progress is not None:
                    progress(Progress(len(done) + len(batch), replayed, best.loss))
            done += batch
            searcher.tell(batch)
    if best is None:
        raise SearchError(f"the search proposed no candidate of space {space.name!r}; every one is excluded")
    return SearchResult(Evaluation(best.candidate, best.loss), tuple(done))
