"""A search on disk: JSON Lines, a header and then every evaluation, appended and flushed."""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hwnas.errors import SearchError, SpaceError
from hwnas.search.protocol import Evaluation, Evaluator
from hwnas.space import Candidate, SearchSpace

SCHEMA = 1

Json = Mapping[str, object]


class SearchJournal:
    """The evaluations of one search; this process alone may write it. Close it, or use ``with``.

    ``losses`` are the evaluations found in it, in order, at first those of an earlier run.
    """

    def __init__(self, path: Path, space: SearchSpace, header: Json) -> None:
        """Create the journal at ``path``, or continue it if it is of the same search.

        A torn last line is dropped. Raises :class:`SearchError` if it is another search's (what
        differs is named), damaged, in use by another process, or cannot be written.
        """
        self.path = path
        self.losses: dict[Candidate, float] = {}
        self._space = space
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except FileExistsError as exc:
            raise SearchError(f"{exc.filename} is a file where a folder is needed; choose another path") from exc
        except OSError as exc:
            raise SearchError(f"cannot open the search journal {path}: {exc.strerror}") from exc
        try:
            self._lock()
            self._resume({"kind": "search", "schema": SCHEMA, **json.loads(json.dumps(header))})
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise SearchError(f"{self.path} is being written by another search; wait for it or stop it") from exc

    def _resume(self, header: Json) -> None:
        whole, records = _whole_lines(self.path)
        if not records:
            os.ftruncate(self._descriptor, 0)
            self._append(header)
            return
        _check_header(self.path, records[0], header)
        for number, record in enumerate(records[1:], start=2):
            try:
                candidate = self._space.candidate(record["candidate"])
                self.losses[candidate] = float(record["loss"])
            except (KeyError, TypeError, ValueError, SpaceError) as exc:
                raise SearchError(f"{self.path} is damaged in line {number} ({exc}); delete it to start over") from exc
        os.ftruncate(self._descriptor, whole)

    def add(self, evaluation: Evaluation) -> None:
        """Append an evaluation; it survives whatever comes after.

        Raises :class:`SearchError` for a loss that is no number, or if the disk is full.
        """
        if not math.isfinite(evaluation.loss):
            raise SearchError(
                f"the loss of candidate {evaluation.candidate.key} is {evaluation.loss}; it must be finite"
            )
        self._append({"candidate": evaluation.candidate.as_dict(), "loss": evaluation.loss})
        self.losses[evaluation.candidate] = evaluation.loss

    def evaluated(self, candidates: Sequence[Candidate], evaluate: Evaluator) -> Iterator[Evaluation]:
        """Every candidate with its loss, in order: the journal's own, or ``evaluate``'s, journaled before it is told.

        Raises :class:`SearchError` if ``evaluate`` tells another number of losses than it was asked for.
        """
        unknown = [candidate for candidate in dict.fromkeys(candidates) if candidate not in self.losses]
        found = evaluate(unknown) if unknown else iter(())
        for candidate in candidates:
            if candidate not in self.losses:
                loss = next(found, None)
                if loss is None:
                    raise SearchError(f"the evaluator told fewer losses than the {len(unknown)} it was asked for")
                self.add(Evaluation(candidate, float(loss)))
            yield Evaluation(candidate, self.losses[candidate])
        if next(found, None) is not None:
            raise SearchError(f"the evaluator told more losses than the {len(unknown)} it was asked for")

    def _append(self, record: Json) -> None:
        line = (json.dumps(record) + "\n").encode()
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError as exc:
            raise SearchError(f"cannot write the search journal {self.path}: {exc.strerror}") from exc

    def close(self) -> None:
        """Make sure it is on disk (where the file system can be asked to), and let others write it."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_candidates(path: Path, space: SearchSpace) -> tuple[Candidate, ...]:
    """The candidates that the search of this journal has evaluated, in order.

    Raises :class:`SearchError` if it is no search journal, or of another space.
    """
    try:
        _, records = _whole_lines(path)
    except OSError as exc:
        raise SearchError(f"cannot read the search journal {path}: {exc.strerror or exc}") from exc
    if not records or records[0].get("kind") != "search":
        raise SearchError(f"{path} is not a search journal; give another file")
    if records[0].get("fingerprint") != space.fingerprint:
        raise SearchError(f"{path} is of space {records[0].get('space')!r}, not of {space.name!r}")
    try:
        return tuple(space.candidate(record["candidate"]) for record in records[1:])
    except (KeyError, TypeError, SpaceError) as exc:
        raise SearchError(f"{path} is damaged ({exc}); delete it to start over") from exc


def _whole_lines(path: Path) -> tuple[int, list[dict[str, Any]]]:
    """Length in bytes of the lines that are whole, and what they say."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    records = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise SearchError(f"{path} is damaged in line {number}, or no search journal; delete it to start over")
        records.append(record)
    return len(whole), records


def _check_header(path: Path, found: Json, wanted: Json) -> None:
    if found.get("kind") != "search":
        raise SearchError(f"{path} is not a search journal; give another file")
    schema = found.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise SearchError(f"{path} has schema {schema}, this hwnas reads up to {SCHEMA}; upgrade hwnas")
    differing = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    if differing:
        told = "; ".join(f"{name} is {found.get(name)!r} there, {wanted.get(name)!r} now" for name in differing[:3])
        raise SearchError(f"{path} is of another search ({told}); give another file, or delete it to start over")
