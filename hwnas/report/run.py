"""What a run left behind: the files of a search, a demo or a bundle, found and read; nothing is computed here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hwnas.errors import ReportError
from hwnas.report.documents import Document, read_json, read_lines
from latency_luts import LatencyLut

JOURNAL, RESULT, FINALISTS, FRONT = "search.journal.jsonl", "search.json", "finalists.journal.jsonl", "front.json"
BASELINE, LEARNT, BUNDLE, MANIFEST = "baseline", "gradient.json", "bundle", "manifest.json"
DEMO, EXPLANATION, PAGE, TABLES = "demo.json", "explain.json", "report.html", "*.lut.jsonl"


@dataclass(frozen=True)
class Search:
    """The folder of a search; what it has not (yet) is ``None``. ``baseline`` is random search beside it.

    ``further`` are the journals of further seeds, ``learnt`` is the architecture as gradients left it, before
    it was repaired to meet the limits.
    """

    folder: Path
    journal: Document | None
    result: Document | None
    finalists: Document | None
    front: Document | None
    baseline: Search | None = None
    further: tuple[Document, ...] = ()
    learnt: Document | None = None

    @property
    def method(self) -> str:
        """``evolution``, ``random``, …; empty if neither file tells."""
        told = "" if self.journal is None else self.journal.text("/0/searcher")
        return told or ("" if self.result is None else self.result.text("/method"))

    @property
    def journals(self) -> tuple[Document, ...]:
        """Those of all seeds."""
        return (() if self.journal is None else (self.journal,)) + self.further

    @cached_property
    def losses(self) -> tuple[float, ...]:
        """Of all candidates that the first seed evaluated, in order."""
        records = [] if self.journal is None else list(self.journal.items(""))[1:]
        return tuple(
            float(loss)
            for _, record in records
            if isinstance(record, dict) and isinstance(loss := record.get("loss"), int | float)
        )


@dataclass(frozen=True)
class TableFile:
    """A latency table, with its file as a document and its journal's header and environments if that is there."""

    document: Document
    lut: LatencyLut
    journal: Document | None

    @property
    def name(self) -> str:
        """Its file, as the page calls it."""
        return self.document.name


@dataclass(frozen=True)
class Run:
    """A folder that was given: a search, a demo (a search with all that belongs to it), or a bundle."""

    folder: Path
    name: str
    search: Search | None
    bundle: Document | None
    demo: Document | None
    explanation: Document | None
    tables: tuple[TableFile, ...]

    def subjects(self) -> Iterator[tuple[str, str, str]]:
        """Space, fingerprint and file, of everything that names a space."""
        search = self.search
        for document, pointer in (
            (None if search is None else search.journal, "/0"),
            (None if search is None else search.finalists, "/0/subject"),
            (self.bundle, "/space"),
        ):
            if document is not None and document.text(f"{pointer}/fingerprint"):
                space = document.text(f"{pointer}/space") or document.text(f"{pointer}/name")
                yield space, document.text(f"{pointer}/fingerprint"), str(document.path)


@dataclass(frozen=True)
class Reader:
    """Reads runs; files are called by their path from ``base``, where the page will lie."""

    base: Path

    def name(self, path: Path) -> str:
        """A file's path from ``base``; absolute where there is none."""
        try:
            return Path(os.path.relpath(path.resolve(), self.base.resolve())).as_posix()
        except ValueError:  # another drive
            return path.as_posix()

    def run(self, path: Path) -> Run:
        """Read a folder. Raises :class:`ReportError` if it is no run, or a file of it is damaged."""
        if not path.is_dir():
            what = "is a file, not the folder of a run" if path.exists() else "is not there"
            raise ReportError(f"{path} {what}; give a folder that hwnas search, demo or export made")
        search = self._search(path) or self._demo_search(path)
        bundle = self._json(path / MANIFEST) or self._json(path / BUNDLE / MANIFEST)
        if search is None and bundle is None:
            empty = "is empty" if not any(path.iterdir()) else f"has no {JOURNAL}, {RESULT} or {MANIFEST}"
            raise ReportError(f"{path} is no run: it {empty}; `hwnas search --out {path}` makes one")
        return Run(
            folder=path,
            name=path.resolve().name,
            search=search,
            bundle=bundle,
            demo=self._json(path / DEMO),
            explanation=self._json(path / EXPLANATION),
            tables=tuple(self.table(found) for found in sorted(path.glob(TABLES))),
        )

    def table(self, path: Path) -> TableFile:
        """Read a table; raises :class:`latency_luts.LutFormatError` or :class:`ReportError` if it cannot be."""
        lut = LatencyLut.load(path)
        document = read_lines(path, self.name(path))
        assert document is not None
        journal = path.with_name(path.name.removesuffix(".jsonl") + ".journal.jsonl")
        return TableFile(document, lut, read_lines(journal, self.name(journal)))

    def tables_beside(self, runs: Sequence[Run]) -> Iterator[TableFile]:
        """The tables in the folders above the runs: where a search's table usually stands."""
        seen = {table.document.path.resolve() for run in runs for table in run.tables}
        for folder in dict.fromkeys(run.folder.resolve().parent for run in runs):
            for path in sorted(folder.glob(TABLES)):
                if path.resolve() not in seen:
                    yield self.table(path)

    def _json(self, path: Path) -> Document | None:
        return read_json(path, self.name(path))

    def _lines(self, path: Path) -> Document | None:
        document = read_lines(path, self.name(path))
        return None if document is None or not document.has("/0") else document

    def _search(self, folder: Path, baseline: Search | None = None) -> Search | None:
        journal, result = self._lines(folder / JOURNAL), self._json(folder / RESULT)
        if journal is None and result is None:
            return None
        if journal is not None and journal.text("/0/kind") != "search":
            raise ReportError(f"{journal.path} is not a search journal; delete it, or give another folder")
        beside = folder / BASELINE
        return Search(
            folder,
            journal,
            result,
            self._lines(folder / FINALISTS) or self._on_its_runtime(folder, result),
            self._json(folder / FRONT),
            baseline or (self._search(beside) if beside.is_dir() else None),
            tuple(
                found
                for path in sorted(folder.glob("seed-*"), key=lambda path: (len(path.name), path.name))
                if (found := self._lines(path / JOURNAL)) is not None
            ),
            self._json(folder / LEARNT),
        )

    def _on_its_runtime(self, folder: Path, result: Document | None) -> Document | None:
        """The journal of those measured on the winner's runtime, where the search chose among several."""
        runtime = "" if result is None else result.text("/winner/runtime") or result.text("/finalists/0/runtime")
        return self._lines(folder / FINALISTS.replace(".", f"-{runtime}.", 1)) if runtime else None

    def _demo_search(self, folder: Path) -> Search | None:
        """The search of a demo, whose folders are called after their methods; random search is beside it."""
        found = {path.name: self._search(path) for path in sorted(folder.glob("search-*")) if path.is_dir()}
        random = found.pop("search-random", None)
        others = [search for search in found.values() if search is not None]
        return self._search(others[0].folder, random) if others else random
