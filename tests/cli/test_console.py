"""Progress on a terminal, where two bars may be shown at once."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading

NESTED = """
from hwnas.cli.console import progress_bar
with progress_bar("exporting") as outer, progress_bar("measuring") as inner:
    outer.update(1, 1)
    inner.update(1, 2, "round 1")
"""


HALF_WAY = """
from itertools import count
from hwnas.cli import console
ticks = count(0, 300)
console.time.monotonic = lambda: next(ticks)
with console.progress_bar("training") as bar:
    bar.update(0, 4)
    bar.update(1, 4, "loss 2")
"""


def on_a_terminal(program: str) -> str:
    """What ``program`` draws on a terminal of its own, to the end."""
    ours, theirs = pty.openpty()
    drawn: list[bytes] = []

    def read() -> None:
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux: the other side is closed
                return
            if not piece:
                return
            drawn.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        subprocess.run(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
            check=True,
        )
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)
    return b"".join(drawn).decode()


def test_two_bars_at_once_are_drawn_one_below_the_other() -> None:
    drawn = on_a_terminal(NESTED)
    assert "round 1" in drawn
    assert re.search(r"exporting [^\r\n]*\r\nmeasuring ", drawn), "each bar erased the other's line"
    assert re.search(r"50%\S* \S*-?[:\d-]+\S* left round 1", drawn), "the time left stands before the word"


def test_a_line_of_progress_says_how_long_it_will_be() -> None:
    piped = subprocess.run([sys.executable, "-c", HALF_WAY], capture_output=True, text=True, check=True)
    assert piped.stdout == ""
    assert piped.stderr.splitlines() == ["training: 0 %", "training: 20 %, 15 min left (loss 2)"]
