"""A toy task, space and settings that train in a second; also run as a script that is killed by a test."""

import random
import sys
from pathlib import Path

from hwnas.data.task import Pair, Task
from hwnas.data.vocabulary import SymbolVocabulary
from hwnas.families import get_family

FAMILY = get_family("seq2seq")
SPACE = FAMILY.space(
    {
        "name": "toy",
        "family": "seq2seq",
        "workload": {"source_tokens": 5, "target_tokens": 5, "vocabulary": 9},
        "choices": {
            "encoder_embed": [8, 16],
            "encoder_layers": [1],
            "encoder_ffn": [8, 16],
            "encoder_heads": [1, 2],
            "decoder_embed": [8, 16],
            "decoder_layers": [1, 2],
            "decoder_ffn": [8, 16],
            "decoder_self_heads": [1, 2],
            "decoder_cross_heads": [1, 2],
            "decoder_attended": [1],
        },
        "fixed": {"qkv": 16, "positions": 128},
    }
)
SPELLING = dict(zip("abcde", "VWXYZ", strict=True))


def toy_task(fingerprint: str = "toy-1", pairs: int = 300) -> Task:
    """Words of a to e; the answer is each letter's symbol, in order."""
    rng = random.Random(7)
    words = sorted({"".join(rng.choices("abcde", k=rng.randint(1, 5))) for _ in range(3 * pairs)})
    rng.shuffle(words)
    words = words[:pairs]
    source, target = SymbolVocabulary.of("abcde"), SymbolVocabulary.of("VWXYZ", separator=" ")
    answers = {word: " ".join(SPELLING[letter] for letter in word) for word in words}
    parts = {
        "train": words[: -pairs // 3],
        "valid": words[-pairs // 3 : -pairs // 6],
        "test": words[-pairs // 6 :],
    }
    return Task(
        name="toy",
        source_vocabulary=source,
        target_vocabulary=target,
        pairs={
            split: tuple(Pair(source.encode(word), target.encode(answers[word])) for word in some)
            for split, some in parts.items()
        },
        references={split: {word: (answers[word],) for word in some} for split, some in parts.items()},
        metric="per_wer",
        fingerprint=fingerprint,
    )


if __name__ == "__main__":
    import torch

    from hwnas.training import TrainingSettings, train_supernet

    torch.set_num_threads(1)
    checkpoint, updates = Path(sys.argv[1]), int(sys.argv[2])
    settings = TrainingSettings(updates=updates, batch_size=16, warmup=10, dropout=0.1, checkpoint_every=10)
    train_supernet(SPACE, FAMILY, toy_task(), settings, checkpoint, lambda p: print(p.update, flush=True))
