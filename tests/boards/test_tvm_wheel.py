"""Of TVM's wheel a board gets the runtime alone."""

import zipfile
from pathlib import Path

import pytest

from profiler.boards.tvm_wheel import runtime_only
from profiler.boards.wheels import RUNTIMES
from profiler.toolchain import get_toolchain

INFO = "apache_tvm-0.27.0.post1.dist-info"


def wheel(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def test_the_runtime_its_description_and_licence_are_left(tmp_path: Path) -> None:
    kept = [f"{INFO}/METADATA", f"{INFO}/WHEEL", f"{INFO}/licenses/LICENSE", "tvm/lib/libtvm_runtime.so"]
    others = ["tvm/__init__.py", "tvm/lib/libtvm_compiler.so", "tvm/lib/libtvm_runtime_cuda.so", f"{INFO}/RECORD"]
    path = wheel(tmp_path / "apache_tvm-0.27.0.post1-py3-none-any.whl", *others, *kept)
    for _ in range(2):
        runtime_only(path)
        with zipfile.ZipFile(path) as reduced:
            assert sorted(reduced.namelist()) == sorted(kept)
            assert all(reduced.read(name).decode() == name for name in kept)
    assert list(tmp_path.iterdir()) == [path]


def test_another_wheel_is_refused_and_stays(tmp_path: Path) -> None:
    path = wheel(tmp_path / "tvm.whl", "tvm/__init__.py")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"tvm\.whl has no tvm/lib/libtvm_runtime\.so"):
        runtime_only(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_boards_run_the_version_that_compiles() -> None:
    pins = get_toolchain("tvm").versions
    assert {name: pins[name] for name in RUNTIMES["tvm"].versions} == dict(RUNTIMES["tvm"].versions)
