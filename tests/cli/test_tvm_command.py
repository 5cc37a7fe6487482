"""Tables of TVM, and its tuning, from the command line."""

import json

import pytest
from cli.shell import Shell
from contracts.toolchains import need

from hwnas.candidates import write_candidate
from hwnas.spaces import load_space

SPACE = """\
name: one
family: seq2seq
workload: {batch: 1, beam: 2, source_tokens: 5, target_tokens: 3, vocabulary: 13}
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
FEW = ("--calibration", "0", "--check", "1", "--rounds", "2", "--min-rounds", "2", "--samples", "2")


@pytest.fixture
def shell(with_toolchains):
    """A folder with a space of two candidates, and TVM."""
    need("tvm")
    (with_toolchains.folder / "one.yaml").write_text(SPACE)
    return with_toolchains


@pytest.mark.slow
def test_a_table_is_measured_and_tuned(shell, tmp_path):
    def profile(out: str) -> dict:
        told = shell("profile", "--space", "one.yaml", "--device", "x86-tvm", "--out", out, *FEW, "--json").json
        assert told["source"] == "measured"
        assert "tvm-0." in str(told["target"])
        shown = shell("lut", "show", out, "--space", "one.yaml", "--json").json
        assert shown["missing"] == []
        return told

    profile("tvm.lut.jsonl")
    space = load_space(str(tmp_path / "one.yaml"))
    write_candidate(tmp_path / "one.yml", space, space.extreme(0))
    told = shell("explain", "one.yml", "--space", "one.yaml", "--table", "tvm.lut.jsonl", "--measure", "--json").json
    kernels = told["cross_check"]["primitives_ms"]
    assert any("dense" in kind for kind in kernels)
    assert 0 < sum(kernels.values()) == pytest.approx(told["cross_check"]["profile_ms"])
    ran = shell("tune", "--space", "one.yaml", "--minutes", "0", "--json")
    assert ran.code == 3
    assert "products were not reached; run the same command again to go on" in ran.err
    told = shell("tune", "--space", "one.yaml", "--minutes", "30", "--json").json
    assert told["left"] == 0
    assert {(p["rows"], p["columns"], p["inner"]) for p in told["products"]} >= {(5, 48, 8), (2, 13, 16)}
    assert all(p["ratio"] <= 0.98 or p["tile"] == p["rule"] for p in told["products"])
    records = (shell.cache / "hwnas" / "tvm-tuned.json").read_text()
    assert shell("tune", "--space", "one.yaml", "--json").json == told
    assert (shell.cache / "hwnas" / "tvm-tuned.json").read_text() == records
    profile("tuned.lut.jsonl")
    libraries = [json.loads(path.read_text()) for path in (shell.cache / "hwnas" / "artifacts").glob("*.tvm.json")]
    assert len({library["producer"] for library in libraries}) == 2, "what was tuned is compiled anew"


@pytest.mark.slow
def test_every_precision_has_its_table(shell):
    asked = ("--space", "one.yaml", "--runtime", "tvm", "--precision", "all")
    shell("profile", *asked, "--out", "tables", *FEW)
    names = [f"tvm{suffix}" for suffix in ("", "-fp16", "-int8", "-int8-dynamic")]
    for name in names:
        shown = shell("lut", "show", f"tables/{name}.lut.jsonl", "--space", "one.yaml", "--json").json
        assert shown["missing"] == []
    compared = shell("runtimes", "compare", "tables", "--json")
    assert all(name in compared.out for name in names)


@pytest.mark.parametrize(
    "command", [("profile", "--device", "x86-tvm", "--out", "t.jsonl", *FEW), ("tune",)], ids=["profile", "tune"]
)
def test_without_the_toolchain_one_line_says_what_to_install(tmp_path, command):
    (tmp_path / "one.yaml").write_text(SPACE)
    ran = Shell(tmp_path, tmp_path / "cache")(command[0], "--space", "one.yaml", *command[1:])
    assert ran.refusal == "hwnas: toolchain tvm is not installed; run: hwnas toolchain install tvm"
    assert not (tmp_path / "t.jsonl").exists()
