"""What a board says of its clock and of being throttled, and whether that touched what was timed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .protocol import Request

_NOW, _SINCE_BOOT = 0xF, 0xF0000
_FIRMWARE = "devices/platform/soc*/soc*:firmware/get_throttled"
_VCGENCMD_S = 2.0


def system() -> Path:
    """The root of sysfs: what ``HWNAS_SYSFS`` names, else ``/sys``."""
    return Path(os.environ.get("HWNAS_SYSFS") or "/sys")


def board_model() -> str | None:
    """A board's name by its device tree; null for a machine that has none."""
    for path in (system() / "firmware/devicetree/base/model", Path("/proc/device-tree/model")):
        if text := _read(path):
            return text.rstrip("\0")
    return None


def throttled_bits() -> int | None:
    """A Raspberry Pi's throttling register: bits 0-3 now, 16-19 since boot (voltage, cap, throttle, heat)."""
    try:
        for path in system().glob(_FIRMWARE):
            if text := _read(path):
                return int(text, 16)
        if (tool := shutil.which("vcgencmd")) is None:
            return None
        done = subprocess.run([tool, "get_throttled"], capture_output=True, text=True, check=False, timeout=_VCGENCMD_S)
        _, _, value = done.stdout.strip().partition("=")
        return int(value, 16) if value.startswith("0x") else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


class Watch:
    """Counts what a board's state was: numbers that only grow, so that their difference tells of what came between."""

    def __init__(self) -> None:
        self.bits = throttled_bits()
        self.throttles = 0
        self.load_khz = 0
        core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        clock = system() / f"devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq"
        self.clock = clock if board_model() is not None and _read(clock) else None

    def timed(self) -> None:
        """To be called at once after a sample: the clock is still that of the load."""
        if self.clock is not None:
            self.load_khz += int(_read(self.clock) or 0)

    def look(self) -> Request:
        """``throttles`` grows if the board is throttled now, was when last looked at, or had been in between;
        ``load_khz`` by the clock after the first and the last sample of whatever is timed.
        Empty where a machine tells nothing."""
        told: Request = {}
        if self.bits is not None and (bits := throttled_bits()) is not None:
            self.throttles += bool((bits | self.bits) & _NOW or bits & ~self.bits & _SINCE_BOOT)
            self.bits, told["throttles"] = bits, self.throttles
        if self.clock is not None:
            told["load_khz"] = self.load_khz
        return told


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
