"""What a board needs of packages, and which devices are boards or may be timed."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from boards.test_look import PI4
from contracts.fake_session import FakeSession

from profiler import DeviceError, LocalDevice, ParityError
from profiler.boards import prove
from profiler.boards import setup as setting_up
from profiler.boards import wheels as fetching
from profiler.boards.known import known_graph
from profiler.boards.look import parse_look
from profiler.boards.wheels import RUNTIMES, download, unpacked_bytes
from profiler.devices import board_with, require_board, require_times
from profiler.hardware import SshDevice
from profiler.parity import reference_tensors

BOARD = parse_look(PI4)
PI = SshDevice(name="pi", kind="ssh", host="pi.local")


def pip(monkeypatch: pytest.MonkeyPatch, *, fails: str | None = None, **wheels: list[str]) -> list[list[str]]:
    """Stands in for pip: notes its arguments, and writes wheels of these files, or fails with these words."""
    asked: list[list[str]] = []

    def run(argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(argv)
        folder = Path(argv[argv.index("--dest") + 1])
        for name, files in wheels.items():
            with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
                for file in files:
                    archive.writestr(file, file * 10)
        return subprocess.CompletedProcess(argv, 0 if fails is None else 1, "", fails or "")

    monkeypatch.setattr(fetching.subprocess, "run", run)
    return asked


def test_wheels_are_asked_for_by_the_boards_own_tags_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pip(monkeypatch, numpy=["numpy/core.py"])
    (wheel,) = download({"numpy": "1.0"}, BOARD, tmp_path)
    assert download({"numpy": "1.0"}, BOARD, tmp_path) == [wheel]
    (argv,) = asked
    told = [argv[at + 1] for at, word in enumerate(argv) if word == "--platform"]
    assert "manylinux_2_36_aarch64" in told
    assert "numpy==1.0" in argv
    assert argv[argv.index("--python-version") + 1] == "3.11"
    assert unpacked_bytes(wheel) == len("numpy/core.py") * 10


def test_of_tvm_only_the_runtime_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = "apache_tvm-1.0.dist-info/METADATA"
    pip(monkeypatch, apache_tvm=["tvm/lib/libtvm_compiler.so", "tvm/lib/libtvm_runtime.so", "tvm/relax.py", meta])
    (wheel,) = download(RUNTIMES["tvm"].versions, BOARD, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        assert archive.namelist() == ["tvm/lib/libtvm_runtime.so", meta]


def test_what_pip_says_is_told_in_one_line_and_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip(monkeypatch, fails="WARNING: x\nERROR: No matching distribution found for numpy==1.0\nERROR: more")
    with pytest.raises(
        DeviceError, match=r"^numpy==1.0 cannot be downloaded for aarch64: ERROR: No matching"
    ) as caught:
        download({"numpy": "1.0"}, BOARD, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_the_known_graphs_give_what_can_be_worked_out_by_hand(runtime: str, tmp_path: Path) -> None:
    known = known_graph(board_with(PI, runtime), tmp_path)
    inputs, outputs = reference_tensors(known)
    weight = [[4 * row + column - 7 for column in range(4)] for row in range(4)]
    bias, x = (1, -2, 3, -40), inputs["x"][0].tolist()
    by_hand = [max(0, sum(w * v for w, v in zip(row, x, strict=True)) + b) for row, b in zip(weight, bias, strict=True)]
    assert outputs["y"].tolist() == [by_hand]
    assert sum(by_hand) > 0


def test_a_runtime_that_answers_otherwise_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting_up, "open_session", lambda *_: FakeSession())
    assert prove(PI) == "fake-1"
    monkeypatch.setattr(setting_up, "open_session", lambda *_: FakeSession(error=1.0))
    with pytest.raises(ParityError, match=r"known\.onnx on pi: outputs differ from PyTorch's by 1"):
        prove(PI)


def test_tvm_must_know_the_processor() -> None:
    with pytest.raises(DeviceError, match=r"tvm_target: name the processor as TVM does"):
        board_with(PI, "tvm")
    named = PI.model_copy(update={"tvm_target": "raspberry-pi/4b-aarch64"})
    assert board_with(named, "tvm").runtime == "tvm"
    with pytest.raises(DeviceError, match="runtime: Input should be"):
        board_with(PI, "luck")


def test_which_devices_are_boards_and_which_may_be_timed() -> None:
    assert require_board(PI) is PI
    with pytest.raises(DeviceError, match=r"^'here' is local: only a board \(kind: ssh\) is set up and deployed to$"):
        require_board(LocalDevice(name="here", kind="local"))
    require_times(PI)
    emulated = PI.model_copy(update={"emulated": True})
    with pytest.raises(DeviceError, match=r"^'pi' is emulated: its times are the emulator's"):
        require_times(emulated)
    assert emulated.note.startswith("emulated")
