"""Text <-> ids, with the standard library alone: symbols (characters, phonemes) and subword pieces.

Both kinds are values made of plain lists, so that a deployed bundle can carry them as JSON and needs
no tokeniser library: this file is copied into every bundle and imports nothing of hwnas.
:func:`vocabulary_from_dict` reads what ``as_dict`` wrote. The first four ids are PAD, BOS, EOS and UNK
in every vocabulary.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

PAD, BOS, EOS, UNK = 0, 1, 2, 3
"""Ids of the special symbols in every vocabulary."""

SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
SPACE = "\u2581"
"""Stands for the space in front of a word inside a piece (SentencePiece's convention)."""

UNKNOWN_PENALTY = 10.0
"""An unknown character costs this much more than the rarest piece (SentencePiece's constant)."""


class VocabularyError(ValueError):
    """A vocabulary that cannot be: damaged, or with a symbol twice."""


@dataclass(frozen=True, slots=True)
class SymbolVocabulary:
    """A fixed set of symbols; ``separator`` stands between them in text ("" for characters).

    With ``lowercase`` text is lower-cased before it is encoded.
    """

    symbols: tuple[str, ...]
    separator: str = ""
    lowercase: bool = False
    _ids: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.symbols[: len(SPECIALS)] != SPECIALS:
            raise VocabularyError(f"a vocabulary starts with {SPECIALS}, not {self.symbols[:4]}")
        ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        if len(ids) != len(self.symbols):
            raise VocabularyError("a vocabulary has a symbol twice; each may stand in it once")
        object.__setattr__(self, "_ids", {s: i for s, i in ids.items() if i >= len(SPECIALS)})

    @classmethod
    def of(cls, symbols: Iterable[str], *, separator: str = "", lowercase: bool = False) -> SymbolVocabulary:
        """The vocabulary of these symbols, sorted, behind the special ones."""
        return cls((*SPECIALS, *sorted(set(symbols))), separator, lowercase)

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of the symbols in ``text`` and EOS; unknown symbols become UNK."""
        return (*(self._ids.get(symbol, UNK) for symbol in self._split(text)), EOS)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids up to the first EOS; PAD and BOS are left out, UNK is ``<unk>``."""
        return self.separator.join(self.symbols[i] for i in _visible(ids))

    def unknown(self, text: str) -> tuple[str, ...]:
        """The symbols of ``text`` that are not in the vocabulary, each once, in order."""
        return tuple(dict.fromkeys(symbol for symbol in self._split(text) if symbol not in self._ids))

    def as_dict(self) -> dict[str, object]:
        """A JSON-ready description; the special symbols are the first four."""
        return {
            "kind": "symbols",
            "symbols": list(self.symbols),
            "separator": self.separator,
            "lowercase": self.lowercase,
        }

    def _split(self, text: str) -> Sequence[str]:
        text = text.lower() if self.lowercase else text
        return text.split(self.separator.strip() or None) if self.separator else text


@dataclass(frozen=True, slots=True)
class PieceVocabulary:
    """Subword pieces with log probabilities (a unigram language model; Kudo 2018, section 3).

    Text is normalised (NFKC, runs of white space become one space), each word gets a leading
    `SPACE`, and is cut into the most probable sequence of pieces (Viterbi); a piece never spans
    two words. SentencePiece with identity normalisation on the normalised text gives the same ids.
    """

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    _ids: Mapping[str, int] = field(init=False, repr=False, compare=False)
    _longest: int = field(init=False, repr=False, compare=False)
    _unknown_score: float = field(init=False, repr=False, compare=False)
    _words: dict[str, tuple[int, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.pieces[: len(SPECIALS)] != SPECIALS or len(self.pieces) != len(self.scores):
            raise VocabularyError(f"a piece vocabulary starts with {SPECIALS} and has one score for each piece")
        known = {p: i for i, p in enumerate(self.pieces) if i >= len(SPECIALS)}
        if len(known) != len(self.pieces) - len(SPECIALS):
            raise VocabularyError("a piece vocabulary has a piece twice; each may stand in it once")
        object.__setattr__(self, "_ids", known)
        object.__setattr__(self, "_longest", max(map(len, known), default=1))
        rarest = min(self.scores[len(SPECIALS) :], default=0.0)
        object.__setattr__(self, "_unknown_score", rarest - UNKNOWN_PENALTY)
        object.__setattr__(self, "_words", {})

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of the most probable pieces and EOS; a run of unknown characters is one UNK."""
        ids: list[int] = []
        for word in normalise(text).split():
            cut = self._words.get(word)
            if cut is None:
                cut = self._words[word] = self._cut(SPACE + word)
            ids.extend(cut)
        return (*ids, EOS)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids up to the first EOS; PAD and BOS are left out, UNK is ``<unk>``."""
        return "".join(self.pieces[i] for i in _visible(ids)).replace(SPACE, " ").strip()

    def unknown(self, text: str) -> tuple[str, ...]:
        """The characters of ``text`` that no single piece covers, each once, in order."""
        letters = "".join(normalise(text).split())
        return tuple(dict.fromkeys(letter for letter in letters if UNK in self._cut(letter)))

    def as_dict(self) -> dict[str, object]:
        """A JSON-ready description; the special symbols are the first four pieces."""
        return {"kind": "pieces", "pieces": list(self.pieces), "scores": list(self.scores)}

    def _cut(self, word: str) -> tuple[int, ...]:
        """The most probable pieces of one word by dynamic programming over its end positions."""
        totals, starts, last = [0.0], [0], [UNK]
        for end in range(1, len(word) + 1):
            total, begin, piece = -inf, end - 1, UNK
            for start in range(max(0, end - self._longest), end):
                i = self._ids.get(word[start:end])
                if i is None and start < end - 1:
                    continue
                score = totals[start] + (self._unknown_score if i is None else self.scores[i])
                if score > total:
                    total, begin, piece = score, start, UNK if i is None else i
            totals.append(total)
            starts.append(begin)
            last.append(piece)
        ids: list[int] = []
        end = len(word)
        while end:
            if not (last[end] == UNK and ids and ids[-1] == UNK):
                ids.append(last[end])
            end = starts[end]
        return tuple(reversed(ids))


def vocabulary_from_dict(data: Mapping[str, object]) -> SymbolVocabulary | PieceVocabulary:
    """The vocabulary that ``as_dict`` described.

    Raises:
        VocabularyError: the description has another form.
    """
    try:
        kind = data["kind"]
        if kind == "symbols":
            symbols = _strings(data["symbols"])
            return SymbolVocabulary(symbols, str(data["separator"]), bool(data["lowercase"]))
        if kind == "pieces":
            scores = data["scores"]
            if not isinstance(scores, list):
                raise TypeError("scores is not a list")  # noqa: TRY301
            return PieceVocabulary(_strings(data["pieces"]), tuple(float(score) for score in scores))
    except (KeyError, TypeError, ValueError) as exc:
        raise VocabularyError(f"a vocabulary is damaged ({exc!r}); prepare the data again") from exc
    raise VocabularyError(f"a vocabulary of kind {kind!r} is not known; known: symbols, pieces")


def normalise(text: str) -> str:
    """NFKC, and every run of white space one space; what a piece vocabulary is trained on and encodes."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError("expected a list of strings")
    return tuple(value)


def _visible(ids: Sequence[int]) -> list[int]:
    shown: list[int] = []
    for i in ids:
        if i == EOS:
            break
        if i not in (PAD, BOS):
            shown.append(i)
    return shown
