"""What runs on a board: environments and folders are whole or not there, and clean takes all of it away."""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from profiler import DeviceError
from profiler.boards import clean, look_at, set_up
from profiler.boards import setup as setting_up
from profiler.boards.setup import OnBoard
from profiler.transports.local import LocalTransport


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package whose module says a word."""
    path = tmp_path / "said-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("said.py", "WORD = 'hello'\n")
        archive.writestr("said-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: said\nVersion: 1.0\n")
    return path


@pytest.fixture
def there() -> OnBoard:
    return OnBoard("here", LocalTransport(), sys.executable)


def sent(path: Path) -> dict[str, str]:
    return {"name": path.name, "path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_environment_is_made_of_wheels_alone(there: OnBoard, wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "board" / "venv"
    assert there.do("installed", venv=str(venv)) is None
    made = there.do("environment", venv=str(venv), wheels=[sent(wheel)], record={"packages": {"said": "1.0"}})
    assert there.do("installed", venv=str(venv)) == made
    assert made["packages"] == {"said": "1.0"}
    done = LocalTransport().run([str(venv / "bin/python"), "-c", "import said, sys; print(said.WORD)"], timeout_s=60)
    assert done.stdout == "hello\n"
    none = LocalTransport().run([str(venv / "bin/python"), "-c", "import pip"], timeout_s=60)
    assert none.status != 0, "no pip: nothing is ever downloaded there"
    assert names(venv.parent) == {"venv"}


def test_a_damaged_wheel_leaves_the_old_environment(there: OnBoard, wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "board" / "venv"
    first = there.do("environment", venv=str(venv), wheels=[sent(wheel)], record={"packages": {"said": "1.0"}})
    damaged = sent(wheel) | {"sha256": "0" * 64}
    with pytest.raises(DeviceError, match=rf"^here: {wheel.name} is not the file that was sent; run the same command"):
        there.do("environment", venv=str(venv), wheels=[damaged], record={})
    assert there.do("installed", venv=str(venv)) == first


def test_an_environment_that_is_not_whole_does_not_count(there: OnBoard, wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    there.do("environment", venv=str(venv), wheels=[sent(wheel)], record={})
    (venv / "bin" / "python").unlink()
    assert there.do("installed", venv=str(venv)) is None
    there.do("environment", venv=str(venv), wheels=[sent(wheel)], record={})
    (venv / "hwnas.json").write_text("{")
    assert there.do("installed", venv=str(venv)) is None


def test_a_folder_takes_the_place_of_another_as_a_whole(there: OnBoard, tmp_path: Path) -> None:
    target = tmp_path / "a b'c" / 'the "bundle"'
    for content in ("one", "two"):
        file = tmp_path / "it is here.txt"
        file.write_text(content)
        size = there.do("folder", target=str(target), files={file.name: sent(file)}, executable={"go": "#!/bin/sh\n"})
        assert size == 3
        file.unlink()
        assert names(target) == {"it is here.txt", "go"}
        assert (target / "it is here.txt").read_text() == content
    assert (target / "go").stat().st_mode & 0o111
    file.write_text("three")
    with pytest.raises(DeviceError, match="is not the file that was sent"):
        there.do("folder", target=str(target), files={file.name: sent(file) | {"sha256": "0"}}, executable={})
    assert (target / "it is here.txt").read_text() == "two"


@pytest.mark.parametrize("name", ["../out", "a/b", "", ".."])
def test_a_file_stays_in_its_folder(there: OnBoard, tmp_path: Path, name: str) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(DeviceError, match="is no name of a file"):
        there.do("folder", target=str(tmp_path / "target"), files={name: sent(file)}, executable={})


def test_what_cannot_be_done_is_told_in_one_line(there: OnBoard, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DeviceError, match=r"^here: File exists: .*run the same command again") as caught:
        there.do("write", path=str(tmp_path / "file" / "below"), text="")
    assert "\n" not in str(caught.value)


def test_setting_up_twice_does_it_once(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads: list[Any] = []
    monkeypatch.setattr(setting_up, "download", lambda versions, *_: downloads.append(versions) or [wheel])
    said: list[str] = []
    transport, folder = LocalTransport(), tmp_path / "board"
    first = set_up("here", transport, str(folder), ["onnxruntime"], tmp_path, said.append)
    again = set_up("here", transport, str(folder), ["onnxruntime"], tmp_path, said.append)
    assert (first.fresh, again.fresh) == (True, False)
    assert len(downloads) == 1
    assert said[-1] == f"here: {folder}/venv is there already"
    more = set_up("here", transport, str(folder), ["litert"], tmp_path, said.append)
    assert more.runtimes == ("litert", "onnxruntime"), "what was there stays"
    record = json.loads((folder / "venv" / "hwnas.json").read_text())
    assert record == {"packages": dict(more.packages), "runtimes": list(more.runtimes), "python": more.python}

    freed = clean("here", transport, str(folder))
    assert freed > 0
    assert not folder.exists()
    assert clean("here", transport, str(folder)) == 0


def test_clean_leaves_what_is_not_ours(there: OnBoard, tmp_path: Path) -> None:
    for name in ("venv", "bundles", "files", "scratch-1", "mine"):
        (tmp_path / "board" / name).mkdir(parents=True)
    there.do("clean", folder=str(tmp_path / "board"))
    assert names(tmp_path / "board") == {"mine"}


def test_a_full_board_is_refused_before_anything_is_sent(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = look_at(LocalTransport())
    full = type(board)(**{name: getattr(board, name) for name in board.__slots__} | {"disk_free_bytes": 2**20})
    monkeypatch.setattr(setting_up, "download", lambda *_: [wheel])
    monkeypatch.setattr(setting_up, "look_at", lambda _: full)
    with pytest.raises(DeviceError, match=r"^here: 1 MiB are free in .*, \d+ MiB are needed; make room there$"):
        set_up("here", LocalTransport(), str(tmp_path / "board"), ["onnxruntime"], tmp_path)
    assert not (tmp_path / "board").exists()
