"""The example in docs/python.md is run as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
def test_the_example_of_the_python_page_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    cache = tmp_path / "cache" / "hwnas"
    cache.mkdir(parents=True)
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwnas" / "data"
    usual.mkdir(parents=True, exist_ok=True)  # the dictionary is fetched once for all
    (cache / "data").symlink_to(usual)
    environment = os.environ | {"XDG_CACHE_HOME": str(cache.parent), "OMP_NUM_THREADS": "1"}

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "example.py"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = run()
    search = json.loads((tmp_path / "runs/python/search/search.json").read_text(encoding="utf-8"))
    assert f"{search['evaluations']} evaluated, latency <= " in first
    manifest = json.loads((tmp_path / "runs/python/bundle/manifest.json").read_text(encoding="utf-8"))
    assert manifest["proof"]["decoding"]["different"] == 0
    assert manifest["predicted_for"] == manifest["proof"]["target"]
    kept = [tmp_path / "runs/python" / name for name in ("supernet.pt", "x86.lut.journal.jsonl", "winner.pt")]
    before = [path.read_bytes() for path in kept]
    second = run()
    assert [path.read_bytes() for path in kept] == before, "the second run did something again"
    assert [line for line in first.splitlines() if "measured" not in line] == [
        line for line in second.splitlines() if "measured" not in line
    ]
