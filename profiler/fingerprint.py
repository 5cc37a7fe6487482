"""What identifies a device and the state it is in, as a hash, and in words what has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

IDENTIFYING = (
    "cpu_model",
    "board",
    "machine",
    "system",
    "kernel",
    "host",
    "hypervisor",
    "cores",
    "affinity",
    "threads",
    "cpu_quota_cores",
    "governor",
    "turbo",
    "smt",
    "mains",
    "clock_source",
    "python",
    "numpy",
    "libc",
    "runtime",
    "gpu_name",
    "gpu_driver",
)
"""The facts that count as they are; of ``frequency_khz`` its limits do, and the clock latencies are told on."""
_LIMITS = ("min", "max", "hardware_max")


def identity(facts: Mapping[str, object], clock: str) -> dict[str, object]:
    """The facts that a fingerprint is made of, by name; one that the device does not tell is left out."""
    frequency = facts.get("frequency_khz")
    limits = frequency if isinstance(frequency, Mapping) else {}
    known = {name: facts.get(name) for name in IDENTIFYING}
    known |= {f"frequency_{name}_khz": limits.get(name) for name in _LIMITS} | {"clock": clock}
    return {name: value for name, value in known.items() if value is not None}


def fingerprint(facts: Mapping[str, object], clock: str) -> str:
    """12 hexadecimal digits of the SHA-256 of :func:`identity`: equal for one device in one state."""
    text = json.dumps(identity(facts, clock), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def changes(before: Mapping[str, object], after: Mapping[str, object], clock: str) -> tuple[str, ...]:
    """What differs between the facts of two times, in words; facts that only one of them has do not count.

    So facts that older code wrote down, with fewer names, do not look like another device.
    """
    old, new = identity(before, clock), identity(after, clock)
    return tuple(
        f"{name} was {old[name]}, is {new[name]}"
        for name in [*IDENTIFYING, *(f"frequency_{limit}_khz" for limit in _LIMITS)]
        if name in old and name in new and old[name] != new[name]
    )
