"""``hwnas report`` and ``hwnas compare`` on a chain that was really measured, and what they refuse."""

import json
import shutil

import pytest
from cli.shell import SEARCH, Shell
from report.reading import NUMBER, Page

TINY = ("--space", "tiny.yaml")


@pytest.fixture(scope="module")
def measured(chain, tmp_path_factory):
    """A copy of the chain with a search that was measured, random search beside it, and their page."""
    folder = tmp_path_factory.mktemp("measured") / "work"
    shutil.copytree(chain.folder, folder, ignore=shutil.ignore_patterns("bundle*"))
    shell = Shell(folder, chain.cache)
    ran = shell(*SEARCH, "--out", "measured", "--baseline", "--rounds", "2", "--finalists", "2")
    assert ran.code in (0, 3), ran.err
    return shell


@pytest.fixture(scope="module")
def page(measured):
    """What the command told, and the page it wrote."""
    ran = measured("report", "measured", "x86.lut.jsonl", *TINY, "--json")
    assert ran.code == 0, ran.err
    return ran.json, Page.of(measured.folder / "measured" / "report.html")


def test_it_writes_a_page_of_a_measured_search(page, measured):
    report, found = page
    assert report["report"] == "measured/report.html"
    assert report["size_bytes"] == (measured.folder / "measured" / "report.html").stat().st_size
    document = json.loads((measured.folder / "measured" / "search.json").read_text())
    assert f"{document['finalists'][0]['loss']:.4f}" in found.shown
    assert "random search" in found.shown
    assert not [number for text in found.prose for number in NUMBER.findall(text) if number != "95"]
    assert all("random search" not in part for part in report["missing"])


def test_the_commands_it_tells_are_commands(page, chain):
    """Every option is one that the command has."""
    _, found = page
    commands = [text for text in found.shown.split("hwnas ")[1:] if text.startswith(("search", "profile"))]
    assert len(commands) >= 2
    for command in commands:
        name, *words = command.split()
        known = chain(name, "--help").out
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in known, (name, word)


def test_what_the_page_lacks_is_told_in_the_terminal_too(chain):
    ran = chain("report", "search", "--out", "elsewhere.html", *TINY)
    assert ran.code == 0, ran.err
    assert "missing: search: a bundle, measured as exported (hwnas export search/winner.yml" in ran.out
    assert ran.out.splitlines()[-1].startswith("elsewhere.html (")
    (chain.folder / "elsewhere.html").unlink()


def test_it_works_without_the_space_of_a_search(chain):
    """The space does not ship, and no file is named: what can be told without it is."""
    ran = chain("report", "search", "--out", "elsewhere.html", "--json")
    assert any("--space" in part for part in ran.json["missing"])
    (chain.folder / "elsewhere.html").unlink()


def test_a_refusal_is_one_line(shell):
    (shell.folder / "empty").mkdir()
    assert "is no run: it is empty" in shell("report", "empty").only_line
    assert "is not there" in shell("report", "gone").only_line
    assert "only tables are given" in shell("report", "x86.lut.jsonl").only_line
    assert "'gone.yaml' is neither a file nor a space" in shell("report", "search", "--space", "gone.yaml").only_line
    assert "is another" in shell("report", "search", "--space", "g2p").only_line
    (shell.folder / "search" / "search.json").write_text("{")
    assert "search.json is damaged" in shell("report", "search", *TINY).only_line
    assert "is no run" in shell("compare", "empty", "search").refusal


def test_two_searches_are_compared(shell):
    shutil.copytree(shell.folder / "search", shell.folder / "again")
    same = shell("compare", "search", "again", *TINY)
    assert same.code == 0, same.err
    assert "winner: the same architecture" in same.out
    assert "by the same weights on the same pairs" in same.out
    assert "tables: all together +0.0%" in same.out
    document = shell("compare", "search", "again", *TINY, "--json").json
    assert document["choices"] == []
    assert document["table"]["changed"] is False
