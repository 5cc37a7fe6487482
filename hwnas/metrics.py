"""How good an answer is: phoneme and word error rate, BLEU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from hwnas.errors import DataError, MissingExtraError


@dataclass(frozen=True, slots=True)
class PerWer:
    """Error rates as fractions (0.11 is 11 %): ``per`` of phonemes, ``wer`` of whole words."""

    per: float
    wer: float


@dataclass(frozen=True, slots=True)
class Bleu:
    """Corpus BLEU from 0 to 100 and sacrebleu's signature, without which the number means nothing."""

    score: float
    signature: str


def per_wer(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> PerWer:
    """Error rates of one hypothesis per word against all its acceptable references.

    Symbols stand between spaces. Of a word's references the one with the lowest edit distance counts
    (of equals the longest); PER is the sum of these distances over the sum of these references'
    lengths, WER the share of words whose distance is not 0 (as CMUSphinx's g2p-seq2seq scores).

    Raises:
        DataError: no words, unequal numbers, or a word without reference.
    """
    _check(hypotheses, references)
    errors = symbols = wrong = 0
    for hypothesis, acceptable in zip(hypotheses, references, strict=True):
        said = hypothesis.split()
        scored = [(_edit_distance(said, meant), len(meant)) for meant in map(str.split, acceptable)]
        distance, length = min(scored, key=lambda score: (score[0], -score[1]))
        errors += distance
        symbols += length
        wrong += distance > 0
    return PerWer(per=errors / max(symbols, 1), wer=wrong / len(hypotheses))


def bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Bleu:
    """Corpus BLEU of detokenised text by sacrebleu (Post 2018, 13a tokenisation, its defaults).

    ``references[i]`` are the acceptable translations of sentence ``i``.

    Raises:
        DataError: no sentences, unequal numbers, or a sentence without reference.
        MissingExtraError: sacrebleu is not installed.
    """
    _check(hypotheses, references)
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as exc:
        raise MissingExtraError("BLEU needs sacrebleu: pip install 'hwnas[text]'") from exc
    most = max(map(len, references))
    # sacrebleu wants one stream per reference number; it leaves out what is None.
    streams = [[some[i] if i < len(some) else None for some in references] for i in range(most)]
    metric = BLEU()
    score = metric.corpus_score(list(hypotheses), cast("list[list[str]]", streams))
    return Bleu(score=float(score.score), signature=str(metric.get_signature()))


def _check(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(hypotheses) != len(references):
        raise DataError(f"{len(hypotheses)} hypotheses for {len(references)} lists of references")
    if not hypotheses:
        raise DataError("no hypotheses to score; the split is empty")
    for number, acceptable in enumerate(references):
        if not acceptable:
            raise DataError(f"hypothesis {number} ({hypotheses[number]!r}) has no reference")


def _edit_distance(said: Sequence[str], meant: Sequence[str]) -> int:
    """Levenshtein distance: insertions, deletions and substitutions cost 1."""
    if said == meant:
        return 0
    row = list(range(len(meant) + 1))
    for i, symbol in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(meant, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (symbol != other))
    return row[-1]
