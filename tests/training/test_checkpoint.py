"""Checkpoints: whole or not at all."""

import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hwnas.checkpoint import Checkpoint
from hwnas.errors import CheckpointError

ROOT = Path(__file__).resolve().parents[2]


def checkpoint(size=10):
    return Checkpoint(
        {"what": "model", "seed": 3}, 7, {"weight": torch.arange(float(size))}, {"state": {}}, (1.5, 1.25)
    )


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "down" / "model.pt"
    checkpoint().save(path)
    loaded = Checkpoint.load(path)
    assert torch.equal(loaded.model["weight"], torch.arange(10.0))
    assert replace(loaded, model={}) == replace(checkpoint(), model={})
    assert [entry.name for entry in path.parent.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, kept):
    path = tmp_path / "model.pt"
    checkpoint().save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"model\.pt is damaged or not a checkpoint") as caught:
        Checkpoint.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"schema": 99}, "schema 99, not 1"),
        ([1, 2], "schema None"),
        ({"schema": 1, "identity": {}}, "lacks 'update'"),
    ],
)
def test_foreign_files_are_refused(tmp_path, content, message):
    path = tmp_path / "model.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.load(path)


def test_a_file_with_code_in_it_is_not_run(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"schema": 1, "model": _Dangerous()}, path)
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        Checkpoint.load(path)
    assert not _Dangerous.ran


class _Dangerous:
    ran = False

    def __reduce__(self):
        return (_run, ())


def _run():
    _Dangerous.ran = True
    return _Dangerous()


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist; make it with `hwnas train`"):
        Checkpoint.load(tmp_path / "none.pt")


def test_another_run_is_named_by_what_differs(tmp_path):
    with pytest.raises(CheckpointError, match="seed is 3 there and 4 here") as caught:
        checkpoint().require({"what": "model", "seed": 4}, tmp_path / "model.pt")
    assert "what" not in str(caught.value).split(": ", 1)[1]
    assert str(caught.value).endswith("; give another file, or remove this one to start anew")


def test_no_room_keeps_the_old_checkpoint(tmp_path):
    """A file-size limit in a child process stands in for a full disk."""
    path = tmp_path / "model.pt"
    checkpoint().save(path)
    before = path.read_bytes()
    code = (
        "import sys, torch; from pathlib import Path; from hwnas.checkpoint import Checkpoint;"
        "from hwnas.errors import CheckpointError\n"
        "try: Checkpoint({}, 8, {'w': torch.zeros(1_000_000)}, {}, ()).save(Path(sys.argv[1]))\n"
        "except CheckpointError as exc: print(exc); sys.exit(7)"
    )

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert "cannot be written: File too large" in done.stdout
    assert done.stdout.count("\n") == 1
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
