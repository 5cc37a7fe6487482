"""A folder is written completely or not at all, whatever interrupts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.data.folder import whole_folder
from hwnas.errors import DataError


def write(path: Path, text: str) -> None:
    with whole_folder(path) as scratch:
        (scratch / "file").write_text(text)


def test_a_folder_replaces_the_one_before_it(tmp_path: Path) -> None:
    for text in ("first", "second"):
        write(tmp_path / "task", text)
        assert (tmp_path / "task" / "file").read_text() == text
        assert list(tmp_path.iterdir()) == [tmp_path / "task"]


@pytest.mark.parametrize("moment", [1, 2])
@pytest.mark.parametrize(("error", "seen"), [(KeyboardInterrupt, KeyboardInterrupt), (OSError, DataError)])
def test_what_was_there_comes_back(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: int,
    error: type[BaseException],
    seen: type[BaseException],
) -> None:
    write(tmp_path / "task", "first")
    renames, rename = 0, Path.rename

    def struck(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == moment:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", struck)
    with pytest.raises(seen):
        write(tmp_path / "task", "second")
    assert (tmp_path / "task" / "file").read_text() == "first"
    assert list(tmp_path.iterdir()) == [tmp_path / "task"]
