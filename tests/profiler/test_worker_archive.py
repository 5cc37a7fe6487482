"""The worker as one file: the same bytes from the same sources, and nothing of ours but its own folder in it."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from profiler import worker_archive
from profiler.worker_archive import pack_worker

FOLDER = Path(worker_archive.__file__).with_name("worker")
RUNTIMES = {"onnxruntime", "ai_edge_litert", "torch", "tvm", "tvm_ffi"}


def test_the_same_sources_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pack_worker(tmp_path).read_bytes()
    other = tmp_path / "checkout" / "worker"
    shutil.copytree(FOLDER, other)
    (other / "__pycache__").mkdir(exist_ok=True)
    (other / "__pycache__" / "server.cpython-311.pyc").write_bytes(b"compiled")
    for number, file in enumerate(other.glob("*.py")):
        os.utime(file, (1e9 + number, 1e9 + number))
        file.chmod(0o600)
    monkeypatch.setattr(worker_archive, "_FOLDER", other)
    assert pack_worker(tmp_path / "checkout").read_bytes() == first
    with (other / "server.py").open("a") as server:
        server.write("\n")
    assert pack_worker(tmp_path / "checkout").read_bytes() != first


def test_every_file_of_the_folder_is_in_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(pack_worker(tmp_path)) as archive:
        names = archive.namelist()
    assert sorted(names) == sorted(["__main__.py", *(f"worker/{file.name}" for file in FOLDER.glob("*.py"))])


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_it_imports_nothing_from_outside_its_folder(file: Path) -> None:
    """The standard library, numpy, a runtime in the function that needs it, and modules beside it by name."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1
            assert node.module is not None
            assert (FOLDER / f"{node.module}.py").is_file()
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            packages = {name.partition(".")[0] for name in names}
            inside = RUNTIMES if node not in tree.body else set()
            assert packages <= sys.stdlib_module_names | {"numpy"} | inside, ast.unparse(node)


def test_what_lies_beside_it_is_not_imported(tmp_path: Path) -> None:
    pack_worker(tmp_path)
    for name in ("numpy", "json", "worker", "server", "profiler"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} is another')")
    done = subprocess.run(
        [sys.executable, "-u", "worker.pyz"],
        input=b'{"id":1,"op":"ping"}\n',
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    assert (done.stdout, done.stderr) == (b'{"id":1}\n', b"")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list threads")
def test_numpy_starts_no_threads_in_it(tmp_path: Path) -> None:
    free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    process = subprocess.Popen(
        [sys.executable, "-u", str(pack_worker(tmp_path))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=free
    )
    with process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b'{"id":1,"op":"ping"}\n')
        process.stdin.flush()
        process.stdout.readline()
        assert len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 1
        process.stdin.close()
