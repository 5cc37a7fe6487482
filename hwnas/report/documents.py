"""A run's files as documents, and figures that know which places of which files they follow from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hwnas.errors import ReportError


@dataclass(frozen=True, slots=True)
class Figure:
    """A number or a word of the page. ``sources`` are places (``search.json#/winner/loss``) it follows from.

    ``how`` says by what: ``value`` is what stands there, ``change`` the first over the second less 1,
    ``count``, ``sum``, ``min`` and ``max`` are of all that stands at the places (``*`` in a place stands for
    every entry), ``predicted`` of the table at the first place for the candidate at the second.
    """

    value: float | str
    sources: tuple[str, ...]
    how: str = "value"

    @property
    def number(self) -> float:
        """The value, known to be a number."""
        return float(self.value)


Interval = tuple[Figure, Figure]
"""Both ends."""


@dataclass(frozen=True)
class Document:
    """A JSON file, or the records of a JSON Lines file; ``name`` is how the page calls it.

    ``torn`` says that the last line was cut off, and dropped.
    """

    name: str
    path: Path
    content: object
    torn: bool = False

    def get(self, pointer: str) -> object:
        """What stands at a JSON pointer (RFC 6901); ``None`` if nothing does."""
        found = self.content
        for part in _parts(pointer):
            found = _entry(found, part)
            if found is None:
                return None
        return found

    def has(self, pointer: str) -> bool:
        """Whether something other than null stands there."""
        return self.get(pointer) is not None

    def place(self, pointer: str) -> str:
        """The name of a place in this file."""
        return f"{self.name}#{pointer}"

    def figure(self, pointer: str) -> Figure | None:
        """The number or text that stands there; ``None`` if none does."""
        found = self.get(pointer)
        if isinstance(found, bool):
            found = "yes" if found else "no"
        return Figure(found, (self.place(pointer),)) if isinstance(found, int | float | str) else None

    def number(self, pointer: str) -> float | None:
        """The finite number that stands there, ``None`` for anything else."""
        found = self.get(pointer)
        finite = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
        return float(found) if finite and isinstance(found, int | float) else None

    def text(self, pointer: str) -> str:
        """The text that stands there; empty if none does."""
        found = self.get(pointer)
        return found if isinstance(found, str) else ""

    def interval(self, pointer: str) -> Interval | None:
        """The two ends of an interval that stands there."""
        low, high = self.figure(f"{pointer}/0"), self.figure(f"{pointer}/1")
        return None if low is None or high is None else (low, high)

    def mapping(self, pointer: str) -> Mapping[str, object]:
        """The object that stands there; empty if none does."""
        found = self.get(pointer)
        return {str(key): value for key, value in found.items()} if isinstance(found, Mapping) else {}

    def items(self, pointer: str) -> Iterator[tuple[str, object]]:
        """The entries of the list or object that stands there, each with its own pointer."""
        found = self.get(pointer)
        if isinstance(found, Mapping):
            yield from ((f"{pointer}/{escaped(str(key))}", value) for key, value in found.items())
        elif isinstance(found, list):
            yield from ((f"{pointer}/{number}", value) for number, value in enumerate(found))

    def all(self, pointer: str, how: str) -> Figure | None:
        """``count``, ``sum``, ``min`` or ``max`` of the numbers at a pointer in which ``*`` stands for every entry."""
        known = [value for value in _matching(self.content, _parts(pointer)) if isinstance(value, int | float)]
        if not known and how in ("min", "max"):
            return None
        value: float = {"count": len, "sum": sum, "min": min, "max": max}[how](known)  # type: ignore[operator]
        return Figure(value, (self.place(pointer),), how)


def change(after: Figure | None, before: Figure | None) -> Figure | None:
    """``after`` over ``before`` less 1; both must be values of places."""
    if after is None or before is None or not before.number:
        return None
    return Figure(after.number / before.number - 1, (*after.sources, *before.sources), "change")


def read_json(path: Path, name: str) -> Document | None:
    """A JSON file; ``None`` if it is not there. Raises :class:`ReportError` if it is damaged."""
    text = _text(path)
    if text is None:
        return None
    try:
        return Document(name, path, json.loads(text))
    except ValueError as exc:
        raise ReportError(f"{path} is damaged ({exc}); run the command that made it again") from exc


def read_lines(path: Path, name: str) -> Document | None:
    """A JSON Lines file as a list of its whole records; ``None`` if it is not there.

    A torn last line is dropped. Raises :class:`ReportError` if a line before it is damaged.
    """
    text = _text(path)
    if text is None:
        return None
    lines = text.split("\n")
    torn, records = bool(lines[-1]), []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
        except ValueError:
            if number == len(lines) - 1 and not torn:
                torn = True
                continue
            raise ReportError(f"{path} is damaged in line {number}; run the command that made it again") from None
        records.append(record)
    return Document(name, path, records, torn)


def named(document: Document | None, name: str) -> Document | None:
    """The same document by another name."""
    return None if document is None else replace(document, name=name)


def escaped(key: str) -> str:
    """A key as a part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as exc:
        raise ReportError(f"{path} is not text; run the command that made it again") from exc


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _entry(found: object, part: str) -> object:
    if isinstance(found, Mapping):
        return found.get(part)
    if isinstance(found, list) and part.isdigit() and int(part) < len(found):
        return found[int(part)]
    return None


def _matching(found: object, parts: Sequence[str]) -> Iterator[object]:
    if not parts:
        yield found
    elif parts[0] != "*":
        yield from _matching(_entry(found, parts[0]), parts[1:])
    elif isinstance(found, Mapping | list):
        for entry in found.values() if isinstance(found, Mapping) else found:
            yield from _matching(entry, parts[1:])
