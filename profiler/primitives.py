"""A runtime's own profile of a program, node by node, without what profiling itself costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol, runtime_checkable

IDLE_OP = "Reshape"
"""A kernel that only hands its input on: what a profile shows of it is the cost of profiling."""
IDLE_US = 0.2
"""What such a node takes unprofiled: 0.19 us in chains of 50 to 200 of them (ONNX Runtime 1.32, x86)."""


@runtime_checkable
class ProfilingSession(Protocol):
    """A session whose runtime can tell what each node of a program takes."""

    def profile(self, handle: str, calls: int) -> dict[str, object]:
        """``stages``: ``name``, ``runs`` of its graph in a call, ``nodes`` with ``name``, ``op`` and ``us``.

        A runtime that can tell what being watched costs each node adds that as ``cost_us``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Primitive:
    """A node: ``runs`` times in a call of the program, together ``latency_ms``; ``raw_ms`` with profiling's cost."""

    stage: str
    name: str
    op: str
    runs: int
    latency_ms: float
    raw_ms: float


def primitives(*profiles: Mapping[str, Any]) -> tuple[Primitive, ...]:
    """The nodes of a program in the order they run, stage by stage, each from the profile where it took least.

    A process's first profile is slower than the next, 0.3 us a node: its records take fresh memory.
    Profiling costs several times what a small kernel does, about the same for every node: 4 us of
    5 in models of 0.2 ms. So the median of the nodes that do nothing (:data:`IDLE_OP`; without
    any, the cheapest node) is taken off every run of every node, which then keeps at least what a
    node that does nothing takes. Where a node's own cost is told, that is taken off instead.
    """
    found = []
    for same in zip(*(profile["stages"] for profile in profiles), strict=True):
        name, runs = same[0]["name"], same[0]["runs"]
        least = [min(again, key=_us) for again in zip(*(s["nodes"] for s in same), strict=True)]
        idle_us = [node["us"] / runs for node in least if node["op"] == IDLE_OP]
        common_us = (median(idle_us) if idle_us else min(map(_us, least), default=0.0) / runs) - IDLE_US
        for node in least:
            run_us = node["us"] / runs - (node["cost_us"] / runs if "cost_us" in node else common_us)
            left_us = max(0.0 if "cost_us" in node else IDLE_US, run_us)
            found.append(Primitive(name, node["name"], node["op"], runs, runs * left_us / 1e3, node["us"] / 1e3))
    return tuple(found)


def _us(node: Mapping[str, Any]) -> float:
    return float(node["us"])
