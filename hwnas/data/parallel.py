"""Translation from parallel text files: line i of the source file means line i of the target file.

:func:`prepare_parallel` trains subword vocabularies, turns the text into ids and writes a task folder;
:func:`load_parallel` reads one. A folder holds ``manifest.json`` (what it was made from, sizes,
fingerprint), ``source_vocabulary.json``, ``target_vocabulary.json``, ``references.json`` (the valid and
test text) and ``train.npz``, ``valid.npz``, ``test.npz`` (ids).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import get_args
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from hwnas.data.folder import whole_folder
from hwnas.data.g2p import Say
from hwnas.data.pieces import train_pieces
from hwnas.data.task import Pair, Split, Task, Vocabulary
from hwnas.data.vocabulary import VocabularyError, normalise, vocabulary_from_dict
from hwnas.errors import DataError

_Ints = npt.NDArray[np.int32]

SCHEMA = 1
SPLITS: tuple[Split, ...] = get_args(Split)
_TEXTS = ("source_vocabulary.json", "target_vocabulary.json", "references.json")
_FILES = ("manifest.json", *_TEXTS, *(f"{split}.npz" for split in SPLITS))


@dataclass(frozen=True, slots=True)
class ParallelFiles:
    """Two text files of equally many lines, UTF-8, one sentence a line."""

    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class ParallelSettings:
    """How text becomes ids.

    ``vocabulary_size`` counts the four special symbols. With ``joint`` both sides share one vocabulary.
    Training pairs are dropped that are longer than ``max_tokens`` ids on a side (with EOS) or whose
    longer side has more than ``max_ratio`` times the ids of the shorter plus 3; valid and test pairs never.
    """

    vocabulary_size: int = 8000
    joint: bool = False
    max_tokens: int = 128
    max_ratio: float = 3.0


def prepare_parallel(
    files: Mapping[Split, ParallelFiles],
    out_folder: Path,
    settings: ParallelSettings | None = None,
    *,
    name: str | None = None,
    say: Say | None = None,
) -> Task:
    """Make the task folder ``out_folder`` from text files and return the task.

    Empty lines are dropped with their partner. A folder already made from the same files with the same
    settings is used as it is.

    Raises:
        DataError: a file is missing, empty or not UTF-8, line counts differ, a split has no usable pair,
            the text is too small for the vocabulary, or the folder cannot be written.
        MissingExtraError: sentencepiece, which trains the vocabulary, is not installed.
    """
    settings = settings or ParallelSettings()
    missing = [split for split in SPLITS if split not in files]
    if missing:
        raise DataError(f"no files for the split(s) {', '.join(missing)}; give source and target of each")
    name = name or out_folder.name
    made_from = _made_from(files, settings, name)
    if (out_folder / "manifest.json").is_file() and _manifest(out_folder).get("made_from") == made_from:
        return load_parallel(out_folder)
    _refuse_what_is_no_task(out_folder)
    text = {split: _aligned(files[split]) for split in SPLITS}
    sources, targets = ([pair[side] for pair in text["train"]] for side in (0, 1))
    if say:
        say(f"training the vocabulary on {len(text['train'])} pairs")
    if settings.joint:
        source_vocabulary = target_vocabulary = train_pieces([*sources, *targets], settings.vocabulary_size)
    else:
        source_vocabulary = train_pieces(sources, settings.vocabulary_size)
        target_vocabulary = train_pieces(targets, settings.vocabulary_size)
    pairs = {
        split: [Pair(source_vocabulary.encode(s), target_vocabulary.encode(t)) for s, t in some]
        for split, some in text.items()
    }
    before = len(pairs["train"])
    pairs["train"] = [pair for pair in pairs["train"] if _fits(pair, settings)]
    if not pairs["train"]:
        raise DataError(
            f"none of the {before} training pairs is within {settings.max_tokens} tokens a side and a length"
            f" ratio of {settings.max_ratio}; raise the limits"
        )
    if say:
        say(f"kept {len(pairs['train'])} of {before} training pairs")
    references: dict[str, dict[str, list[str]]] = {}
    for split in ("valid", "test"):
        references[split] = {}
        for s, t in text[split]:
            acceptable = references[split].setdefault(s, [])
            if t not in acceptable:
                acceptable.append(t)
    with whole_folder(out_folder) as folder:
        for split, some in pairs.items():
            _store_pairs(folder / f"{split}.npz", some)
        _dump(folder / "source_vocabulary.json", source_vocabulary.as_dict())
        _dump(folder / "target_vocabulary.json", target_vocabulary.as_dict())
        _dump(folder / "references.json", references)
        manifest = {
            "schema": SCHEMA,
            "name": name,
            "metric": "bleu",
            "pairs": {split: len(some) for split, some in pairs.items()},
            "dropped_train_pairs": before - len(pairs["train"]),
            "vocabulary": {"source": len(source_vocabulary), "target": len(target_vocabulary)},
            "made_from": made_from,
            "fingerprint": _fingerprint(folder),
        }
        _dump(folder / "manifest.json", manifest)
    return load_parallel(out_folder)


def load_parallel(folder: Path) -> Task:
    """The task in a folder that :func:`prepare_parallel` wrote; ``references`` of train are empty.

    Raises:
        DataError: the folder is no task folder, damaged, or of a newer schema.
    """
    manifest = _manifest(folder)
    if manifest.get("schema") != SCHEMA:
        raise DataError(f"{folder} has schema {manifest.get('schema')!r}, this version reads {SCHEMA}; remake it")
    try:
        if _fingerprint(folder) != manifest["fingerprint"]:
            raise DataError(f"the data in {folder} were changed since they were made; prepare them again")
        found: dict[Split, dict[str, tuple[str, ...]]] = {"train": {}}
        texts = json.loads((folder / "references.json").read_text(encoding="utf-8"))
        for split in ("valid", "test"):
            found[split] = {text: tuple(acceptable) for text, acceptable in texts[split].items()}
        return Task(
            name=str(manifest["name"]),
            source_vocabulary=_vocabulary(folder / "source_vocabulary.json"),
            target_vocabulary=_vocabulary(folder / "target_vocabulary.json"),
            pairs={split: _pairs(folder / f"{split}.npz") for split in SPLITS},
            references=found,
            metric="bleu",
            fingerprint=str(manifest["fingerprint"]),
        )
    except (OSError, ValueError, KeyError, AttributeError, EOFError, BadZipFile) as exc:
        raise DataError(f"the task folder {folder} is damaged ({exc}); prepare the data again") from exc


def read_lines(file: Path) -> list[str]:
    """The lines of a UTF-8 text file, normalised (NFKC, single spaces).

    Raises:
        DataError: the file cannot be read, is empty, or a line is not UTF-8 (its number is told).
    """
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise DataError(f"cannot read {file}: {exc.strerror}; check the path") from exc
    if not content.strip():
        raise DataError(f"{file} is empty; give one sentence a line")
    # Split at line feeds only, as sentence aligners do: str.splitlines also splits at U+2028 and others.
    lines = content.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n")
    decoded = []
    for number, line in enumerate(lines, 1):
        try:
            decoded.append(normalise(line.decode("utf-8")))
        except UnicodeDecodeError as exc:
            raise DataError(f"{file}, line {number} is not UTF-8 ({exc.reason}); convert the file") from exc
    return decoded


def _aligned(files: ParallelFiles) -> list[tuple[str, str]]:
    sources, targets = read_lines(files.source), read_lines(files.target)
    if len(sources) != len(targets):
        raise DataError(
            f"{files.source} has {len(sources)} lines, {files.target} has {len(targets)};"
            " line i of one must be the translation of line i of the other"
        )
    pairs = [(s, t) for s, t in zip(sources, targets, strict=True) if s and t]
    if not pairs:
        raise DataError(f"{files.source} and {files.target} have no line that is filled in both")
    return pairs


def _fits(pair: Pair, settings: ParallelSettings) -> bool:
    short, long = sorted((len(pair.source), len(pair.target)))
    return long <= settings.max_tokens and long <= settings.max_ratio * short + 3


def _refuse_what_is_no_task(folder: Path) -> None:
    """Making a task replaces its folder, so nothing but an older task may be there: a bundle has a manifest too."""
    if not folder.exists():
        return
    if not (folder / "manifest.json").is_file() or "made_from" not in _manifest(folder):
        raise DataError(f"{folder} exists and is not a task folder; choose another")
    others = sorted({path.name for path in folder.iterdir()} - set(_FILES))
    if others:
        raise DataError(f"{folder} holds {others[0]!r}, which is not of the task; move it, or choose another folder")


def _made_from(files: Mapping[Split, ParallelFiles], settings: ParallelSettings, name: str) -> dict[str, object]:
    """What decides the content of the folder: the settings and the hash of each file."""
    hashes = {}
    for split in SPLITS:
        for side in ("source", "target"):
            file: Path = getattr(files[split], side)
            try:
                hashes[f"{split}.{side}"] = hashlib.sha256(file.read_bytes()).hexdigest()
            except OSError as exc:
                raise DataError(f"cannot read {file}: {exc.strerror}; check the path") from exc
    return {"name": name, "settings": asdict(settings), "sha256": hashes}


def _store_pairs(file: Path, pairs: Sequence[Pair]) -> None:
    source_ids, source_lengths = _flat([pair.source for pair in pairs])
    target_ids, target_lengths = _flat([pair.target for pair in pairs])
    np.savez(
        file,
        source_ids=source_ids,
        source_lengths=source_lengths,
        target_ids=target_ids,
        target_lengths=target_lengths,
    )


def _flat(rows: Sequence[Sequence[int]]) -> tuple[_Ints, _Ints]:
    """All ids one after the other, and the length of each row."""
    lengths = np.fromiter(map(len, rows), dtype=np.int32, count=len(rows))
    return np.fromiter(chain.from_iterable(rows), dtype=np.int32), lengths


def _stored(file: Path) -> dict[str, _Ints]:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in sorted(arrays.files)}


def _pairs(file: Path) -> tuple[Pair, ...]:
    arrays = _stored(file)
    sides = []
    for side in ("source", "target"):
        ids = arrays[f"{side}_ids"].tolist()
        ends = np.cumsum(arrays[f"{side}_lengths"], dtype=np.int64).tolist()
        sides.append([tuple(ids[start:end]) for start, end in pairwise([0, *ends])])
    return tuple(Pair(source, target) for source, target in zip(*sides, strict=True))


def _fingerprint(folder: Path) -> str:
    """Hash of the ids, vocabularies and references (of the arrays: archives carry the time of day)."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for key, array in _stored(folder / f"{split}.npz").items():
            digest.update(f"{split}.{key}".encode() + array.tobytes())
    for file in _TEXTS:
        digest.update((folder / file).read_bytes())
    return digest.hexdigest()


def _manifest(folder: Path) -> dict[str, object]:
    file = folder / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise DataError(
            f"{folder} is not a task folder ({exc.strerror}: manifest.json); make it with `hwnas data`"
        ) from exc
    except ValueError as exc:
        raise DataError(f"{file} is damaged ({exc}); prepare the data again") from exc
    if not isinstance(manifest, dict):
        raise DataError(f"{file} is damaged (not an object); prepare the data again")
    return manifest


def _vocabulary(file: Path) -> Vocabulary:
    try:
        return vocabulary_from_dict(json.loads(file.read_text(encoding="utf-8")))
    except VocabularyError as exc:
        raise DataError(f"{file}: {exc}") from exc


def _dump(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
