"""A real English-German or English-French corpus from Debian's own translations.

About 34 MB are fetched by the machine's apt client (no root, nothing installed): the package
descriptions, LibreOffice's help and interface, compiler messages, GNOME's help. The texts stay under
the licences of their packages (descriptions: not stated; LibreOffice: mainly MPL-2.0; GNOME's help:
CC-BY-SA-3.0; message catalogs: each program's); keep them to yourself unless you have checked.

The held-out split is our own, so BLEU on it compares with nothing published: 1 % test, 1 % valid by the
hash of the lower-cased source sentence; a target sentence occurs once in the whole corpus.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hwnas.data.apt import PrivateApt, package_files
from hwnas.data.debian_text import (
    TextPair,
    catalog_pairs,
    clean,
    description_pairs,
    descriptions,
    help_paragraphs,
    mallard_pairs,
)
from hwnas.data.folder import whole_folder
from hwnas.data.g2p import Say, default_folder
from hwnas.data.parallel import SPLITS, ParallelFiles, ParallelSettings, prepare_parallel
from hwnas.data.task import Split, Task
from hwnas.errors import DataError

Language = Literal["de", "fr"]
LANGUAGES: tuple[Language, ...] = ("de", "fr")


@dataclass(frozen=True, slots=True)
class DebianCorpus:
    """Text files of a corpus; ``pairs_by_source`` counts what each source added that was new."""

    files: Mapping[Split, ParallelFiles]
    pairs: Mapping[Split, int]
    pairs_by_source: Mapping[str, int]


def build_debian_corpus(language: Language, folder: Path, *, say: Say | None = None) -> DebianCorpus:
    """Fetch, align and split the corpus in ``folder``; what was fetched or built before is used again.

    The text is in ``folder/text/{train,valid,test}.{en,de}``, downloads in ``folder/apt`` (may be removed).

    Raises:
        DataError: an unknown language, no apt on this machine, apt failed, or the sources have none of it.
    """
    if language not in LANGUAGES:
        raise DataError(f"no recipe for the language {language!r}; known: {', '.join(LANGUAGES)}")
    text = folder / "text"
    if not (text / "report.json").is_file():
        tell = say or (lambda _: None)
        counts: dict[str, int] = {}
        pairs = unique(_all_pairs(language, PrivateApt(folder / "apt", ("en", language)), tell), counts)
        if not pairs:
            raise DataError(f"the apt sources of this machine have none of the packages for {language!r}")
        with whole_folder(text) as scratch:
            write_splits(pairs, language, scratch, counts)
    try:
        report = json.loads((text / "report.json").read_text(encoding="utf-8"))
        files = {s: ParallelFiles(text / f"{s}.en", text / f"{s}.{language}") for s in SPLITS}
        if report["language"] != language:
            raise DataError(f"{folder} holds the language {report['language']!r}; choose another folder")
        return DebianCorpus(files, report["pairs"], report["pairs_by_source"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise DataError(f"the corpus in {text} is damaged ({exc}); remove it and run again") from exc


def prepare_debian(
    pair: str, out_folder: Path, settings: ParallelSettings | None = None, *, say: Say | None = None
) -> Task:
    """Make the task folder ``out_folder`` for ``pair`` (``en-de`` or ``en-fr``) and return the task.

    Text and downloads are kept in the user's cache (:func:`hwnas.data.g2p.default_folder`) for next time.

    Raises:
        DataError, MissingExtraError: as :func:`build_debian_corpus` and
            :func:`hwnas.data.parallel.prepare_parallel`; or an unknown pair.
    """
    language = next((known for known in LANGUAGES if pair == f"en-{known}"), None)
    if language is None:
        known_pairs = ", ".join(f"en-{known}" for known in LANGUAGES)
        raise DataError(f"no recipe for the pair {pair!r}; known: {known_pairs}")
    corpus = build_debian_corpus(language, default_folder() / f"debian-{pair}", say=say)
    if say:
        counts = ", ".join(f"{source} {count:,}" for source, count in corpus.pairs_by_source.items())
        say(f"{sum(corpus.pairs.values()):,} pairs: {counts}")
    return prepare_parallel(corpus.files, out_folder, settings, name=f"debian-{pair}", say=say)


def unique(sourced: Iterable[tuple[str, TextPair]], counts: dict[str, int]) -> list[TextPair]:
    """The clean pairs whose source and target (lower-cased) are both new, in order.

    ``counts`` is filled with the number that each named source added.
    """
    sources: set[str] = set()
    targets: set[str] = set()
    kept: list[TextPair] = []
    for name, raw in sourced:
        counts.setdefault(name, 0)
        pair = clean(*raw)
        if pair is None:
            continue
        source, target = pair[0].lower(), pair[1].lower()
        if source in sources or target in targets:
            continue
        sources.add(source)
        targets.add(target)
        kept.append(pair)
        counts[name] += 1
    return kept


def split_of(source: str) -> Split:
    """The split of a source sentence, by the hash of its lower-cased text: 1 % test, 1 % valid."""
    bucket = int(hashlib.md5(source.lower().encode(), usedforsecurity=False).hexdigest(), 16) % 100
    return {0: "test", 1: "valid"}.get(bucket, "train")  # type: ignore[return-value]


def write_splits(pairs: Iterable[TextPair], language: Language, folder: Path, counts: Mapping[str, int]) -> None:
    """Write the text files of each split and ``report.json`` into ``folder``."""
    lines: dict[Split, list[TextPair]] = {split: [] for split in SPLITS}
    for pair in pairs:
        lines[split_of(pair[0])].append(pair)
    for split, some in lines.items():
        for side, suffix in enumerate(("en", language)):
            content = "".join(f"{pair[side]}\n" for pair in some)
            (folder / f"{split}.{suffix}").write_text(content, encoding="utf-8")
    report = {
        "language": language,
        "pairs": {split: len(some) for split, some in lines.items()},
        "pairs_by_source": dict(counts),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _all_pairs(language: Language, apt: PrivateApt, tell: Say) -> Iterator[tuple[str, TextPair]]:
    """Every pair as it stands in its source, with the source's name; prose first."""
    tell("fetching package lists (20 MB)")
    apt.update()
    english = dict(descriptions(apt.translations("en")))
    for md5, other in descriptions(apt.translations(language)):
        if md5 in english:
            yield from (("package descriptions", pair) for pair in description_pairs(english[md5], other))

    catalogs = rf".*/{language}/LC_MESSAGES/[^/]+\.mo"
    readers: dict[str, tuple[tuple[str, ...], Callable[[list[Path]], Iterator[TextPair]]]] = {
        "LibreOffice help": (
            ("libreoffice-help-en-us", f"libreoffice-help-{language}"),
            lambda files: _help(files, language),
        ),
        "GNOME help": (("gnome-user-docs",), lambda files: _mallard(files, language)),
        "LibreOffice interface": (
            (f"libreoffice-l10n-{language}",),
            lambda files: _catalogs(files, catalogs),
        ),
        "GCC": (("gcc-[0-9]+-locales",), lambda files: _catalogs(files, catalogs)),
        "binutils": (("binutils-common",), lambda files: _catalogs(files, catalogs)),
    }
    found = apt.find([name for names, _ in readers.values() for name in names])
    for source, (names, read) in readers.items():
        if any(name not in found for name in names):
            tell(f"{source}: not in this machine's apt sources, left out")
            continue
        size_mb = sum(found[name].size_bytes for name in names) / 1e6
        tell(f"{source}: {size_mb:.1f} MB")
        files = [apt.download(found[name]) for name in names]
        yield from ((source, pair) for pair in read(files))


def _catalogs(files: list[Path], pattern: str) -> Iterator[TextPair]:
    for file in files:
        for _, content in package_files(file, pattern):
            yield from catalog_pairs(content)


def _help(files: list[Path], language: Language) -> Iterator[TextPair]:
    root = "usr/share/libreoffice/help/"
    sides: list[dict[tuple[str, str], str]] = []
    for file, folder in zip(files, ("en-US", language), strict=True):
        texts = {}
        for path, content in package_files(file, rf"{root}{folder}/text/.*\.html"):
            page = path.removeprefix(f"{root}{folder}/")
            for paragraph, text in help_paragraphs(content.decode("utf-8", errors="replace")).items():
                texts[page, paragraph] = text
        sides.append(texts)
    english, other = sides
    yield from ((text, other[key]) for key, text in english.items() if key in other)


def _mallard(files: list[Path], language: Language) -> Iterator[TextPair]:
    root = "usr/share/help/"
    pages: dict[str, bytes] = {}
    for file in files:
        pages.update(package_files(file, rf"{root}(?:C|{language})/.*\.page"))
    for path, english in sorted(pages.items()):
        other = pages.get(path.replace(f"{root}C/", f"{root}{language}/", 1))
        if path.startswith(f"{root}C/") and other is not None:
            yield from mallard_pairs(english, other)
