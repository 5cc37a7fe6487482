"""No space on the disk: one line, everything finished stays, and with room again the same command ends."""

import errno
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli.shell import PROFILE, SEARCH, TRAIN, Shell, leftovers, records

EXPORT = ("export", "search/winner.yml", "--space", "tiny.yaml", "--supernet", "supernet.pt", "--decoded", "3")
ADD = ("devices", "add", "two", "--devices")


class Disk:
    """A small file system of its own that can be filled up but for some bytes."""

    def __init__(self, path):
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, but_for=0):
        with self._ballast.open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError as exc:
                assert exc.errno == errno.ENOSPC
            ballast.truncate(max(0, ballast.tell() - but_for))

    def free(self):
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a file system of its own can be mounted by root only: {mounted.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)


def refused(ran):
    assert "no space left on" in ran.refusal.lower()
    return ran.refusal


def test_a_training_keeps_its_last_checkpoint(shell, disk):
    from hwnas.checkpoint import Checkpoint

    out = disk.path / "new.pt"
    command = (*TRAIN, "--checkpoint-every", "10", "--out", out)
    disk.fill()
    assert str(out) in refused(shell(*command))
    assert not out.exists()
    disk.free()
    whole = shell(*TRAIN[:4], "10", *TRAIN[5:], "--out", disk.path / "size.pt")
    assert whole.code == 0
    size = (disk.path / "size.pt").stat().st_size
    disk.fill(but_for=size + size // 2)  # room for the first checkpoint, not for the next beside it
    refused(shell(*command))
    assert Checkpoint.load(out).update == 10
    assert leftovers(disk.path) == []
    disk.free()
    assert shell(*command).code == 0
    ended, expected = Checkpoint.load(out), Checkpoint.load(shell.folder / "supernet.pt")
    assert ended.losses == expected.losses


def test_a_profile_keeps_its_samples(shell, disk):
    out = disk.path / "new.jsonl"
    command = (*PROFILE, "--rounds", "3", "--out", out)
    journal = disk.path / "new.journal.jsonl"
    size = (shell.folder / "x86.lut.journal.jsonl").stat().st_size
    disk.fill(but_for=int(0.8 * size) // 4096 * 4096)
    refused(shell(*command))
    kept = journal.read_bytes()
    assert kept.endswith(b"\n")
    assert any(record["kind"] == "sample" for record in records(journal))
    disk.free()
    ran = shell(*command, "--json")
    assert ran.json["incomplete"] is None
    assert journal.read_bytes().startswith(kept)


def test_a_table_that_cannot_be_written_leaves_its_journal(shell, disk):
    out = disk.path / "x86.lut.jsonl"
    journal = disk.path / "x86.lut.journal.jsonl"
    journal.write_bytes((shell.folder / "x86.lut.journal.jsonl").read_bytes())
    kept = journal.read_bytes()
    disk.fill()
    refused(shell(*PROFILE, "--rounds", "3", "--out", out))
    assert journal.read_bytes() == kept
    assert not out.exists()
    assert leftovers(disk.path) == []


def test_exported_graphs_are_whole_or_not_there(shell, disk):
    command = (*PROFILE, "--rounds", "2", "--calibration", "0", "--check", "0", "--out", "new.jsonl")
    disk.fill(but_for=64 * 1024)
    refused(shell(*command, "--cache", disk.path / "graphs"))
    assert list((disk.path / "graphs").glob("*.onnx"))
    assert leftovers(disk.path) == []
    disk.free()
    assert shell(*command, "--cache", disk.path / "graphs").code == 0


def test_a_search_keeps_its_evaluations(shell, disk):
    out = disk.path / "new"
    command = (*SEARCH, "--out", out, "--no-measure")
    expected = (shell.folder / "search" / "search.journal.jsonl").read_bytes()
    disk.fill(but_for=4096)
    refused(shell(*command))
    kept = (out / "search.journal.jsonl").read_bytes()
    assert expected.startswith(kept[: kept.rindex(b"\n") + 1])
    assert len(kept) > 1000
    disk.free()
    assert shell(*command).code == 0
    for name in ("search.journal.jsonl", "search.json", "winner.yml"):
        assert (out / name).read_bytes() == (shell.folder / "search" / name).read_bytes()
    assert leftovers(disk.path) == []


def test_a_bundle_is_whole_or_not_there(shell, disk):
    out = disk.path / "bundle"
    disk.fill(but_for=64 * 1024)
    refused(shell(*EXPORT, "--out", out))
    assert not out.exists()
    assert leftovers(disk.path) == []


def test_small_files_stay_as_they_were(shell, disk):
    registry = disk.path / "devices.yaml"
    registry.write_bytes((shell.folder / "devices.yaml").read_bytes())
    kept = registry.read_bytes()
    disk.fill()
    refused(shell(*ADD, registry))
    assert registry.read_bytes() == kept
    refused(shell("space", "sample", "tiny.yaml", "--out", disk.path / "one.yml"))
    assert leftovers(disk.path) == []


def test_data_are_kept_whole_or_not_at_all(shell, disk):
    full = Shell(shell.folder, disk.path)
    disk.fill()
    refused(full("data", "g2p", "--file", "small.dict"))
    disk.free()
    assert not list(disk.path.rglob("*.dict"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_result_that_cannot_be_printed_is_an_error(shell):
    """stdout on a full disk: the shell's `> file`."""
    with open("/dev/full", "w") as full:  # noqa: PTH123
        process = subprocess.run(
            [sys.executable, "-m", "hwnas", "space", "show", "tiny.yaml"],
            cwd=shell.folder,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert len(process.stderr.splitlines()) == 1


def test_a_closed_output_is_no_error(shell):
    """What a service manager or ``>&-`` leaves: nothing can be printed, and nothing has to."""
    command = f"exec {shlex.quote(sys.executable)} -m hwnas --version >&-"
    ran = subprocess.run(["sh", "-c", command], cwd=shell.folder, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
