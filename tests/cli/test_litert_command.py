"""Tables of LiteRT, measured, and of an Ethos-U, estimated: the same int8 files, from the command line."""

import pytest
from cli.shell import Shell
from contracts.toolchains import need

from profiler.toolchain.place import root_folder

ALONE = ("--calibration", 0, "--check", 0)

SPACE = """\
name: one
family: seq2seq
workload: {batch: 1, beam: 1, source_tokens: 4, target_tokens: 3, vocabulary: 13}
choices:
  encoder_embed: [8]
  encoder_layers: [1]
  encoder_ffn: [8, 16]
  encoder_heads: [2]
  decoder_embed: [16]
  decoder_layers: [1]
  decoder_ffn: [8]
  decoder_self_heads: [2]
  decoder_cross_heads: [2]
  decoder_attended: [1]
fixed: {qkv: 16, positions: 64}
"""


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A folder with a space of two candidates; toolchains are the user's."""
    for name in ("vela", "litert-torch"):
        need(name)
    pytest.importorskip("ai_edge_litert", reason="the runtime litert")
    (tmp_path / "one.yaml").write_text(SPACE)
    return Shell(tmp_path, root_folder().parents[1])


@pytest.mark.slow
def test_one_model_for_litert_and_an_ethos_u(shell, tmp_path):
    common = (
        "--space",
        "one.yaml",
        "--cache",
        str(tmp_path / "graphs"),
        "--calibration",
        "0",
        "--check",
        "1",
        "--json",
    )
    measured = shell(
        "profile", "--device", "x86-litert", "--precision", "int8", "--out", "litert.lut.jsonl", *common,
        *("--rounds", "2", "--min-rounds", "2", "--samples", "2"),
    ).json  # fmt: skip
    assert measured["source"] == "measured"
    assert "litert-2." in str(measured["target"])
    estimated = shell("profile", "--device", "ethos-u55-256", "--out", "u55.lut.jsonl", *common).json
    assert estimated["source"] == "estimated"
    assert set(estimated["left_to_host"]) == {"source_embedding", "target_embedding"}
    tables = ("litert.lut.jsonl", "u55.lut.jsonl")
    shown = [shell("lut", "show", table, "--space", "one.yaml", "--json").json for table in tables]
    assert [table["missing"] for table in shown] == [[], []]
    operators = [{row["operator"] for row in table["rows"]} for table in shown]
    assert operators[0] - operators[1] == {"dispatch[precision=fp32]"}
    assert all("precision=int8" in operator for operator in operators[1])


@pytest.mark.parametrize("device", ["x86-litert", "ethos-u55-256"])
def test_without_the_toolchain_one_line_says_what_to_install(tmp_path, device):
    (tmp_path / "one.yaml").write_text(SPACE)
    shell = Shell(tmp_path, tmp_path / "cache")
    ran = shell("profile", "--space", "one.yaml", "--device", device, "--out", "t.jsonl", *ALONE)
    assert ran.refusal == ("hwnas: toolchain litert-torch is not installed; run: hwnas toolchain install litert-torch")
    assert not (tmp_path / "t.jsonl").exists()


def test_a_precision_the_runtime_has_not_is_named(tmp_path):
    (tmp_path / "one.yaml").write_text(SPACE)
    shell = Shell(tmp_path, tmp_path / "cache")
    ran = shell("profile", "--space", "one.yaml", "--device", "x86", "--precision", "int4", "--out", "t.jsonl", *ALONE)
    assert "precision 'int4' is not supported; supported: fp32" in ran.refusal
