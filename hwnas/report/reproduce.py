"""The commands that make a run again, put together from the headers of its journals."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hwnas.report.documents import Document, Figure
from hwnas.report.run import Run, Search, TableFile
from hwnas.search.identity import BEST_OF

Words = list[str | Figure]

_LATENCY = r"latency <= (\S+) ms"


@dataclass(frozen=True, slots=True)
class Command:
    """What a command is for, and its words; those that are figures tell where they are from."""

    what: str
    words: tuple[str | Figure, ...]

    @property
    def options(self) -> list[Words]:
        """The words, an option together with its value."""
        parts: list[Words] = []
        for word in self.words:
            if not parts or (isinstance(word, str) and word.startswith("--")):
                parts.append([])
            parts[-1].append(word)
        return parts


def commands_of(run: Run, table: TableFile | None, further: Sequence[TableFile | None] = ()) -> list[Command]:
    """In the order they are given; ``further`` are the tables of the search's other devices or runtimes."""
    found: list[Command] = []
    if run.demo is not None:
        found.append(_demo(run.demo))
    if table is not None:
        found.append(_profile(table))
    search = run.search
    if search is not None and search.journal is not None:
        found.append(_search(run, search, search.journal, (table, *further)))
        beside = search.baseline
        if beside is not None and beside.journal is not None and beside.folder.parent != search.folder:
            found.append(_search(run, beside, beside.journal, (table, *further), beside=search))
    if run.bundle is not None and search is not None:
        found.append(_export(run, run.bundle, search, table))
    return found


def within(document: Document, pointer: str, pattern: str) -> Figure | None:
    """A number that stands within a text: the first group of ``pattern``."""
    found = re.search(pattern, document.text(pointer))
    if found is None:
        return None
    told = float(found[1])
    return Figure(int(told) if told.is_integer() else told, (document.place(pointer),), "within")


def latency_limit(document: Document, pointer: str, others: Collection[str], device: str = "") -> Figure | None:
    """A latency limit in a text that tells those of all devices: of ``device``, else of the one not in ``others``."""
    for part in document.text(pointer).split("; "):
        name, _, told = part.rpartition(": ")
        found = re.search(_LATENCY, told) if (name == device if device else name not in others) else None
        if found is not None:
            told_ms = float(found[1])
            return Figure(int(told_ms) if told_ms.is_integer() else told_ms, (document.place(pointer),), "within")
    return None


def further_devices(search: Search) -> list[str]:
    """Those on which finalists are predicted beside the one they are measured on."""
    return [] if search.result is None else list(search.result.mapping("/finalists/0/elsewhere_ms"))


def limit_of(run: Run) -> Figure | None:
    """The latency limit on the device that finalists are measured on, as exactly as the run tells it."""
    if run.demo is not None and run.demo.has("/limit_ms"):
        return run.demo.figure("/limit_ms")
    if run.search is not None:
        for document, pointer in ((run.search.result, "/limits"), (run.search.journal, "/0/limits")):
            found = None if document is None else latency_limit(document, pointer, further_devices(run.search))
            if found is not None:
                return found
    return None if run.bundle is None else run.bundle.figure("/limit_ms")


def _demo(demo: Document) -> Command:
    words: Words = ["hwnas demo --out", demo.path.parent.name]
    for pointer, option in (("/settings/seed", "--seed"), ("/settings/updates", "--updates"), ("/device", "--device")):
        figure = demo.figure(pointer)
        words += [] if figure is None else [option, figure]
    return Command("everything at once", tuple(words))


def _profile(table: TableFile) -> Command:
    document, journal = table.document, table.journal
    words: Words = ["hwnas profile"]
    words += _option("--space", document.figure("/0/subject/space"))
    words += _option("--device", document.figure("/0/target/device"))
    if journal is not None:
        for name in ("rounds", "min_rounds", "samples", "half_width", "seed"):
            words += _option(f"--{name.replace('_', '-')}", journal.figure(f"/0/plan/{name}"))
        roles = [journal.text(f"{place}/meta/role") for place, _ in journal.items("/0/items")]
        for role in ("calibration", "check"):
            counted = Figure(roles.count(role), (journal.place("/0/items/*/meta/role"),), f"count:{role}")
            words += _option(f"--{role}", counted)
    return Command("the table", (*words, "--out", document.path.name))


def _search(
    run: Run, search: Search, journal: Document, tables: Sequence[TableFile | None], beside: Search | None = None
) -> Command:
    words: Words = ["hwnas search"]
    words += _option("--space", journal.figure("/0/space"))
    best = journal.text("/0/latency").startswith(BEST_OF)
    words += ["--runtime best"] if best else []
    if best and len(tables) == 1:  # those it chose among are not here
        words += ["--table", "TABLES"]
    for table in tables if len(tables) > 1 or not best else ():
        words += ["--table", _place(table)]
    words += ["--supernet", _supernet(run)]
    words += _option("--method", journal.figure("/0/searcher"))
    words += _settings(journal)
    words += _option("--seed", journal.figure("/0/seed"))
    if search.further:
        counted = (journal.place("/0/seed"), *(further.place("/0/seed") for further in search.further))
        words += _option("--seeds", Figure(len(counted), counted, "count"))
    words += _limits(search, journal, further_devices(search)[: len(tables) - 1])
    words += _option("--validation-pairs", within(journal, "/0/evaluator", r"/(\d+) pairs"))
    if "/subset " in journal.text("/0/evaluator"):
        words += ["--subset", "SUBSET.json"]
    if journal.has("/0/settings/excluded"):
        words += ["--exclude", "SEARCH" if beside is None else beside.folder.name]
    if search.baseline is not None and search.baseline.folder.parent == search.folder:
        words.append("--baseline")
    what = "the search" if beside is None else "random search beside it"
    return Command(what, (*words, "--out", search.folder.name))


def _limits(search: Search, journal: Document, others: Sequence[str]) -> Words:
    """The limits as given: the journal tells those that were kept, a latency less its margin or at a confidence."""
    words: Words = []
    pairs = [_kept_and_given(search, journal, others, device) for device in ("", *others)]
    kept, given = next(((kept, given) for kept, given in pairs if kept is not None), (None, None))
    sure = within(journal, "/0/limits", r"at (\S+) % confidence")
    if kept is not None and given is not None:
        for _, each in pairs:
            words += ["--latency-ms", "inf" if each is None else each]
        if sure is not None:
            words += ["--confidence", Figure(sure.number / 100, sure.sources, "within-percent")]
        else:
            margin = round(1 - kept.number / given.number, 6)
            words += ["--margin", Figure(margin, (*kept.sources, *given.sources), "margin")]
    for told, option in (("energy", "--energy-mj"), ("params", "--params-m"), ("peak memory", "--peak-memory-mib")):
        words += _option(option, within(journal, "/0/limits", rf"{told} <= (\S+)"))
    return words


def _kept_and_given(
    search: Search, journal: Document, others: Sequence[str], device: str
) -> tuple[Figure | None, Figure | None]:
    kept = latency_limit(journal, "/0/limits", others, device)
    asked = None if search.result is None else latency_limit(search.result, "/limits", others, device)
    return kept, asked or kept


def _settings(journal: Document) -> Words:
    """Those of HAT's evolution have options of their own, what random search spends is all it has to be told."""
    method = journal.text("/0/searcher")
    if method == "random":
        spent = journal.all("/*/loss", "count")
        return [] if spent is None else ["--evaluations", spent]
    words: Words = []
    for pointer, value in journal.items("/0/settings"):
        name, figure = pointer.rsplit("/", 1)[1], journal.figure(pointer)
        if name == "objectives":
            for place, objective in journal.items(pointer):
                if "/" not in str(objective):
                    words += _option("--objective", journal.figure(place))
        elif name != "excluded" and figure is not None and value is not None:
            if isinstance(value, bool):
                figure = Figure(str(value).lower(), figure.sources, "flag")
            own = method == "evolution" or name == "evaluations"
            words += [f"--{name.replace('_', '-')}", figure] if own else [f"--set {name}=", figure]
    return words


def _export(run: Run, bundle: Document, search: Search, table: TableFile | None) -> Command:
    words: Words = ["hwnas export", f"{search.folder.name}/winner.yml"]
    words += _option("--space", bundle.figure("/space/name"))
    words += ["--table", _place(table), "--supernet", _supernet(run)]
    words += _option("--latency-ms", bundle.figure("/limit_ms"))
    words += [] if run.demo is None else _option("--finetune-updates", run.demo.figure("/settings/finetune_updates"))
    return Command("the bundle", (*words, "--out", bundle.path.parent.name))


def _place(table: TableFile | None) -> str:
    return "TABLE" if table is None else table.document.path.name


def _supernet(run: Run) -> str:
    return "supernet.pt" if (run.folder / "supernet.pt").is_file() else "SUPERNET.pt"


def _option(name: str, figure: Figure | None) -> Sequence[str | Figure]:
    return () if figure is None else (name, figure)
