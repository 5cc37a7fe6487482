"""What compiles and what runs the result are of one version."""

from profiler.boards.wheels import RUNTIMES
from profiler.toolchain import get_toolchain


def test_boards_run_the_version_that_compiles() -> None:
    pins = get_toolchain("tvm").versions
    there = {name.replace("-", "_"): version for name, version in RUNTIMES["tvm"].versions.items()}
    here = {name.replace("-", "_"): version for name, version in pins.items()}
    assert {name: here[name] for name in there} == there
