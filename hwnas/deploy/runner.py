"""Answer real input with a bundle: python hwnas_run.py "some text". Needs numpy and the runtime of the bundle's format.

This file is copied into every bundle as hwnas_run.py, and is what `hwnas run` itself uses.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

try:
    from hwnas_graphs import BundleError, Graph, open_graph
    from hwnas_vocabulary import BOS, EOS, PAD, SymbolVocabulary, VocabularyError, vocabulary_from_dict
except ImportError:  # inside hwnas
    from hwnas.data.vocabulary import BOS, EOS, PAD, SymbolVocabulary, VocabularyError, vocabulary_from_dict
    from hwnas.deploy.graphs import BundleError, Graph, open_graph

SCHEMA = 1

Ids = tuple[int, ...]
Ranking = list[tuple[Ids, float]]
"""The best extensions of one step of a beam search, best first, with their log-probabilities."""

Step = Callable[[Sequence[int], int, Sequence[int]], Any]
"""(token of each row, position, row of the last step each row goes on from) -> logits (rows, vocabulary)."""


def greedy(step: Step, most: int) -> Ids:
    """The likeliest next token (the first of equals), one after another, up to and with EOS."""
    ids: list[int] = []
    token = BOS
    for position in range(most):
        token = int(np.argmax(step([token], position, [0])[0]))
        ids.append(token)
        if token == EOS:
            break
    return tuple(ids)


def beam_search(
    step: Step, beam: int, most: int, length_penalty: float = 1.0, trace: list[Ranking] | None = None
) -> Ids:
    """The answer of the highest sum of log-probabilities divided by ``length ** length_penalty``.

    Length counts EOS. The ``beam`` best unfinished hypotheses are kept (of equals the first row, then
    the first token); the search ends when ``beam`` have ended, or at ``most`` tokens. The same search
    as hwnas.decoding's. ``trace`` is given every step's ranking.
    """
    scores = np.full(beam, -np.inf, dtype=np.float32)
    scores[0] = 0  # all rows begin alike: only one of them may be extended
    tokens, parents = [BOS] * beam, list(range(beam))
    prefixes: list[Ids] = [()] * beam
    ended: list[tuple[float, Ids]] = []
    for position in range(most):
        length = position + 1
        total = scores[:, None] + log_softmax(step(tokens, position, parents))
        kept: list[tuple[float, int, int]] = []
        ranking: Ranking = []
        # Twice as many as needed, for at most one extension of each row ends it.
        for rank, (value, row, token) in enumerate(_largest(total, 2 * beam)):
            if value == -math.inf:
                break
            hypothesis = (*prefixes[row], token)
            ranking.append((hypothesis, value))
            if token == EOS or length == most:
                if rank < beam:
                    ended.append((value / length**length_penalty, hypothesis))
            elif len(kept) < beam:
                kept.append((value, row, token))
        if trace is not None:
            trace.append(ranking)
        if len(ended) >= beam or length == most:
            break
        kept += [(-math.inf, 0, EOS)] * (beam - len(kept))
        scores = np.array([value for value, _, _ in kept], dtype=np.float32)
        parents, tokens = [row for _, row, _ in kept], [token for _, _, token in kept]
        prefixes = [(*prefixes[row], token) for row, token in zip(parents, tokens, strict=True)]
    return max(ended, key=lambda hypothesis: hypothesis[0])[1]


def log_softmax(logits: Any) -> Any:
    """Log-probabilities of logits, (rows, vocabulary)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _largest(total: Any, count: int) -> list[tuple[float, int, int]]:
    """Value, row and column of the ``count`` largest entries, largest first, equals in order of place."""
    flat = total.ravel()
    count = min(count, flat.size)
    places = np.flatnonzero(flat >= np.partition(flat, -count)[-count])
    places = places[np.argsort(-flat[places], kind="stable")][:count]
    return [(float(flat[place]), *divmod(int(place), total.shape[1])) for place in places]


class Loop:
    """How an encoder and a decoder step answer together: which input is fed by what, all names by the manifest's.

    ``run`` are the two graphs. With graphs of fixed shapes the source is padded to ``source_tokens``, and a search
    has at most ``target_tokens`` steps; None where shapes are not fixed.
    """

    def __init__(self, stages: Sequence[Any], graphs: Mapping[str, Any], beam: int) -> None:
        if len(stages) != 2:
            raise BundleError(f"{len(stages)} graph(s) in a row; this runner runs an encoder and a decoder step")
        encoder, decoder = stages
        self.graphs = (str(encoder["graph"]), str(decoder["graph"]))
        self.inputs, self.outputs = (
            {graph: [str(entry["name"]) for entry in graphs[graph][side]] for graph in self.graphs}
            for side in ("inputs", "outputs")
        )
        self.beam = beam
        self.run: tuple[Graph, ...] = ()
        (self._source_name,) = self.inputs[self.graphs[0]]
        self._feeds = {name: feed.partition(".")[2] for name, feed in decoder["feeds"].items()}
        self._carry: dict[str, str] = dict(decoder["carry"])
        self._initial = {name: tuple(shape) for name, shape in decoder["initial"].items()}
        self._counter: str | None = decoder["counter"]
        given = {*self._feeds, *self._carry, self._counter}
        (self._tokens_name,) = (name for name in self.inputs[self.graphs[1]] if name not in given)
        carried = self._carry.values()
        (self._logits_name,) = (name for name in self.outputs[self.graphs[1]] if name not in carried)
        length = graphs[self.graphs[0]]["inputs"][0]["shape"][1]
        fixed = isinstance(length, int)
        self.source_tokens: int | None = length if fixed else None
        self.target_tokens: int | None = int(decoder["repeat"]) if fixed else None

    def start(self, source: Sequence[int]) -> Step:
        """The steps of one input: they share what the encoder gave, and each extends the last one's caches."""
        encode, follow = self.run
        padding = [PAD] * ((self.source_tokens or len(source)) - len(source))
        memory = encode({self._source_name: np.array([[*source, *padding]], dtype=np.int64)})
        fixed = {name: memory[output] for name, output in self._feeds.items()}
        caches = {name: np.zeros((self.beam, *shape[1:]), dtype=np.float32) for name, shape in self._initial.items()}

        def step(tokens: Sequence[int], position: int, parents: Sequence[int]) -> Any:
            nonlocal caches
            if list(parents) != list(range(self.beam)):
                caches = {name: cache[np.array(parents)] for name, cache in caches.items()}
            inputs = {self._tokens_name: np.array(tokens, dtype=np.int64), **fixed, **caches}
            if self._counter is not None:
                inputs[self._counter] = np.array([position], dtype=np.int64)
            outputs = follow(inputs)
            caches = {name: outputs[output] for name, output in self._carry.items()}
            return outputs[self._logits_name]

        return step

    def decode(self, source: Sequence[int], most: int, penalty: float, trace: list[Ranking] | None = None) -> Ids:
        """Ids of the answer to source ids (with EOS), up to and with EOS, or ``most``; ``trace``: see beam_search."""
        if self.beam == 1:
            return greedy(self.start(source), most)
        return beam_search(self.start(source), self.beam, most, penalty, trace)


class Bundle:
    """A deployed model: the graphs, how they are wired, and both vocabularies.

    ``beam`` is the number of hypotheses it searches with; 1 is greedy. Raises BundleError if a
    file is missing or is not the one that was exported, or if its runtime is not installed here.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        self.folder = folder
        try:
            self.manifest: dict[str, Any] = _read_json(folder / "manifest.json")
            if self.manifest.get("schema") != SCHEMA:
                schema = self.manifest.get("schema")
                raise BundleError(f"{folder} has bundle schema {schema!r}; this runner reads schema {SCHEMA}")
            _check_files(folder, self.manifest["files"])
            vocabulary = _read_json(folder / "vocabulary.json")
            self.source = vocabulary_from_dict(vocabulary["source"])
            self.target = vocabulary_from_dict(vocabulary["target"])
            self.beam = int(self.manifest["decoding"]["beam"])
            self.length_penalty = float(self.manifest["decoding"]["length_penalty"])
            self._most = {name: int(value) for name, value in self.manifest["max_tokens"].items()}
            self._loop = Loop(self.manifest["stages"], self.manifest["graphs"], self.beam)
            self.format = str(self.manifest.get("format", "onnx"))
            threads = threads or int(self.manifest["threads"])
        except FileNotFoundError as exc:
            raise BundleError(f"{folder} is not a bundle: {Path(exc.filename).name} is missing") from None
        except OSError as exc:
            raise BundleError(f"{folder} cannot be read: {exc.strerror}: {exc.filename}") from None
        except (ValueError, KeyError, TypeError, AttributeError, VocabularyError) as exc:
            raise BundleError(f"{folder} is no bundle, or is damaged ({exc!r}); export it again") from None
        self.open(threads)

    def open(self, threads: int) -> None:
        """Open the graphs, in this process."""
        loop = self._loop
        loop.run = tuple(
            open_graph(
                self.folder / f"{graph}.{self.format}", self.format, threads, loop.inputs[graph], loop.outputs[graph]
            )
            for graph in loop.graphs
        )

    def close(self) -> None:
        """Let the graphs go."""
        self._loop.run = ()

    def max_tokens(self, source: Sequence[int]) -> int:
        """How many decoder steps an input may take."""
        return min(self._most["limit"], self._most["factor"] * len(source) + self._most["plus"])

    def decode(self, source: Sequence[int], trace: list[Ranking] | None = None) -> Ids:
        """Ids of the answer to source ids (with EOS), up to and with EOS; ``trace`` as :func:`beam_search`."""
        return self._loop.decode(source, self.max_tokens(source), self.length_penalty, trace)

    @property
    def longest(self) -> int:
        """How many tokens a source may have, EOS included."""
        return self._loop.source_tokens or self._most["limit"]

    def takes(self, source: Sequence[int]) -> bool:
        """Whether source ids are not too many."""
        return len(source) <= self.longest

    def unread(self, text: str) -> tuple[str, ...]:
        """What of ``text`` a vocabulary of pieces does not know: the model sees `<unk>` there."""
        return () if isinstance(self.source, SymbolVocabulary) else self.source.unknown(text)

    def __call__(self, text: str) -> str:
        """The model's answer to ``text``. Raises BundleError for empty, overlong or unreadable input."""
        text = text.strip()
        source = self.source.encode(text)
        if len(source) < 2:  # nothing but EOS
            raise BundleError("the input is empty")
        if isinstance(self.source, SymbolVocabulary) and (unknown := self.source.unknown(text)):
            known = " ".join(self.source.symbols[4:])
            raise BundleError(f"{' '.join(map(repr, unknown))} is not among the symbols this model knows: {known}")
        if not self.takes(source):
            raise BundleError(f"the input has {len(source)} tokens; this model takes at most {self.longest}")
        ids, most = self.decode(source), self._loop.target_tokens
        if most is not None and len(ids) == most and ids[-1] != EOS:
            raise BundleError(f"the answer is longer than the {most} tokens that this bundle's graphs were made for")
        answer: str = self.target.decode(ids)
        return answer


def _read_json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise TypeError(f"{path.name} is no object")
    return content


def _check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{folder}: {name} is missing; export it again")
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != entry["sha256"]:
                raise BundleError(f"{folder}: {name} is not the file that was exported; export it again")


def lines_of_stdin() -> Iterable[str]:
    """Lines of standard input; bytes that are no UTF-8 become characters no model knows."""
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")


def shown(text: str) -> str:
    """``text`` in quotes for a message of one line, its middle left out if it is long."""
    return repr(text) if len(text) <= 60 else f"{text[:40]!r}...{text[-10:]!r}"


def note_on(bundle: Bundle, text: str) -> str | None:
    """What to tell whoever asked, beside the answer."""
    unread = [repr(piece) for piece in bundle.unread(text)]
    if not unread:
        return None
    are, were = ("is", "was") if len(unread) == 1 else ("are", "were")
    return f"{shown(text)}: {' '.join(unread)} {are} unknown to this model and {were} read as <unk>"


def serve_ids(bundle: Bundle) -> int:
    """Answer JSON lists of source ids with ``{"ids": [...], "trace": [...]}``, until standard input ends."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        trace: list[Ranking] = []
        ids = bundle.decode(tuple(json.loads(line)), trace)
        print(json.dumps({"ids": ids, "trace": trace}), flush=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of a bundle: 0 if every input was answered, 3 if some, 1 if none, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description="Answer input with the bundle in this folder.")
    parser.add_argument("text", nargs="*", help="inputs; else one per line from standard input")
    parser.add_argument("--bundle", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--ids", action="store_true", help="serve a program: lines of source ids in, of answers out")
    arguments = parser.parse_args(argv)
    answered = refused = 0
    try:
        bundle = Bundle(arguments.bundle, arguments.threads)
        if arguments.ids:
            return serve_ids(bundle)
        for text in arguments.text or lines_of_stdin():
            try:
                answer = bundle(text)
            except BundleError as exc:
                print(f"hwnas_run: {shown(text)}: {exc}", file=sys.stderr)
                refused += 1
                continue
            if note := note_on(bundle, text):
                print(f"hwnas_run: {note}", file=sys.stderr)
            print(answer, flush=True)
            answered += 1
    except BundleError as exc:
        print(f"hwnas_run: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if not refused else 3 if answered else 1


if __name__ == "__main__":
    sys.exit(main())
