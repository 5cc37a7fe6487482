"""Is the device still as it was when a table was made? What has changed, in words."""

from __future__ import annotations

from collections.abc import Mapping

from latency_luts import LatencyLut
from profiler import JournalContent
from profiler.fingerprint import changes


def changed_since(table: LatencyLut, facts: Mapping[str, object]) -> tuple[str, ...]:
    """How a device that tells ``facts`` now differs from the table's; nothing if the table has no facts."""
    then = table.environment.get("start")
    return changes(then, facts, table.target.clock) if isinstance(then, Mapping) else ()


def changed_during(table: LatencyLut, content: JournalContent) -> tuple[str, ...]:
    """As :func:`changed_since`, for the table's target as a later measurement last found it."""
    found = [entry.facts for entry in content.environment if entry.target == str(table.target)]
    return changed_since(table, found[-1]) if found else ()


def note_of(change: str) -> str:
    """A line for people about one change."""
    return f"note: since the table was made, the device has changed: {change}; profile again if latencies are off"
