"""A Raspberry Pi's throttling register in words, and what to do about it.

Raspberry Pi documentation, ``vcgencmd get_throttled``: bits 0 to 3 tell of now, 16 to 19 of the time since boot.
"""

from __future__ import annotations

from collections.abc import Iterable

NAMES = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
NOW, SINCE_BOOT = 0xF, 0xF0000
UNDER_VOLTAGE = 0x1

_SUPPLY = "use the power supply made for the board (5.1 V, 3 A or more) and a short cable"
_COOL = "cool it (a heat sink, a fan), or lower its highest frequency"


def named(bits: int) -> tuple[str, ...]:
    """The names of what bits 0 to 3 say."""
    return tuple(name for bit, name in enumerate(NAMES) if bits >> bit & 1)


def advice(bits: int) -> str:
    """What helps against what bits 0 to 3 say."""
    return _SUPPLY if bits & UNDER_VOLTAGE else _COOL


def meanwhile(registers: Iterable[int]) -> int:
    """What was on (as bits 0 to 3) at any of some looks, in the order of time, or newly between two of them."""
    found, before = 0, None
    for bits in registers:
        found |= bits & NOW
        if before is not None:
            found |= (bits & ~before & SINCE_BOOT) >> 16
        before = bits
    return found
