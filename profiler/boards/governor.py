"""Holds a board's frequency governor at ``performance`` for as long as stdin is open; runs there, by its own Python.

Sent as it is: the standard library alone. The one argument is a folder. Says one line of JSON: ``was`` (the
governors found), or ``error`` and ``permission`` (whether another user may). A process of its own, which outlives
whatever kills this one, gives the governors back when this one ends; if that was killed too, the next one does.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

HELD = "performance"
OWNER = "HWNAS_OWNER"
_WAIT_S = 10.0


def governors() -> list[Path]:
    """The files that tell and set the governor, one a group of cores."""
    root = Path(os.environ.get("HWNAS_SYSFS") or "/sys")
    return sorted(root.glob("devices/system/cpu/cpufreq/policy*/scaling_governor"))


def boot() -> str:
    """An id that is another after each boot, which resets governors."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def found(state: Path) -> dict[str, str]:
    """What was there before anybody held it."""
    with suppress(OSError, ValueError):
        left = json.loads(state.read_text())
        if left["boot"] == boot():
            return dict(left["was"])
    return {str(path): path.read_text().strip() for path in governors()}


def give_back(state: Path, was: dict[str, str]) -> None:
    """Set what was there before."""
    for path, name in was.items():
        with suppress(OSError):
            Path(path).write_text(name)
    state.unlink(missing_ok=True)


def locked(path: Path) -> int:
    """The lock that a guard holds while governors are not its board's own; waits for one that is giving them back."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError("another process holds the governor") from None
        else:
            return descriptor
        time.sleep(0.05)


def hold(folder: Path) -> None:
    """Set, say so, wait for the end of stdin, give back."""
    folder.mkdir(parents=True, exist_ok=True)
    state, lock = folder / "governor.json", locked(folder / "governor.lock")
    was = found(state)
    if not was:
        raise OSError("it has no frequency governor (cpufreq)")
    partial = state.with_suffix(".partial")
    partial.write_text(json.dumps({"boot": boot(), "was": was}))
    partial.rename(state)
    environment = {name: value for name, value in os.environ.items() if name != OWNER}
    argv = [sys.executable, __file__, str(state), "guard"]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        pass_fds=[lock], start_new_session=True, env=environment,
    ) as guard:  # fmt: skip
        for path in governors():
            path.write_text(HELD)
        print(json.dumps({"was": sorted(set(was.values()))}), flush=True)
        sys.stdin.buffer.read()
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait()


def main() -> None:
    """``folder``, or for the guard ``state guard``."""
    if sys.argv[2:] == ["guard"]:
        state = Path(sys.argv[1])
        sys.stdin.buffer.read()
        give_back(state, found(state))
        return
    try:
        hold(Path(sys.argv[1]))
    except OSError as exc:
        permission = isinstance(exc, PermissionError)
        print(json.dumps({"error": str(exc.strerror or exc), "permission": permission}), flush=True)


if __name__ == "__main__":
    main()
