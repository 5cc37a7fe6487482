"""The Debian corpus: each reader on small files of our own, the filter, the split, private apt settings."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.data import apt, debian, load_task
from hwnas.data.debian_text import (
    catalog_pairs,
    clean,
    description_pairs,
    descriptions,
    help_paragraphs,
    mallard_pairs,
)
from hwnas.data.parallel import ParallelSettings
from hwnas.errors import DataError

ENGLISH_LIST = """\
Package: tool
Description-md5: aaa
Description-en: small tool for large files
 It reads large files quickly. It writes
 them slowly.
 .
 Features:
  * fast reading of files
  * slow writing of
    all those files

Package: other
Description-md5: bbb
Description-en: another tool without translation
 Nobody translated this one.
"""
GERMAN_LIST = """\
Package: tool
Description-md5: aaa
Description-de: kleines Werkzeug für große Dateien
 Es liest große Dateien schnell. Es schreibt sie
 langsam.
 .
 Eigenschaften:
  * schnelles Lesen von Dateien
  * langsames Schreiben von
    all diesen Dateien
"""
TOOL_PAIRS = [
    ("small tool for large files", "kleines Werkzeug für große Dateien"),
    ("It reads large files quickly.", "Es liest große Dateien schnell."),
    ("It writes them slowly.", "Es schreibt sie langsam."),
    ("Features:", "Eigenschaften:"),
    ("fast reading of files", "schnelles Lesen von Dateien"),
    ("slow writing of all those files", "langsames Schreiben von all diesen Dateien"),
]


def test_descriptions_are_joined_by_hash_and_cut_into_sentences():
    english, german = (dict(descriptions(text.splitlines())) for text in (ENGLISH_LIST, GERMAN_LIST))
    assert english.keys() == {"aaa", "bbb"}
    assert german.keys() == {"aaa"}
    assert list(description_pairs(english["aaa"], german["aaa"])) == TOOL_PAIRS


def test_descriptions_built_differently_give_only_what_is_certain():
    assert list(description_pairs("head line\none.\n.\ntwo.\n", "Kopfzeile\neins.\n")) == []
    assert list(description_pairs("head line\nOne. Two.\n", "Kopfzeile\nEins zwei.\n")) == [
        ("head line", "Kopfzeile"),
        ("One. Two.", "Eins zwei."),
    ]


def catalog(messages):
    """A compiled gettext catalog (GNU gettext manual, "The Format of GNU MO Files")."""
    rows = sorted(
        {
            "": "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=n!=1;\n",
            **messages,
        }.items()
    )
    texts, table, offset = b"", [b"", b""], 28 + 16 * len(rows)
    for column in (0, 1):
        for row in rows:
            text = row[column].encode()
            table[column] += struct.pack("<II", len(text), offset + len(texts))
            texts += text + b"\0"
    header = struct.pack("<7I", 0x950412DE, 0, len(rows), 28, 28 + 8 * len(rows), 0, 0)
    return header + table[0] + table[1] + texts


def test_catalogs_lose_contexts_accelerators_and_plurals():
    content = catalog(
        {
            "_Open the file": "Datei ö_ffnen",
            "menu\x04Save && close": "Speichern && schließen",
            "One file": "Eine Datei",
            "%d old file\0%d old files": "%d alte Datei\0%d alte Dateien",
        }
    )
    assert set(catalog_pairs(content)) >= {
        ("Open the file", "Datei öffnen"),
        ("Save && close", "Speichern && schließen"),
        ("One file", "Eine Datei"),
        ("%d old file", "%d alte Datei"),
    }
    assert not any("Dateien" in target for _, target in catalog_pairs(content))


@pytest.mark.parametrize("content", [b"", b"not a catalog at all", catalog({"a b c": "d e f"})[:70]])
def test_damaged_catalogs_give_nothing(content):
    assert list(catalog_pairs(content)) == []


def help_page(*paragraphs):
    body = "\n".join(f'<p id="par_id{i}" class="x"><a name="n"></a>{text}</p>' for i, text in enumerate(paragraphs))
    return f'<html><h1 id="hd_id77" dir="auto">Title of page</h1>{body}<p class="x">no id here</p></html>'


def test_help_paragraphs_by_id_without_tags():
    page = help_page('Choose <span class="menuitem">Insert &amp; go</span>.', "Second\nline")
    assert help_paragraphs(page) == {
        "hd_id77": "Title of page",
        "par_id0": "Choose Insert & go.",
        "par_id1": "Second\nline",
    }


def mallard(*paragraphs):
    body = "".join(f"<p>{text}</p>" for text in paragraphs)
    credit = "<info><credit><name>Some Body</name></credit><desc>A <em>short</em> text</desc></info>"
    return f'<page xmlns="http://projectmallard.org/1.0/">{credit}<title>T</title>{body}</page>'.encode()


def test_mallard_pages_are_paired_block_by_block():
    english = mallard("Press <key>A</key> now.", 'See <link xref="x"/>.')
    german = mallard("Drücken Sie <key>A</key>.", 'Siehe <link xref="x"/>.')
    assert list(mallard_pairs(english, german)) == [
        ("A short text", "A short text"),
        ("T", "T"),
        ("Press A now.", "Drücken Sie A."),  # the text of an empty link is made at display: left out
    ]


def test_mallard_pages_built_differently_or_damaged_give_nothing():
    assert list(mallard_pairs(mallard("a"), mallard("a", "b"))) == []
    assert list(mallard_pairs(mallard("a"), b"<page>")) == []


def test_clean_pairs_are_normalised():
    assert clean("  Two\u00a0small   words ", "Zwei kleine\nWörter") == (
        "Two small words",
        "Zwei kleine Wörter",
    )


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("two words", "zwei Wörter hier"),
        ("word " * 61, "Wort " * 61),
        ("a short one here", "ein " * 14),
        ("the same text", "The same text"),
        ("open the %s file", "die Datei öffnen bitte"),
        ("open the %(name)d file", "die Datei öffnen bitte"),
        ("open the file now", "die <b>Datei</b> jetzt öffnen"),
        ("see https://example.invalid for more", "mehr dazu siehe dort"),
        ("use some $variable here", "hier eine Variable benutzen"),
        ("some &nbsp; entity here", "eine Entität ist hier"),
        ("12 34 56 a", "12 34 56 b"),
    ],
)
def test_what_is_no_pair_of_sentences_is_dropped(source, target):
    assert clean(source, target) is None


sides = st.text("abcä ", min_size=5, max_size=40)


@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), st.tuples(sides, sides)), max_size=30))
def test_every_sentence_stands_once_on_its_side(sourced):
    counts = {}
    kept = debian.unique(sourced, counts)
    assert len({source.lower() for source, _ in kept}) == len({target.lower() for _, target in kept}) == len(kept)
    assert sum(counts.values()) == len(kept)
    assert set(counts) == {name for name, _ in sourced}


def test_the_split_does_not_depend_on_case_and_has_its_shares():
    sources = [f"Sentence number {i} of many" for i in range(20000)]
    splits = [debian.split_of(source) for source in sources]
    assert splits == [debian.split_of(source.upper()) for source in sources]
    for split in ("valid", "test"):
        assert 150 < splits.count(split) < 250


class FakeApt:
    """Stands for apt: two lists and three packages whose files are in memory."""

    calls = 0

    def __init__(self, folder, languages):
        assert languages == ("en", "de")

    def update(self):
        type(self).calls += 1

    def translations(self, language):
        return iter({"en": ENGLISH_LIST, "de": GERMAN_LIST}[language].splitlines())

    def find(self, names):
        here = {name for name in names if "libreoffice" in name or name == "gnome-user-docs"}
        return {name: apt.Package(name, f"{name}.deb", 1) for name in here}

    def download(self, package):
        return Path(package.name)


FILES = {
    "libreoffice-help-en-us": [
        (
            "usr/share/libreoffice/help/en-US/text/a.html",
            help_page("Click on the icon", "Only in English text").encode(),
        )
    ],
    "libreoffice-help-de": [
        ("usr/share/libreoffice/help/de/text/a.html", help_page("Klicken Sie das Symbol").encode())
    ],
    "libreoffice-l10n-de": [
        (
            "x/de/LC_MESSAGES/a.mo",
            catalog({"Click on the icon": "Doppelt", "Print the page": "Die Seite drucken"}),
        )
    ],
    "gnome-user-docs": [
        ("usr/share/help/C/a.page", mallard("Press that key now.")),
        ("usr/share/help/de/a.page", mallard("Drücken Sie jetzt.")),
        ("usr/share/help/C/b.page", mallard("Not translated at all.")),
    ],
}


@pytest.fixture
def fake_apt(monkeypatch):
    monkeypatch.setattr(debian, "PrivateApt", FakeApt)
    monkeypatch.setattr(debian, "package_files", lambda package, _: iter(FILES[package.name]))
    monkeypatch.setattr(FakeApt, "calls", 0)


def test_the_corpus_is_built_once_and_counts_its_sources(tmp_path, fake_apt):
    said = []
    corpus = debian.build_debian_corpus("de", tmp_path, say=said.append)
    assert corpus.pairs_by_source == {
        "package descriptions": 5,
        "LibreOffice help": 1,
        "GNOME help": 1,
        "LibreOffice interface": 1,
    }
    assert any("GCC: not in this machine's apt sources" in line for line in said)
    pairs = set()
    for split, files in corpus.files.items():
        lines = [file.read_text(encoding="utf-8").splitlines() for file in (files.source, files.target)]
        assert len(lines[0]) == len(lines[1]) == corpus.pairs[split]
        pairs |= set(zip(*lines, strict=True))
    assert ("Click on the icon", "Klicken Sie das Symbol") in pairs
    assert ("Print the page", "Die Seite drucken") in pairs
    assert debian.build_debian_corpus("de", tmp_path) == corpus
    assert FakeApt.calls == 1


def test_a_damaged_or_foreign_corpus_is_named(tmp_path, fake_apt):
    debian.build_debian_corpus("de", tmp_path)
    with pytest.raises(DataError, match="holds the language 'de'"):
        debian.build_debian_corpus("fr", tmp_path)
    (tmp_path / "text" / "report.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        debian.build_debian_corpus("de", tmp_path)
    with pytest.raises(DataError, match="no recipe for the language 'xx'; known: de, fr"):
        debian.build_debian_corpus("xx", tmp_path)


def test_a_task_from_the_corpus(tmp_path, fake_apt, monkeypatch):
    pytest.importorskip("sentencepiece", reason="the extra `text` is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(debian, "split_of", lambda source: ("train", "valid", "test")[len(source) % 3])
    said = []
    task = debian.prepare_debian("en-de", tmp_path / "task", ParallelSettings(vocabulary_size=60), say=said.append)
    assert load_task(tmp_path / "task").fingerprint == task.fingerprint
    assert sum(map(len, task.pairs.values())) == 8
    assert any(line.startswith("8 pairs: package descriptions 5") for line in said)
    with pytest.raises(DataError, match="no recipe for the pair 'de-en'; known: en-de, en-fr"):
        debian.prepare_debian("de-en", tmp_path / "task")


def test_a_machine_without_apt_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(DataError, match=r"apt-get is not on this machine.*hwnas data parallel"):
        debian.build_debian_corpus("de", tmp_path)


@pytest.fixture
def private(tmp_path, monkeypatch):
    """A private apt on a machine whose tools exist and whose configuration forbids translations."""
    monkeypatch.setattr(shutil, "which", lambda tool: tool)
    part = tmp_path / "docker-no-languages"
    part.write_text('Acquire::Languages "none";\nAcquire { Languages { "none"; }; };\nAcquire::Retries "3";\n')
    monkeypatch.setattr(apt, "_configuration_files", lambda: [part])
    return apt.PrivateApt(tmp_path / "apt", ("en", "fr"))


def test_apt_settings_are_kept_but_for_languages_and_hooks(tmp_path, private):
    with private._environment() as environment:
        configuration = Path(environment["APT_CONFIG"])
        main = configuration.read_text()
        first, last = sorted((configuration.parent / "parts").iterdir())
        assert "none" not in first.read_text()
        assert 'Acquire::Retries "3";' in first.read_text()
        assert 'Acquire::Languages {"en"; "fr";};' in last.read_text()
        assert "#clear APT::Update::Post-Invoke;" in last.read_text()
        assert f'Dir::State::lists "{tmp_path}/apt/lists";' in main
    assert not configuration.exists()


def test_a_finished_update_and_a_whole_package_are_not_fetched_again(tmp_path, private, monkeypatch):
    commands = []

    def run(command, _environment, *, cwd=None, **_):
        commands.append(command[:2])
        if command[1] == "download":
            (cwd / "a_1.deb").write_bytes(b"12345")
        return ""

    monkeypatch.setattr(apt, "_run", run)
    package = apt.Package("a", "a_1.deb", 5)
    for _ in range(2):
        private.update()
        assert private.download(package).read_bytes() == b"12345"
    assert commands == [["apt-get", "update"], ["apt-get", "download"]]
    (tmp_path / "apt" / "packages" / "a_1.deb").write_bytes(b"123")  # torn
    assert private.download(package).read_bytes() == b"12345"


def test_a_failing_apt_gives_its_last_line(private, monkeypatch):
    def run(command, **_):
        raise subprocess.CalledProcessError(100, command, stderr=b"W: a warning\nE: Unable to fetch\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(DataError, match=r"apt-get update failed \(E: Unable to fetch\); check apt"):
        private.update()


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not on this machine")
def test_files_of_a_package(tmp_path):
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: a\n"
    )
    for name in ("usr/share/de/a.txt", "usr/share/de/a.bin", "usr/share/fr/a.txt"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    file = tmp_path / "a.deb"
    subprocess.run(["dpkg-deb", "--build", tree, file], check=True, capture_output=True)
    assert list(apt.package_files(file, r"usr/share/de/.*\.txt")) == [("usr/share/de/a.txt", b"usr/share/de/a.txt")]
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match="damaged"):
        list(apt.package_files(file, ".*"))


@pytest.mark.slow
@pytest.mark.parametrize("language", ["de", "fr"])
def test_the_real_corpus(tmp_path, language):
    try:
        corpus = debian.build_debian_corpus(language, tmp_path)
    except DataError as exc:
        if "not on this machine" in str(exc) or "failed" in str(exc):
            pytest.skip(f"no working apt: {exc}")
        raise
    print(json.dumps(corpus.pairs_by_source))
    assert sum(corpus.pairs.values()) == sum(corpus.pairs_by_source.values()) > 50_000
    lines = {
        split: [file.read_text(encoding="utf-8").splitlines() for file in (files.source, files.target)]
        for split, files in corpus.files.items()
    }
    for side in (0, 1):
        train, valid, test = ({line.lower() for line in lines[s][side]} for s in ("train", "valid", "test"))
        assert not train & test
        assert not train & valid
        assert not valid & test
    assert 0.005 * corpus.pairs["train"] < corpus.pairs["test"] < 0.02 * corpus.pairs["train"]
