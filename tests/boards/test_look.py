"""What a board says of itself, and which boards are refused, each with one line that says what to do."""

from dataclasses import replace

import pytest

from profiler import DeviceError
from profiler.boards import Board, look_at, refuse_unfit
from profiler.boards.look import parse_look
from profiler.boards.wheels import platform_tags, versions_for
from profiler.transports.local import LocalTransport

PI4 = """machine=aarch64
bits=64
libc=glibc 2.36
home=/home/pi
free=1048576
memory=3884000
model=Raspberry Pi 4 Model B Rev 1.4
system=Debian GNU/Linux 12 (bookworm)
managed=/usr/lib/python3/EXTERNALLY-MANAGED /usr/lib/python3.11/EXTERNALLY-MANAGED
python=/usr/bin/python3 Python 3.11.2
"""


def test_a_pi4_with_bookworm() -> None:
    board = parse_look(PI4)
    assert board == Board(
        "aarch64", 64, (2, 36), "/usr/bin/python3", (3, 11, 2), True, "/home/pi", 2**30, 3884000 * 1024,
        "Raspberry Pi 4 Model B Rev 1.4", "Debian GNU/Linux 12 (bookworm)",
    )  # fmt: skip
    refuse_unfit(board, "pi4")
    assert str(board) == (
        "Raspberry Pi 4 Model B Rev 1.4, aarch64, Debian GNU/Linux 12 (bookworm), glibc 2.36, Python 3.11.2,"
        " 3.7 GiB of memory, 1.0 GiB free in /home/pi"
    )


def test_the_first_python_that_is_new_enough_counts() -> None:
    board = parse_look(PI4.replace("3.11.2", "3.9.2") + "python=/opt/bin/python3.12 Python 3.12.1\n")
    assert (board.python, board.python_version, board.managed) == ("/opt/bin/python3.12", (3, 12, 1), False)
    refuse_unfit(board, "pi4")


@pytest.mark.parametrize(
    ("told", "instead", "message"),
    [
        ("bits=64", "bits=32", r"^pi4: a 32-bit system runs on its 64-bit kernel .* put a 64-bit system on it"),
        ("=aarch64", "=armv7l", r"^pi4: its processor is run as armv7l.* put a 64-bit system on it"),
        ("3.11.2", "3.9.2", r"^pi4: its Python is 3\.9\.2, and 3\.11 or newer is needed; put a newer system on it"),
        ("python=/usr/bin/python3 Python 3.11.2", "", r"^pi4: there is no Python; install it there: sudo apt install"),
        ("glibc 2.36", "", r"^pi4: its C library is not glibc, which the runtimes need; put Debian"),
    ],
)  # fmt: skip
def test_a_board_that_is_unfit_is_refused_in_one_line(told: str, instead: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message) as caught:
        refuse_unfit(parse_look(PI4.replace(told, instead)), "pi4")
    assert "\n" not in str(caught.value)


def test_a_c_library_that_is_too_old_for_a_runtime() -> None:
    board = replace(parse_look(PI4), glibc=(2, 27))
    with pytest.raises(DeviceError, match=r"^pi4: its glibc is 2\.27, and onnxruntime needs 2\.28; put a newer system"):
        versions_for(["onnxruntime"], board, "pi4")


def test_a_runtime_that_boards_do_not_have() -> None:
    with pytest.raises(DeviceError, match=r"^pi4: torch cannot be set up on a board; known: onnxruntime, litert"):
        versions_for(["torch"], parse_look(PI4), "pi4")


def test_runtimes_share_one_numpy() -> None:
    both = versions_for(["litert", "onnxruntime"], parse_look(PI4), "pi4")
    assert set(both) == {"ai-edge-litert", "numpy", "onnxruntime"}


def test_every_tag_that_a_wheel_for_the_board_may_have() -> None:
    tags = platform_tags("aarch64", (2, 36))
    assert tags[0] == "manylinux_2_36_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux_2_28_aarch64", "manylinux2014_aarch64", "any"} <= set(tags)
    assert not [tag for tag in tags if "x86" in tag or "2_37" in tag]


def test_this_machine_tells_what_it_is() -> None:
    board = look_at(LocalTransport())
    assert board.machine
    assert board.python_version is not None
    assert board.home.startswith("/")
