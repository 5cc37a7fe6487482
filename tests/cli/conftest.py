"""One small chain for all tests of the command line: data, SuperTransformer, table, search, bundle."""

import random
import shutil

import pytest
from cli.shell import DEVICES, PROFILE, SEARCH, SPACE, TRAIN, Shell, contents, leftovers

from profiler.toolchain.place import root_folder


def small_dictionary():
    """A pronouncing dictionary of made-up words, spelt nearly as they sound."""
    rng = random.Random("small dictionary")
    sounds = {"b": "B", "d": "D", "g": "G", "l": "L", "m": "M", "s": "S", "a": "AA1", "e": "EH0", "o": "OW2"}
    lines = []
    for _ in range(500):
        letters = "".join(rng.choice("bdglms") + rng.choice("aeo") for _ in range(rng.randint(1, 4)))
        lines.append(" ".join([letters, *(sounds[letter] for letter in letters)]))
    return "\n".join(dict.fromkeys(lines)) + "\n"


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    """A folder with tiny.yaml, supernet.pt, x86.lut.jsonl and search/; tests only read it."""
    folder = tmp_path_factory.mktemp("chain")
    shell = Shell(folder, tmp_path_factory.mktemp("cache"))
    (folder / "tiny.yaml").write_text(SPACE)
    (folder / "small.dict").write_text(small_dictionary())
    (folder / "devices.yaml").write_text(DEVICES)
    for command in (
        ("data", "g2p", "--file", "small.dict"),
        (*TRAIN, "--out", "supernet.pt"),
        (*PROFILE, "--rounds", "3", "--out", "x86.lut.jsonl"),
        (*SEARCH, "--out", "search", "--no-measure"),
    ):
        ran = shell(*command)
        assert ran.code == 0, ran.err
    return shell


@pytest.fixture(scope="session")
def bundle(chain):
    """The bundle of the chain's winner, in its folder."""
    ran = chain(
        "export", "search/winner.yml", "--space", "tiny.yaml", "--supernet", "supernet.pt",
        "--table", "x86.lut.jsonl", "--out", "bundle", "--decoded", "5",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return chain.folder / "bundle"


@pytest.fixture
def shell(chain, tmp_path):
    """A copy of the chain's folder that a test may spoil, with the same cache."""
    shutil.copytree(chain.folder, tmp_path / "work", ignore=shutil.ignore_patterns("bundle*"))
    return Shell(tmp_path / "work", chain.cache)


@pytest.fixture
def with_toolchains(tmp_path):
    """An empty folder and an empty cache, in which the user's toolchains are."""
    (tmp_path / "cache" / "hwnas").mkdir(parents=True)
    (tmp_path / "cache" / "hwnas" / "toolchains").symlink_to(root_folder())
    return Shell(tmp_path, tmp_path / "cache")


@pytest.fixture
def untouched(shell):
    """The shell, and afterwards: every file that was there is as it was, and none is unfinished."""
    before = contents(shell.folder)
    yield shell
    after = contents(shell.folder)
    assert {path: after.get(path) for path in before} == before
    assert leftovers(shell.folder) == []
