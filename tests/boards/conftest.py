"""Boards of the tests find this Python first, and no wrapper of it that takes long to start."""

import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    path = [str(Path(sys.executable).parent), *(f"{part}/bin" for part in ("/usr/local", "/usr", ""))]
    monkeypatch.setenv("PATH", os.pathsep.join([*path, "/usr/sbin", "/sbin"]))
