"""A device, a space and a family of the user's own, in a folder of the user's own, through the whole chain."""

import pytest
from cli.shell import EVOLUTION, SPACE, Shell, records

from profiler import read_journal

pytestmark = pytest.mark.slow

FOUR_LINES = """\
  two-threads:
    kind: local
    description: this machine, two threads
    threads: 2
"""

OWN_FAMILY = '''\
"""HAT's modules under other terms: a family that has nothing of hwnas above it but composes what is there."""

from hwnas.families import get_family


class Narrow:
    """Every layer has the one FFN that the space document calls ``width``."""

    def __init__(self):
        self.inner = get_family("seq2seq")

    def space(self, document):
        width = document["width"]
        given = {key: value for key, value in document.items() if key != "width"}
        choices = {**document["choices"], "encoder_ffn": [width], "decoder_ffn": [width]}
        return self.inner.space({**given, "choices": choices})

    def __getattr__(self, name):
        return getattr(self.inner, name)
'''


def test_four_lines_in_a_devices_yaml_register_a_target_and_give_its_table(shell):
    assert len(FOUR_LINES.splitlines()) == 4
    with (shell.folder / "devices.yaml").open("a") as registry:
        registry.write(FOUR_LINES)
    listed = shell("devices", "list", "--json").json["devices"]
    assert [device["name"] for device in listed] == ["x86", "two-threads"]
    ran = shell.process(
        "profile", "--space", "tiny.yaml", "--device", "two-threads", "--rounds", "3", "--samples", "2",
        "--calibration", "3", "--check", "2", "--out", "two.lut.jsonl", "--json",
    )  # fmt: skip
    device, runtime, threads, clock = ran.json["target"].split("/")
    assert (device, threads, clock) == ("two-threads", "threads=2", "wall")
    assert runtime.startswith("onnxruntime-")
    first = shell("lut", "show", "x86.lut.jsonl", "--json").json
    second = shell("lut", "show", "two.lut.jsonl", "--space", "tiny.yaml", "--json").json
    assert second["missing"] == []
    assert {row["operator"] for row in second["rows"]} == {row["operator"] for row in first["rows"]}
    facts = read_journal(shell.folder / "two.lut.journal.jsonl").environment[0].facts
    assert facts["threads"] == 2
    (entry,) = shell("predict", "search/winner.yml", "--space", "tiny.yaml", "--table", "two.lut.jsonl", "--json").json
    assert entry["target"] == second["target"]


def chain_of(shell, space):
    """Train, profile, search and export ``space``, an option list, and answer with the bundle."""
    for command in (
        ("space", "show", *space[1:]),
        ("train", *space, "--updates", "20", "--batch", "16", "--out", "mine.pt"),
        ("profile", *space, "--rounds", "3", "--samples", "2", "--calibration", "3", "--check", "2",
         "--out", "mine.jsonl"),
        ("search", *space, "--table", "mine.jsonl", "--supernet", "mine.pt", *EVOLUTION, "--latency-ms", "1000",
         "--finalists", "2", "--rounds", "2", "--out", "mine"),
        ("predict", "mine/winner.yml", *space, "--table", "mine.jsonl"),
        ("export", "mine/winner.yml", *space, "--supernet", "mine.pt", "--table", "mine.jsonl",
         "--latency-ms", "1000", "--decoded", "3", "--out", "bundle"),
        ("run", "bundle", "bado"),
    ):  # fmt: skip
        ran = shell.process(*command)
        assert ran.code == 0, (command, ran.err)
    return ran.out


@pytest.fixture
def elsewhere(chain, tmp_path):
    """A folder with nothing in it but what a user has written."""
    (tmp_path / "mine").mkdir()
    return Shell(tmp_path / "mine", chain.cache)


def test_a_space_of_ones_own(elsewhere):
    text = SPACE.replace("name: tiny", "name: mine").replace("encoder_embed: [8, 16]", "encoder_embed: [12, 20]")
    (elsewhere.folder / "mine.yaml").write_text(text)
    assert chain_of(elsewhere, ("--space", "mine.yaml"))
    subject = records(elsewhere.folder / "mine.jsonl")[0]["subject"]
    assert subject["space"] == "mine"


def test_a_family_of_ones_own(elsewhere):
    package = elsewhere.folder / "mypackage"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "narrow.py").write_text(OWN_FAMILY)
    lines = [line for line in SPACE.splitlines(keepends=True) if "_ffn" not in line and "family" not in line]
    (elsewhere.folder / "mine.yaml").write_text("".join(lines) + "width: 24\n")
    family = "mypackage.narrow:Narrow"
    assert chain_of(elsewhere, ("--space", "mine.yaml", "--family", family))
    ran = elsewhere.process("space", "show", "mine.yaml", "--family", family, "--json")
    assert ran.json["family"] == family
    assert any("ffn=24" in operator for operator in ran.json["operators"])
    named = (elsewhere.folder / "mine.yaml").read_text() + f"family: {family}\n"
    (elsewhere.folder / "named.yaml").write_text(named)
    assert elsewhere.process("space", "show", "named.yaml", "--json").json["operators"] == ran.json["operators"]
