"""Reading tables and predicting from them work where neither torch nor onnx nor onnxruntime is installed."""

import subprocess
import sys

import pytest

BLOCKED = """
import sys
for name in ("torch", "onnx", "onnxruntime", "onnxscript", "sentencepiece", "sacrebleu"):
    sys.modules[name] = None
from hwnas.cli import main
main()
"""

COMMANDS = {
    "lut show": ("lut", "show", "x86.lut.jsonl", "--space", "tiny.yaml"),
    "predict": ("predict", "search/winner.yml", "--space", "tiny.yaml", "--table", "x86.lut.jsonl", "--explain"),
    "space sample": ("space", "sample", "tiny.yaml", "--count", "3"),
    "space count": ("space", "count", "search/winner.yml", "--space", "tiny.yaml"),
    "compare": ("compare", "search", "search", "--space", "tiny.yaml"),
    "devices list": ("devices", "list"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_it_says_the_same_without_them(chain, command):
    ran = subprocess.run(
        [sys.executable, "-c", BLOCKED, *command, "--json"],
        cwd=chain.folder,
        env=chain.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == chain(*command, "--json").out
