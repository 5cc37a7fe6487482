"""What would disturb a measurement, looked at for some seconds: noise, clocks and busy processes."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from .facts import read
from .protocol import Request


def survey(seconds: float, facts: Callable[[], Request]) -> Request:
    """Facts before and after ``seconds`` of one thread's work in samples of 2 ms, and what else ran meanwhile."""
    before, used, started = facts(), process_ticks(), time.monotonic()
    noise = noise_samples(seconds)
    after, elapsed_s = facts(), time.monotonic() - started
    return {
        "facts": before,
        "after": after,
        "elapsed_s": elapsed_s,
        "noise": noise,
        "clock": {"wall": clock_steps(time.perf_counter_ns), "cpu": clock_steps(time.thread_time_ns)},
        "processes": busy_processes(used, elapsed_s),
    }


def noise_samples(seconds: float, sample_ms: float = 2.0) -> Request:
    """Both clocks' time for the same work (hashing what fits a cache), sample by sample; ns."""
    block = bytes(1 << 16)
    work = hashlib.sha256
    began = time.perf_counter_ns()
    for _ in range(100):
        work(block)
    repeats = max(1, int(sample_ms * 1e6 / ((time.perf_counter_ns() - began) / 100)))
    walls, cpus = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        for _ in range(repeats):
            work(block)
        cpus.append(time.thread_time_ns() - cpu)
        walls.append(time.perf_counter_ns() - wall)
    return {"wall_ns": walls, "cpu_ns": cpus}


def clock_steps(clock: Callable[[], int], readings: int = 2000) -> Request:
    """The smallest step seen of a clock in ns (null: it did not move), and how often it went back."""
    steps: list[int] = []
    before = clock()
    end = time.monotonic() + 0.1
    while len(steps) < readings and time.monotonic() < end:
        now = clock()
        if now != before:
            steps.append(now - before)
            before = now
    return {"step_ns": min((step for step in steps if step > 0), default=None), "back": sum(s < 0 for s in steps)}


def process_ticks() -> dict[int, tuple[str, int]]:
    """Name and CPU ticks so far of every process but this one; empty without /proc."""
    known = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        name, _, rest = (read(path) or "").partition("(")[2].rpartition(")")
        if len(fields := rest.split()) > 12 and (pid := int(path.parent.name)) != os.getpid():
            known[pid] = (name, int(fields[11]) + int(fields[12]))
    return known


def busy_processes(before: dict[int, tuple[str, int]], elapsed_s: float) -> list[Request] | None:
    """Other processes that took over 2 % of a core since ``before``, the busiest first; null if unknown."""
    after = process_ticks()
    if not after:
        return None
    ticks = os.sysconf("SC_CLK_TCK") * elapsed_s
    shares = [((used - before.get(pid, (name, 0))[1]) / ticks, pid, name) for pid, (name, used) in after.items()]
    busiest = sorted((share for share in shares if share[0] > 0.02), reverse=True)[:5]
    return [{"pid": pid, "name": name, "cores": round(cores, 3)} for cores, pid, name in busiest]
