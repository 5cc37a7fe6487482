"""Sentence pairs out of the files of Debian packages: package descriptions, catalogs, help pages.

Each reader yields ``(English, other language)`` pairs as they stand there; :func:`clean` tells which are
sentences fit for training.
"""

from __future__ import annotations

import gettext
import html
import io
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TypeVar
from xml.etree import ElementTree

from hwnas.data.vocabulary import normalise

_T = TypeVar("_T")
TextPair = tuple[str, str]

MIN_WORDS, MAX_WORDS = 3, 60
MAX_LENGTH_RATIO, LENGTH_SLACK = 2.5, 3
MIN_LETTERS = 0.8

_UNFIT = re.compile(
    r"%[-+ #0-9.*$']*[a-zA-Z(]|[{}<>|\\_=@]|\$\w|&\w+;|https?:|www\.|://"
)  # placeholders, tags, variables, entities, addresses
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-ZÀ-Ý0-9])")
_BULLET = re.compile(r"\s*(?:[*+-]|o)\s+")
_ACCELERATOR = re.compile(r"[_&~](?=\w)")
_HELP_PARAGRAPH = re.compile(r'<(p|h[1-6])\b[^>]*\bid="((?:par|hd)_id\w+)"[^>]*>(.*?)</\1>', re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_MALLARD = "{http://projectmallard.org/1.0/}"


def clean(source: str, target: str) -> TextPair | None:
    """The pair with white space and Unicode normalised, or None where it is no pair of sentences.

    Kept are pairs of 3 to 60 words on each side, without placeholders, tags or addresses, that differ,
    whose lengths differ by at most a factor of 2.5 (and 3 words), and that are more than 80 % letters.
    """
    source, target = normalise(source), normalise(target)
    short, long = sorted((len(source.split()), len(target.split())))
    if short < MIN_WORDS or long > MAX_WORDS or long > MAX_LENGTH_RATIO * short + LENGTH_SLACK:
        return None
    if source.lower() == target.lower() or _UNFIT.search(source) or _UNFIT.search(target):
        return None
    for text in (source, target):
        letters = sum(map(str.isalpha, text))
        if letters <= MIN_LETTERS * (len(text) - text.count(" ")):
            return None
    return source, target


def descriptions(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """``(md5, text)`` of every stanza of an apt ``Translation-*`` list.

    The md5 is that of the English description, in every language, and joins the lists.
    """
    md5, text = "", ""
    for line in lines:
        if line.startswith("Description-md5:"):
            md5 = line.partition(":")[2].strip()
        elif line.startswith("Description-"):
            text = line.partition(":")[2].strip() + "\n"
        elif line.startswith(" ") and text:
            text += line.rstrip("\n")[1:] + "\n"
        elif not line.strip():
            if md5 and text:
                yield md5, text
            md5, text = "", ""
    if md5 and text:
        yield md5, text


def description_pairs(english: str, other: str) -> Iterator[TextPair]:
    """Sentences of two descriptions, as far as both have the same parts.

    The first line, paragraphs (between lines of a full stop), bullet points, then sentences are paired
    where both sides have equally many.
    """
    for paragraphs in _same_number(_paragraphs(english), _paragraphs(other)):
        for items in _same_number(*map(_items, paragraphs)):
            sentences = [_SENTENCE_END.split(item) for item in items]
            if len(sentences[0]) == len(sentences[1]):
                yield from zip(*sentences, strict=True)
            else:
                yield items


def catalog_pairs(content: bytes) -> Iterator[TextPair]:
    """Messages of a compiled gettext catalog; of plural forms the singular, accelerators removed.

    A catalog that is damaged or not UTF-8 yields nothing.
    """
    try:
        # Messages with their contexts and plural forms are in no public attribute.
        catalog: Mapping[object, str] = vars(gettext.GNUTranslations(io.BytesIO(content)))["_catalog"]
    except (OSError, ValueError, IndexError, KeyError, struct.error):
        return
    for key, translation in catalog.items():
        if isinstance(key, tuple):
            message, form = key
            if form != 0:
                continue
        else:
            message = key
        english = str(message).rpartition("\x04")[2]
        if english and translation:
            yield _ACCELERATOR.sub("", english), _ACCELERATOR.sub("", translation)


def help_paragraphs(page: str) -> dict[str, str]:
    """Paragraph id -> text of a LibreOffice help page (HTML); ids are the same in every language."""
    return {match[2]: html.unescape(_TAG.sub("", match[3])) for match in _HELP_PARAGRAPH.finditer(page)}


def mallard_pairs(english: bytes, other: bytes) -> Iterator[TextPair]:
    """Blocks of a GNOME help page (Mallard XML) and its translation, if both are built alike."""
    try:
        blocks = [list(_mallard_blocks(ElementTree.fromstring(page))) for page in (english, other)]
    except ElementTree.ParseError:
        return
    if [tag for tag, _ in blocks[0]] == [tag for tag, _ in blocks[1]]:
        for (_, source), (_, target) in zip(*blocks, strict=True):
            if source and target:
                yield source, target


def _mallard_blocks(page: ElementTree.Element) -> Iterator[tuple[str, str]]:
    """``(tag, text)`` of titles, summaries and paragraphs; no text where a part of it is made at display."""
    if page.tag.endswith("credit"):
        return
    if page.tag in {f"{_MALLARD}{tag}" for tag in ("title", "desc", "p")}:
        filled_in = any(not "".join(part.itertext()).strip() for part in page.iter())
        yield page.tag, "" if filled_in else "".join(page.itertext())
        return
    for part in page:
        yield from _mallard_blocks(part)


def _paragraphs(description: str) -> list[list[str]]:
    """The lines of each paragraph; the first line of a description is one by itself."""
    first, _, rest = description.partition("\n")
    lines = rest.splitlines()
    stops = [-1, *(i for i, line in enumerate(lines) if line.strip() == "."), len(lines)]
    return [[first], *(lines[start + 1 : end] for start, end in pairwise(stops) if end > start + 1)]


def _items(paragraph: list[str]) -> list[str]:
    """A paragraph's running text, cut at bullet points."""
    items: list[str] = []
    for line in paragraph:
        bullet = _BULLET.match(line)
        if bullet or not items:
            items.append(line[bullet.end() :] if bullet else line)
        else:
            items[-1] += " " + line.strip()
    return items


def _same_number(left: list[_T], right: list[_T]) -> Iterator[tuple[_T, _T]]:
    """Both side by side, or nothing where one has more."""
    if len(left) == len(right):
        yield from zip(left, right, strict=True)
