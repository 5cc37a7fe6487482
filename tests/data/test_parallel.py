"""Tasks from parallel text files: round trip, reuse, and every way the files can be wrong."""

import dataclasses
import random

import pytest

from hwnas.data import load_task
from hwnas.data.parallel import ParallelFiles, ParallelSettings, prepare_parallel
from hwnas.data.task import EOS, UNK
from hwnas.errors import DataError, MissingExtraError

SETTINGS = ParallelSettings(vocabulary_size=60)


@pytest.fixture(autouse=True)
def _needs_sentencepiece():
    pytest.importorskip("sentencepiece", reason="the extra `text` is not installed")


@pytest.fixture
def files(tmp_path):
    """A toy language: the target says the source's words backwards, in other letters."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdeho", k=rng.randint(2, 5))) for _ in range(40)]
    made = {}
    for split, count in (("train", 300), ("valid", 20), ("test", 20)):
        lines = [rng.choices(words, k=rng.randint(1, 7)) for _ in range(count)]
        source, target = tmp_path / f"{split}.src", tmp_path / f"{split}.tgt"
        source.write_text("".join(f"{' '.join(line)}\n" for line in lines), encoding="utf-8")
        target.write_text("".join(f"{' '.join(reversed(line)).upper()}\n" for line in lines), encoding="utf-8")
        made[split] = ParallelFiles(source, target)
    return made


def lines_of(file):
    return file.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("joint", [False, True])
def test_text_survives_the_folder(tmp_path, files, joint):
    settings = dataclasses.replace(SETTINGS, joint=joint, vocabulary_size=80)
    prepare_parallel(files, tmp_path / "task", settings)
    task = load_task(tmp_path / "task")
    assert (task.source_vocabulary == task.target_vocabulary) == joint
    assert len(task.source_vocabulary) <= 80
    for split, pairs in task.pairs.items():
        assert [task.source_vocabulary.decode(pair.source) for pair in pairs] == lines_of(files[split].source)
        assert [task.target_vocabulary.decode(pair.target) for pair in pairs] == lines_of(files[split].target)
        assert all(pair.source[-1] == pair.target[-1] == EOS and UNK not in pair.source for pair in pairs)
    assert task.metric == "bleu"


def test_references_hold_every_acceptable_translation(tmp_path, files):
    with files["test"].source.open("a") as source, files["test"].target.open("a") as target:
        source.write("abc  abc\nabc abc\nabc abc\n")
        target.write("ONE\nTWO\nONE\n")
    task = prepare_parallel(files, tmp_path / "task", SETTINGS)
    assert task.references["test"]["abc abc"] == ("ONE", "TWO")
    assert task.references["train"] == {}


def test_the_same_files_are_prepared_once(tmp_path, files):
    said = []
    first = prepare_parallel(files, tmp_path / "task", SETTINGS, say=said.append)
    count = len(said)
    assert prepare_parallel(files, tmp_path / "task", SETTINGS, say=said.append).fingerprint == first.fingerprint
    assert len(said) == count
    with files["train"].source.open("a") as source, files["train"].target.open("a") as target:
        source.write("abba\n")
        target.write("ABBA\n")
    assert prepare_parallel(files, tmp_path / "task", SETTINGS, say=said.append).fingerprint != first.fingerprint
    assert len(said) > count


def test_the_fingerprint_does_not_depend_on_place_or_time(tmp_path, files):
    one, two = (prepare_parallel(files, tmp_path / name, SETTINGS, name="toy") for name in ("one", "two"))
    assert one.fingerprint == two.fingerprint


def test_long_and_lopsided_training_pairs_are_dropped_others_kept(tmp_path, files):
    for split in ("train", "test"):
        with files[split].source.open("a") as source, files[split].target.open("a") as target:
            source.write("abc " * 200 + "\n" + "a\n" + "\n" + "abc\n")
            target.write("ABC " * 200 + "\n" + "ABC " * 12 + "\nABC\n" + "\n")
    task = prepare_parallel(files, tmp_path / "task", SETTINGS)
    assert len(task.pairs["train"]) == 300
    assert len(task.pairs["test"]) == 22


def test_unequal_line_counts_are_told(tmp_path, files):
    with files["valid"].target.open("a") as target:
        target.write("ONE\nTWO\n")
    with pytest.raises(DataError, match=r"valid\.src has 20 lines, .*valid\.tgt has 22;"):
        prepare_parallel(files, tmp_path / "task", SETTINGS)
    assert not (tmp_path / "task").exists()


def test_the_line_that_is_not_utf8_is_told(tmp_path, files):
    content = files["train"].source.read_bytes().split(b"\n")
    content[6] = b"caf\xe9"
    files["train"].source.write_bytes(b"\n".join(content))
    with pytest.raises(DataError, match=r"train\.src, line 7 is not UTF-8"):
        prepare_parallel(files, tmp_path / "task", SETTINGS)


def test_unusual_line_separators_do_not_shift_lines(tmp_path, files):
    for file in (files["test"].source, files["test"].target):
        file.write_bytes(b"\xef\xbb\xbfab\xe2\x80\xa8cd\r\nfe\x0cfe\r\nlast")
    task = prepare_parallel(files, tmp_path / "task", SETTINGS)
    assert list(task.references["test"]) == ["ab cd", "fe fe", "last"]


def test_empty_and_missing_files_are_named(tmp_path, files):
    files["test"].target.write_text("\n\n")
    with pytest.raises(DataError, match=r"test\.tgt is empty"):
        prepare_parallel(files, tmp_path / "task", SETTINGS)
    files["test"].target.unlink()
    with pytest.raises(DataError, match=r"cannot read .*test\.tgt"):
        prepare_parallel(files, tmp_path / "task", SETTINGS)
    del files["valid"]
    with pytest.raises(DataError, match=r"no files for the split.* valid"):
        prepare_parallel(files, tmp_path / "task", SETTINGS)


def test_lines_filled_on_one_side_only_are_no_data(tmp_path, files):
    files["test"].source.write_text("a\n\n")
    files["test"].target.write_text("\nB\n")
    with pytest.raises(DataError, match="no line that is filled in both"):
        prepare_parallel(files, tmp_path / "task", SETTINGS)


def test_limits_that_drop_everything_are_refused(tmp_path, files):
    with pytest.raises(DataError, match="none of the 300 training pairs"):
        prepare_parallel(files, tmp_path / "task", dataclasses.replace(SETTINGS, max_tokens=1))


def test_a_vocabulary_too_small_for_the_alphabet_is_refused(tmp_path, files):
    with pytest.raises(DataError, match="a vocabulary of 8 pieces cannot hold"):
        prepare_parallel(files, tmp_path / "task", dataclasses.replace(SETTINGS, vocabulary_size=8))


def test_other_folders_are_not_overwritten(tmp_path, files):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(DataError, match="is not a task folder"):
        prepare_parallel(files, tmp_path / "mine", SETTINGS)
    with pytest.raises(DataError, match="is not a task folder"):
        load_task(tmp_path / "mine")


def test_a_folder_with_another_manifest_or_other_files_is_not_replaced(tmp_path, files):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text('{"schema": 1, "files": {}}')
    with pytest.raises(DataError, match="bundle exists and is not a task folder; choose another"):
        prepare_parallel(files, tmp_path / "bundle", SETTINGS)
    prepare_parallel(files, tmp_path / "task", SETTINGS)
    (tmp_path / "task" / "thesis.tex").write_text("x")
    other = dataclasses.replace(SETTINGS, max_tokens=SETTINGS.max_tokens + 1)
    with pytest.raises(DataError, match=r"task holds 'thesis\.tex', which is not of the task; move it"):
        prepare_parallel(files, tmp_path / "task", other)
    assert (tmp_path / "task" / "thesis.tex").exists()
    (tmp_path / "task" / "thesis.tex").unlink()
    prepare_parallel(files, tmp_path / "task", other)


def edit(path, old, new):
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "train.npz").write_bytes(b"PK\x03\x04torn"), "damaged"),
        (lambda folder: (folder / "test.npz").unlink(), "damaged"),
        (lambda folder: (folder / "manifest.json").write_text('{"schema":'), "damaged"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "damaged"),
        (lambda folder: edit(folder / "manifest.json", '"schema": 1', '"schema": 9'), "has schema 9"),
        (lambda folder: edit(folder / "references.json", "a", "b"), "were changed"),
    ],
)
def test_damaged_folders_are_refused(tmp_path, files, damage, message):
    prepare_parallel(files, tmp_path / "task", SETTINGS)
    damage(tmp_path / "task")
    with pytest.raises(DataError, match=message):
        load_task(tmp_path / "task")


def test_a_full_disk_leaves_nothing_behind(tmp_path, files, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.savez", full)
    with pytest.raises(DataError, match="No space left on device"):
        prepare_parallel(files, tmp_path / "out" / "task", SETTINGS)
    assert not list((tmp_path / "out").iterdir())


def test_without_sentencepiece_the_extra_is_named(tmp_path, files, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'hwnas\[text\]'"):
        prepare_parallel(files, tmp_path / "task", SETTINGS)


def test_a_vocabulary_below_the_characters_is_told_how_many_it_needs():
    from hwnas.data.pieces import train_pieces

    lines = ["the quick brown fox", "jumps over the lazy dog"] * 20
    with pytest.raises(DataError, match=r"a vocabulary of 12 pieces cannot hold .*; it needs \d+ at least$") as caught:
        train_pieces(lines, 12)
    needed = int(str(caught.value).split()[-3])
    assert len(train_pieces(lines, needed)) == needed
