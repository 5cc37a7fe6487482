"""The base install has neither TVM nor TFLite: ONNX Runtime works, and what the others need is said when asked for."""

import os
import subprocess
import sys

import pytest

BLOCKED = """
import sys
for name in ("tvm", "tvm_ffi", "ai_edge_litert", "tflite_runtime", "litert_torch"):
    sys.modules[name] = None
from hwnas.cli import main
main()
"""
SPACE = """
name: few
family: seq2seq
workload: {source_tokens: 4, target_tokens: 3, vocabulary: 9}
choices: {encoder_embed: [8], encoder_layers: [1], encoder_ffn: [8], encoder_heads: [1], decoder_embed: [8],
          decoder_layers: [1], decoder_ffn: [8], decoder_self_heads: [1], decoder_cross_heads: [1],
          decoder_attended: [1]}
fixed: {qkv: 8, positions: 16}
"""


def profile(tmp_path, *arguments):
    (tmp_path / "few.yaml").write_text(SPACE)
    command = ("profile", "--space", "few.yaml", "--calibration", "0", "--check", "0", "--rounds", "2")
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *command, "--min-rounds", "2", "--out", "few.lut.jsonl", *arguments],
        cwd=tmp_path,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("device", "toolchain"), [("x86-litert", "litert-torch"), ("x86-tflite", "litert-torch"), ("x86-tvm", "tvm")]
)
def test_a_runtime_that_is_not_installed_says_what_to_install(tmp_path, device, toolchain):
    ran = profile(tmp_path, "--device", device)
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert last == f"hwnas: toolchain {toolchain} is not installed; run: hwnas toolchain install {toolchain}"
    assert "Traceback" not in ran.stderr


def test_onnx_runtime_needs_neither(tmp_path):
    ran = profile(tmp_path, "--device", "x86")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "few.lut.jsonl").is_file()
