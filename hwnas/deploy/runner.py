"""Answer real input with a bundle: python hwnas_run.py "some text". Needs only numpy and onnxruntime.

This file is copied into every bundle as hwnas_run.py, and is what `hwnas run` itself uses.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

try:
    from hwnas_vocabulary import BOS, EOS, SymbolVocabulary, VocabularyError, vocabulary_from_dict
except ImportError:  # inside hwnas
    from hwnas.data.vocabulary import BOS, EOS, SymbolVocabulary, VocabularyError, vocabulary_from_dict


class BundleError(Exception):
    """The bundle cannot be used, or the input cannot be answered; the message says why."""


class Bundle:
    """A deployed model: the graphs, how they are wired, and both vocabularies.

    Raises BundleError if a file is missing or is not the one that was exported.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        self.folder = folder
        try:
            self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
            self.source = vocabulary_from_dict(vocabulary["source"])
            self.target = vocabulary_from_dict(vocabulary["target"])
        except FileNotFoundError as exc:
            raise BundleError(f"{folder} is not a bundle: {Path(exc.filename).name} is missing") from None
        except (ValueError, KeyError, VocabularyError) as exc:
            raise BundleError(f"{folder} is damaged ({exc}); export it again") from None
        if self.manifest.get("schema") != 1:
            raise BundleError(
                f"{folder} is of schema {self.manifest.get('schema')}; this runner reads schema 1"
            )
        for name, entry in self.manifest["files"].items():
            path = folder / name
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
                raise BundleError(
                    f"{folder}: {name} is missing or is not the file that was exported; export it again"
                )
        self.beam: int = self.manifest["workload"]["beam"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or self.manifest["threads"]
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        encoder, decoder = self.manifest["stages"]
        self.stage = decoder
        self.encoder_name: str = encoder["graph"]
        self.encoder = self._session(encoder["graph"], options)
        self.decoder = self._session(decoder["graph"], options)
        self.memory_names = [output.name for output in self.encoder.get_outputs()]
        self.step_names = [output.name for output in self.decoder.get_outputs()]

    def _session(self, graph: str, options: ort.SessionOptions) -> ort.InferenceSession:
        return ort.InferenceSession(str(self.folder / f"{graph}.onnx"), options, ["CPUExecutionProvider"])

    def _start(self, source: Sequence[int], rows: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """What stays the same for every step, and the empty key-value caches."""
        values = self.encoder.run(None, {"source": np.array([source], dtype=np.int64)})
        memory = dict(zip(self.memory_names, values, strict=True))
        fixed = {name: memory[feed.split(".", 1)[1]] for name, feed in self.stage["feeds"].items()}
        caches = {
            name: np.zeros((rows, *shape[1:]), dtype=np.float32)
            for name, shape in self.stage["initial"].items()
        }
        return fixed, caches

    def _step(self, tokens: list[int], position: int, fixed: dict[str, Any], caches: dict[str, Any]) -> Any:
        """Logits (rows, vocabulary) of the next token; the caches grow in place."""
        inputs = {
            "tokens": np.array(tokens, dtype=np.int64),
            self.stage["counter"]: np.array([position], dtype=np.int64),
        }
        outputs = dict(zip(self.step_names, self.decoder.run(None, inputs | fixed | caches), strict=True))
        for name, output in self.stage["carry"].items():
            caches[name] = outputs[output]
        return outputs["logits"]

    def max_tokens(self, source: Sequence[int]) -> int:
        """How many decoder steps an input may take."""
        limits = self.manifest["max_tokens"]
        return int(min(limits["limit"], limits["factor"] * len(source) + limits["plus"]))

    def greedy(self, source: Sequence[int]) -> list[int]:
        """Ids of the likeliest next token, one after another, up to and with EOS."""
        fixed, caches = self._start(source, 1)
        ids, token = [], BOS
        for position in range(self.max_tokens(source)):
            token = int(np.argmax(self._step([token], position, fixed, caches)[0]))
            ids.append(token)
            if token == EOS:
                break
        return ids

    def __call__(self, text: str) -> str:
        """The model's answer to ``text``."""
        text = text.strip()
        if not text:
            raise BundleError("the input is empty")
        if isinstance(self.source, SymbolVocabulary) and (unknown := self.source.unknown(text)):
            known = " ".join(self.source.symbols[4:])
            raise BundleError(
                f"{' '.join(map(repr, unknown))} is not among the symbols this model knows: {known}"
            )
        source = self.source.encode(text)
        limit = self.manifest["max_tokens"]["limit"]
        if len(source) > limit:
            raise BundleError(f"the input has {len(source)} tokens; this model takes at most {limit}")
        return self.target.decode(self.greedy(source))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of a bundle."""
    parser = argparse.ArgumentParser(description="Answer input with the bundle in this folder.")
    parser.add_argument("text", nargs="*", help="inputs; else one per line from standard input")
    parser.add_argument("--bundle", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args(argv)
    status = 0
    try:
        bundle = Bundle(arguments.bundle, arguments.threads)
    except BundleError as exc:
        print(f"hwnas_run: {exc}", file=sys.stderr)
        return 1
    for text in arguments.text or (line.rstrip("\n") for line in sys.stdin):
        try:
            print(bundle(text), flush=True)
        except BundleError as exc:
            print(f"hwnas_run: {text!r}: {exc}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
