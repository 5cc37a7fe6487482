"""PER, WER and BLEU against brute force and against values worked out by hand."""

import builtins
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import DataError, MissingExtraError
from hwnas.metrics import bleu, per_wer

phonemes = st.lists(st.sampled_from(["AA", "B", "K", "TH"]), max_size=6).map(tuple)


@cache
def distance(a, b):
    """Levenshtein by its recursive definition."""
    if not a or not b:
        return len(a) + len(b)
    return min(distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0]))


@settings(max_examples=100, deadline=None)
@given(phonemes, st.lists(phonemes, min_size=1, max_size=3))
def test_one_word_against_the_recursive_definition(said, acceptable):
    result = per_wer([" ".join(said)], [[" ".join(reference) for reference in acceptable]])
    best = min(distance(said, reference) for reference in acceptable)
    length = max(len(r) for r in acceptable if distance(said, r) == best)
    assert result.per == pytest.approx(best / max(length, 1))
    assert result.wer == (best > 0)


def test_rates_are_pooled_over_words_not_averaged():
    result = per_wer(["K AA", "B"], [["K AA B TH AA B TH AA"], ["B", "B AA"]])
    assert result.per == 6 / 9
    assert result.wer == 1 / 2


def test_bleu_of_the_reference_is_100_and_keeps_the_signature():
    text = ["the cat sat on the mat today", "a second sentence of some length"]
    result = bleu(text, [[line] for line in text])
    assert result.score == pytest.approx(100)
    assert "tok:13a" in result.signature
    assert "version:" in result.signature


def test_bleu_by_hand():
    # 1- to 4-gram precisions 5/6, 3/5, 1/4 and 0/3 smoothed to 1/6; equal lengths, no penalty
    result = bleu(["the cat sat on the mat"], [["the cat lay on the mat"]])
    assert result.score == pytest.approx(100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25)


def test_bleu_takes_different_numbers_of_references():
    hypotheses = ["one two three four five", "red green blue black white"]
    result = bleu(hypotheses, [["x y z", "one two three four five"], ["red green blue black white"]])
    assert result.score == pytest.approx(100)


@pytest.mark.parametrize("metric", [per_wer, bleu])
@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        ([], [], "no hypotheses"),
        (["a", "b"], [["a"]], "2 hypotheses for 1"),
        (["a"], [[]], r"hypothesis 0 \('a'\) has no reference"),
    ],
)
def test_bad_requests_are_named(metric, hypotheses, references, message):
    with pytest.raises(DataError, match=message):
        metric(hypotheses, references)


def test_bleu_without_sacrebleu_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'hwnas\[text\]'"):
        bleu(["a"], [["a"]])
