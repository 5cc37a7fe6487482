"""Stands in for a board's Python: runs the real worker there on a clock of known truth, and throttles as scripted.

``truth_board.py STATE worker.pyz``: STATE is a folder with ``script.json`` (``latency_ms`` by name of graph, and
``episodes``: from and to in ms of device time, a factor, the bits 0-3 and the clock in kHz meanwhile). Time passes
by what is called alone, and goes on from process to process. What ``vcgencmd`` (``STATE/register``) and sysfs say
follows it, and ``STATE/timed`` keeps of every request to time whether an episode touched it.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

FULL_KHZ = 1_500_000
REFERENCE_MS = {"compute": 0.11, "memory": 0.23}
OTHER_MS = 0.3
SPREAD = 0.01
"""Standard deviation of a program's latency between processes, as a share."""


class Clock:
    """The device's time, and its state at that time."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.script = json.loads((state / "script.json").read_text())
        kept = state / "now"
        self.now_ns, self.opened = json.loads(kept.read_text()) if kept.exists() else (0, 0)
        self.rng = random.Random(f"process {self.opened}")
        self.touched = False
        self.known: object = None
        self.pass_ns(0)

    def keep(self) -> None:
        (self.state / "now").write_text(json.dumps([self.now_ns, self.opened + 1]))

    def pass_ns(self, work_ns: float) -> None:
        """Let so much undisturbed work be done."""
        episode = self.episode()
        self.touched |= episode is not None
        self.now_ns += round(work_ns * (1.0 if episode is None else episode["factor"]))
        episode = self.episode()
        self.touched |= episode is not None
        if episode != self.known or work_ns == 0:
            self.known = episode
            self.show(episode)

    def episode(self) -> dict[str, Any] | None:
        now_ms = self.now_ns / 1e6
        return next((e for e in self.script["episodes"] if e["from_ms"] <= now_ms < e["to_ms"]), None)

    def show(self, episode: dict[str, Any] | None) -> None:
        since = 0
        for past in self.script["episodes"]:
            if past["from_ms"] <= self.now_ns / 1e6:
                since |= past["bits"] << 16
        (self.state / "register").write_text(f"{since | (episode['bits'] if episode else 0):#x}\n")
        clock = self.state / "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq"
        clock.write_text(f"{episode['khz'] if episode else FULL_KHZ}\n")

    def call(self, latency_ms: float) -> Callable[[], None]:
        """What takes so long on the undisturbed device, in this process."""
        work_ns = 1e6 * latency_ms * (1 + SPREAD * self.rng.gauss(0, 1))
        return lambda: self.pass_ns(work_ns * (1 + 0.003 * self.rng.expovariate(1)))


class TruthRuntime:
    """Programs whose outputs are their references', and whose latency is scripted."""

    version = "truth-1"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def load(self, stages: list[dict[str, Any]]) -> SimpleNamespace:
        stage, known = stages[-1], self.clock.script["latency_ms"]
        latency_ms = sum(each["repeat"] * known.get(Path(each["path"]).name, OTHER_MS) for each in stages)

        def evaluate(_: object) -> dict[str, Any]:
            with np.load(stage["reference"]) as stored:
                return {n.removeprefix("output/"): stored[n] for n in stored.files if n.startswith("output/")}

        return SimpleNamespace(calls=[self.clock.call(latency_ms)], evaluate=evaluate)

    def unload(self, program: SimpleNamespace) -> None:
        program.calls.clear()


def main() -> None:
    state, archive = Path(sys.argv[1]), sys.argv[-1]
    sys.path.insert(0, archive)
    from worker import server  # type: ignore[import-not-found]

    clock = Clock(state)
    server.RUNTIMES["onnxruntime"] = lambda threads, driver: TruthRuntime(clock)
    server.REFERENCES.update({name: lambda ms=ms: clock.call(ms) for name, ms in REFERENCE_MS.items()})
    server.counters = dict  # what the machine under this board counts is not the board's
    now = lambda: clock.now_ns  # noqa: E731
    server.time = SimpleNamespace(perf_counter_ns=now, thread_time_ns=now, process_time_ns=now)
    sampled = server.Worker.sampled

    def watched(self: Any, *arguments: Any) -> Any:
        clock.touched = clock.episode() is not None
        reply = sampled(self, *arguments)
        with (state / "timed").open("a") as stream:
            stream.write(json.dumps([reply["wall_ns"], clock.touched]) + "\n")
        clock.keep()
        return reply

    facts = server.facts

    def idle(*arguments: Any) -> Any:
        """While it is throttled, whoever looks at it waits for its end."""
        if (clock.episode() or {}).get("bits"):
            clock.pass_ns(40e6)
            clock.keep()
        return facts(*arguments)

    server.facts = idle
    server.Worker.sampled = watched
    server.main()


if __name__ == "__main__":
    main()
