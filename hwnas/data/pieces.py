"""Train a vocabulary of subword pieces with SentencePiece (the only place that needs it)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

from hwnas.data.task import BOS, EOS, PAD, UNK
from hwnas.data.vocabulary import SPECIALS, PieceVocabulary, normalise
from hwnas.errors import DataError, MissingExtraError

CHARACTER_COVERAGE = 0.9998
"""Share of characters the pieces must cover; the rest of a corpus is mostly stray foreign script."""


def train_pieces(lines: Iterable[str], size: int) -> PieceVocabulary:
    """At most ``size`` pieces (with the four special ones) by the unigram method of Kudo 2018.

    A text too small for ``size`` gets fewer. Deterministic: one thread, no sampling of lines.

    Raises:
        DataError: ``size`` is too small to hold the characters of the text, or the text is empty.
        MissingExtraError: sentencepiece is not installed.
    """
    try:
        import sentencepiece
    except ImportError as exc:
        raise MissingExtraError("training a vocabulary needs sentencepiece: pip install 'hwnas[text]'") from exc
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(normalise(line) for line in lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=CHARACTER_COVERAGE,
            normalization_rule_name="identity",
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            num_threads=1,
            shuffle_input_sentence=False,
            minloglevel=2,
        )
    except (RuntimeError, ValueError) as exc:
        reason = str(exc).strip().splitlines()[-1]
        needed = re.search(r"smaller than required_chars\. \d+ vs (\d+)", reason)
        if needed is not None:
            raise DataError(
                f"a vocabulary of {size} pieces cannot hold the characters of the text; it needs {needed[1]} at least"
            ) from exc
        raise DataError(f"no vocabulary of {size} pieces can be trained ({reason}); choose another size") from exc
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(processor.get_piece_size())
    return PieceVocabulary(
        pieces=(*SPECIALS, *(processor.id_to_piece(i) for i in ids[len(SPECIALS) :])),
        scores=tuple(processor.get_score(i) for i in ids),
    )
