"""Run a bundle's own runner in a process in which some packages cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_BLOCK = """
import importlib.abc, runpy, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)
sys.meta_path.insert(0, Block())
sys.argv = {argv}
sys.path[0] = {folder}  # as Python does for a script
runpy.run_path({argv}[0], run_name="__main__")
"""


def run_without(
    blocked: Sequence[str], bundle: Path, texts: Sequence[str], *, cwd: Path, given: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """``python hwnas_run.py TEXTS``, ``given`` on its standard input."""
    code = _BLOCK.format(
        blocked=json.dumps(list(blocked)),
        argv=json.dumps([str(bundle / "hwnas_run.py"), *texts]),
        folder=json.dumps(str(bundle)),
    )
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=given,
        capture_output=True,
        cwd=cwd,
        env=environment,
        check=False,
        timeout=120,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
