from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from hwnas.errors import SearchError
from hwnas.search.evolution import Evolution, EvolutionSettings
from hwnas.search.journal import read_candidates
from hwnas.search.protocol import one_by_one
from hwnas.search.random_search import RandomSearch
from hwnas.search.run import Progress, SearchResult, run_search, search_header
from hwnas.space import Candidate
from tests.contracts.searcher import SPACE, WidthLimit, loss_of

SETTINGS = EvolutionSettings(20, 5, 5, 5, 4, 0.3)
LIMIT = WidthLimit(7)


def header(**changes: object) -> dict[str, object]:
    return (
        search_header(
            SPACE,
            searcher="evolution",
            settings=SETTINGS.as_dict(),
            seed=0,
            limits=LIMIT.describe(),
            evaluator="weights-1",
        )
        | changes
    )


class Counting:
    """Evaluates, counts, and stops with ``error`` before evaluation number ``after``."""

    def __init__(self, after: float = math.inf, error: BaseException | None = None) -> None:
        self.evaluated: list[Candidate] = []
        self._after, self._error = after, error or KeyboardInterrupt()

    def __call__(self, candidate: Candidate) -> float:
        if len(self.evaluated) >= self._after:
            raise self._error
        self.evaluated.append(candidate)
        return loss_of(candidate)


def search(
    path: Path, evaluate: Callable[[Candidate], float], progress: Callable[[Progress], None] | None = None
) -> SearchResult:
    searcher = Evolution(SPACE, LIMIT, SETTINGS)
    return run_search(searcher, one_by_one(evaluate), SPACE, path, header=header(), progress=progress)


@pytest.fixture
def undisturbed(tmp_path: Path) -> tuple[SearchResult, bytes, bytes]:
    result = search(tmp_path / "whole.jsonl", loss_of)
    result.save(tmp_path / "whole.json", header())
    return result, (tmp_path / "whole.jsonl").read_bytes(), (tmp_path / "whole.json").read_bytes()


def test_a_search_finds_its_best_and_journals_everything(tmp_path: Path) -> None:
    evaluate, seen = Counting(), []
    result = search(tmp_path / "j", evaluate, seen.append)
    assert [e.candidate for e in result.evaluations] == evaluate.evaluated
    assert result.best.loss == min(e.loss for e in result.evaluations)
    assert result.top(3, SPACE)[0] == result.best
    assert [e.loss for e in result.top(100, SPACE)] == sorted(e.loss for e in result.evaluations)
    assert len((tmp_path / "j").read_text().splitlines()) == 1 + len(evaluate.evaluated)
    assert [p.evaluations for p in seen] == list(range(1, 61))
    assert seen[-1] == Progress(60, 0, result.best.loss)


@pytest.mark.parametrize("after", [0, 1, 19, 20, 21, 37, 59])
@pytest.mark.parametrize("torn", [0, 5])
def test_an_interrupted_search_ends_with_the_same_files_and_repeats_nothing(
    after: int, torn: int, tmp_path: Path, undisturbed: tuple[SearchResult, bytes, bytes]
) -> None:
    path, first = tmp_path / "j", Counting(after)
    with pytest.raises(KeyboardInterrupt):
        search(path, first)
    if torn:
        path.write_bytes(path.read_bytes() + b'{"candidate": {'[:torn])
    second, seen = Counting(), []
    result = search(path, second, seen.append)
    assert result == undisturbed[0]
    assert first.evaluated + second.evaluated == [e.candidate for e in result.evaluations]
    assert seen[-1].replayed == after
    assert path.read_bytes() == undisturbed[1]
    result.save(tmp_path / "r.json", header())
    assert (tmp_path / "r.json").read_bytes() == undisturbed[2]


def test_killed_while_it_wrote_any_byte(tmp_path: Path, undisturbed: tuple[SearchResult, bytes, bytes]) -> None:
    path, journal = tmp_path / "j", undisturbed[1]
    for length in range(0, len(journal), 97):
        path.write_bytes(journal[:length])
        evaluate = Counting()
        assert search(path, evaluate) == undisturbed[0]
        whole_lines = journal[:length].count(b"\n")
        assert len(evaluate.evaluated) == 60 - max(0, whole_lines - 1)
        assert path.read_bytes() == journal


def test_a_finished_search_evaluates_nothing_again(
    tmp_path: Path, undisturbed: tuple[SearchResult, bytes, bytes]
) -> None:
    (tmp_path / "j").write_bytes(undisturbed[1])
    assert search(tmp_path / "j", Counting(0, AssertionError())) == undisturbed[0]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed is 0 there, 1 now"),
        ({"evaluator": "weights-2"}, "evaluator is 'weights-1' there, 'weights-2' now"),
        ({"limits": "cost <= 3"}, "limits is 'cost <= 7' there"),
        ({"fingerprint": "f"}, "fingerprint"),
        ({"settings": {}}, "settings"),
    ],
)
def test_another_searchs_journal_is_refused_and_left_alone(
    changes: dict[str, object], named: str, tmp_path: Path, undisturbed: tuple[SearchResult, bytes, bytes]
) -> None:
    path = tmp_path / "j"
    path.write_bytes(undisturbed[1])
    with pytest.raises(SearchError, match=named):
        run_search(Evolution(SPACE), one_by_one(loss_of), SPACE, path, header=header(**changes))
    assert path.read_bytes() == undisturbed[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"kind": "lut", "schema": 1}\n', "is not a search journal"),
        (b"\x00\xff\n", "damaged in line 1"),
        (b"[]\n", "damaged in line 1"),
        (b'{"kind": "search", "schema": 9}\n', "schema 9, this hwnas reads up to 1"),
    ],
)
def test_a_file_that_is_no_search_journal_is_refused_and_left_alone(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(SearchError, match=message) as caught:
        search(tmp_path / "j", loss_of)
    assert (tmp_path / "j").read_bytes() == content
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", [b"{]\n", b'{"candidate": {"layers": 1}, "loss": 1}\n', b'{"loss": 1}\n'])
def test_damage_inside_names_the_line(
    line: bytes, tmp_path: Path, undisturbed: tuple[SearchResult, bytes, bytes]
) -> None:
    lines = undisturbed[1].splitlines(keepends=True)
    (tmp_path / "j").write_bytes(b"".join([*lines[:4], line, *lines[5:]]))
    with pytest.raises(SearchError, match="damaged in line 5"):
        search(tmp_path / "j", loss_of)


def test_two_searches_do_not_write_one_journal(tmp_path: Path) -> None:
    def evaluate(candidate: Candidate) -> float:
        with pytest.raises(SearchError, match="being written by another search"):
            search(tmp_path / "j", loss_of)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "j", evaluate)
    search(tmp_path / "j", loss_of)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_an_error_not_a_journal_entry(loss: float, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="must be finite"):
        search(tmp_path / "j", lambda _: loss)
    assert len((tmp_path / "j").read_text().splitlines()) == 1


def test_places_that_cannot_be_written_are_told(tmp_path: Path, undisturbed: tuple[SearchResult, bytes, bytes]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SearchError, match="file is a file where a folder is needed"):
        search(tmp_path / "file" / "j", loss_of)
    with pytest.raises(SearchError, match="cannot write"):
        undisturbed[0].save(tmp_path / "file" / "r.json", header())


def test_a_full_disk_is_told_and_what_was_written_is_used_later(
    tmp_path: Path, undisturbed: tuple[SearchResult, bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    room, write = [1500], os.write

    def write_until_full(descriptor: int, data: bytes) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    first, second = Counting(), Counting()
    with monkeypatch.context() as patched:
        patched.setattr("hwnas.search.journal.os.write", write_until_full)
        with pytest.raises(SearchError, match=r"cannot write the search journal .*No space left"):
            search(tmp_path / "j", first)
    assert (tmp_path / "j").stat().st_size == 1500
    assert search(tmp_path / "j", second) == undisturbed[0]
    assert len(first.evaluated) + len(second.evaluated) == 60 + 1  # the one that could not be written


def test_ties_go_to_the_smaller_gene(tmp_path: Path) -> None:
    result = search(tmp_path / "j", lambda _: 1.0)
    genes = [tuple(SPACE.encode(e.candidate).tolist()) for e in result.evaluations]
    assert tuple(SPACE.encode(result.best.candidate).tolist()) == min(genes)


def test_a_searcher_that_proposes_nothing_is_told(tmp_path: Path) -> None:
    searcher = Evolution(SPACE, None, SETTINGS, exclude=set(SPACE))
    with pytest.raises(SearchError, match="proposed no candidate"):
        run_search(searcher, one_by_one(loss_of), SPACE, tmp_path / "j", header=header())


def test_losses_survive_the_journal_exactly(tmp_path: Path) -> None:
    search(tmp_path / "j", loss_of)
    for line in (tmp_path / "j").read_text().splitlines()[1:]:
        record = json.loads(line)
        assert record["loss"] == loss_of(SPACE.candidate(record["candidate"]))


def test_a_rival_can_be_kept_from_what_a_search_evaluated(tmp_path: Path) -> None:
    result = search(tmp_path / "first.jsonl", loss_of)
    known = read_candidates(tmp_path / "first.jsonl", SPACE)
    assert known == tuple(evaluation.candidate for evaluation in result.evaluations)
    rival = run_search(
        RandomSearch(SPACE, LIMIT, evaluations=20, exclude=known),
        one_by_one(loss_of),
        SPACE,
        tmp_path / "rival.jsonl",
        header=header(searcher="random"),
    )
    assert not {evaluation.candidate for evaluation in rival.evaluations} & set(known)
    (tmp_path / "other.txt").write_text('{"kind": "lut"}\n')
    for path in (tmp_path / "other.txt", tmp_path / "missing.jsonl"):
        with pytest.raises(SearchError, match=path.name):
            read_candidates(path, SPACE)


class InBatches:
    """Evaluates whole batches, several steps ahead of what it has told, and counts the batches."""

    def __init__(self, tells: int = 0) -> None:
        self.batches: list[tuple[Candidate, ...]] = []
        self._tells = tells

    def __call__(self, candidates: Sequence[Candidate]) -> Iterator[float]:
        self.batches.append(tuple(candidates))
        losses = [loss_of(candidate) for candidate in candidates]
        return iter(losses[: len(losses) + min(self._tells, 0)] + [0.0] * self._tells)


def test_a_batch_is_evaluated_at_once_with_the_same_result(
    tmp_path: Path, undisturbed: tuple[SearchResult, bytes, bytes]
) -> None:
    evaluate = InBatches()
    result = run_search(Evolution(SPACE, LIMIT, SETTINGS), evaluate, SPACE, tmp_path / "j", header=header())
    assert result == undisturbed[0]
    assert (tmp_path / "j").read_bytes() == undisturbed[1]
    assert [len(batch) for batch in evaluate.batches] == [20, 10, 10, 10, 10]
    lines = undisturbed[1].splitlines(keepends=True)
    (tmp_path / "j").write_bytes(b"".join(lines[:25]))  # header, first population, 4 of the first children
    again = InBatches()
    assert run_search(Evolution(SPACE, LIMIT, SETTINGS), again, SPACE, tmp_path / "j", header=header()) == result
    assert [len(batch) for batch in again.batches] == [6, 10, 10, 10]


@pytest.mark.parametrize(("tells", "named"), [(-1, "fewer"), (1, "more")])
def test_an_evaluator_that_miscounts_is_told(tells: int, named: str, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=f"told {named} losses than the 20"):
        run_search(Evolution(SPACE, LIMIT, SETTINGS), InBatches(tells), SPACE, tmp_path / "j", header=header())
