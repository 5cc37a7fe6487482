"""The compiler of TVM and its runtime, as the tests of its exporter use them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from contracts.toolchains import need

from profiler import LocalDevice, TimingSession, open_session
from profiler.exporting import open_exporter


@pytest.fixture(scope="module")
def tvm():
    """The exporter, in one compiler process."""
    need("tvm")
    with open_exporter("tvm") as exporter:
        yield exporter


@pytest.fixture(scope="module", params=[1, 2])
def tvm_session(request: pytest.FixtureRequest) -> Iterator[TimingSession]:
    """A session with one thread, and one with two."""
    session = open_session(LocalDevice(name="here", kind="local", runtime="tvm", threads=request.param))
    yield session
    session.close()
