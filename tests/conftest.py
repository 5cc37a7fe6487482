"""Shared by all tests: slow tests on request, reproducible property tests, one thread."""

import os
import signal
import tempfile

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONUNBUFFERED", None)  # as users have it: what commands print stays in a buffer for a while
_locks = tempfile.TemporaryDirectory(prefix="hwnas-locks-")
os.environ["HWNAS_LOCKS"] = _locks.name  # tests wait for nobody who measures on this machine, and hinder nobody

# A shell in the background starts its jobs with SIGINT ignored, and what they start inherits that;
# tests that press Ctrl-C need it as a terminal has it.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("hwnas", deadline=None, derandomize=True)
settings.load_profile("hwnas")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
