"""Vocabularies: round trips, unknown symbols, and equality with SentencePiece."""

import io
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.data.task import BOS, EOS, PAD, UNK
from hwnas.data.vocabulary import (
    SPECIALS,
    PieceVocabulary,
    SymbolVocabulary,
    VocabularyError,
    normalise,
    vocabulary_from_dict,
)

letters = SymbolVocabulary.of("abc'é", lowercase=True)
phonemes = SymbolVocabulary.of(["AH", "B", "K"], separator=" ")
PIECES = ("\u2581", "a", "b", "n", "an", "\u2581ban", "\u2581banana", "ana")
pieces = PieceVocabulary((*SPECIALS, *PIECES), (0, 0, 0, 0, -2, -3, -3, -3, -3.5, -4, -8.1, -3.9))


def test_special_symbols_come_first():
    assert letters.symbols[:4] == SPECIALS
    assert len(letters) == 4 + 5
    assert letters.encode("a")[-1] == EOS


@given(st.text("abc'é"))
def test_characters_round_trip(text):
    assert letters.decode(letters.encode(text)) == text


@given(st.lists(st.sampled_from(["AH", "B", "K"])).map(" ".join))
def test_separated_symbols_round_trip(text):
    assert phonemes.decode(phonemes.encode(text)) == text


@given(st.text())
def test_any_text_can_be_encoded(text):
    for vocabulary in (letters, phonemes, pieces):
        ids = vocabulary.encode(text)
        assert ids[-1] == EOS
        assert not {PAD, BOS, EOS} & set(ids[:-1])
        assert (UNK in ids) == bool(vocabulary.unknown(text))


def test_case_is_folded_where_asked():
    assert letters.encode("ABC") == letters.encode("abc")
    assert phonemes.unknown("ah B b") == ("ah", "b")


def test_decoding_stops_at_the_end_symbol():
    a, b = letters.encode("ab")[:2]
    assert letters.decode([BOS, a, EOS, b, PAD]) == "a"
    assert letters.decode([a, UNK]) == "a<unk>"


@pytest.mark.parametrize("vocabulary", [letters, phonemes, pieces])
def test_json_round_trip(vocabulary):
    again = vocabulary_from_dict(json.loads(json.dumps(vocabulary.as_dict())))
    assert again == vocabulary
    assert again.encode("banana B x") == vocabulary.encode("banana B x")


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"kind": "words"},
        {"kind": "symbols", "symbols": "abc", "separator": "", "lowercase": False},
        {"kind": "symbols", "symbols": ["a"], "separator": "", "lowercase": False},
        {"kind": "symbols", "symbols": [*SPECIALS, "a", "a"], "separator": "", "lowercase": False},
        {"kind": "pieces", "pieces": [*SPECIALS, "a"], "scores": [0.0]},
        {"kind": "pieces", "pieces": [*SPECIALS, "a"], "scores": ["x"] * 5},
    ],
)
def test_damaged_descriptions_are_refused(damaged):
    with pytest.raises(VocabularyError, match=r"vocabulary"):
        vocabulary_from_dict(damaged)


def total(ids):
    return sum(pieces.scores[i] for i in ids[:-1])


def cuts(word):
    """Every way to write a word in pieces."""
    if not word:
        yield ()
    for end in range(1, len(word) + 1):
        if word[:end] in PIECES:
            for rest in cuts(word[end:]):
                yield (4 + PIECES.index(word[:end]), *rest)


@settings(max_examples=60, deadline=None)
@given(st.text("abn", min_size=1, max_size=9))
def test_pieces_are_the_most_probable_cut(word):
    best = max(total((*cut, EOS)) for cut in cuts("\u2581" + word))
    assert total(pieces.encode(word)) == pytest.approx(best)


def test_a_run_of_unknown_characters_is_one_unknown():
    assert pieces.encode("xyz") == (4, UNK, EOS)
    assert pieces.unknown("axy a\u3000x") == ("x", "y")


def sentences(seed, count):
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnoprstu", k=rng.randint(1, 9))) for _ in range(300)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    return [" ".join(rng.choices(words, weights, k=rng.randint(1, 12))) for _ in range(count)]


def test_the_same_ids_as_sentencepiece():
    sentencepiece = pytest.importorskip("sentencepiece", reason="the extra `text` is not installed")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences(0, 2000)),
        model_writer=model,
        vocab_size=200,
        normalization_rule_name="identity",
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(theirs.get_piece_size())
    ours = PieceVocabulary(
        (*SPECIALS, *(theirs.id_to_piece(i) for i in ids[4:])), tuple(theirs.get_score(i) for i in ids)
    )
    texts = [*sentences(1, 800), "ab xyz\u4e00 yz q", "", "  a   b "]
    for text in texts:
        assert ours.encode(text) == (*theirs.encode(normalise(text)), EOS), text
        assert "z" in text or ours.decode(ours.encode(text)) == normalise(text)
