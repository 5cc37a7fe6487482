"""How far two measurements of one operator differ: our protocol beside HAT's, LiteRT's and TVM's.

    python -m benchmarks.test_retest [--out runs/test_retest] [--space g2p] [--operators 30] [--seconds 45]
                                     [--gap-minutes 10] [--picture FILE] [--json]

Every protocol measures the same exported operators twice, at least ``--gap-minutes`` apart, once with
the machine left alone and once with a neighbour that comes and goes on the last core. Each has
``--seconds`` a time, loading included. Told is |second / first - 1| over the operators, on both clocks:
the difference between the rows is the protocol's, that between the columns the clock's. What is
there already in ``--out`` is not measured again. Ours tells the second session at the level of the first, by its
reference workloads; the row ``own level`` leaves that out.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.neighbour import neighbour
from benchmarks.protocols import CLOCKS, OTHERS, Latencies, Protocol
from exporters.onnx import OnnxExporter
from hwnas.families import get_family
from hwnas.files import artifact_cache, write_json
from hwnas.latency import operators_of
from hwnas.profiling import build_plan, quietly
from hwnas.sampling import Sampling
from hwnas.spaces import load_space
from profiler import Device, Journal, JournalContent, Plan, load_devices, measure, open_session
from profiler.anchor import Anchor
from profiler.devices import host_of
from profiler.evidence import Evidence
from profiler.journal import parse_header, parse_lines
from profiler.lock import alone_on
from profiler.target import Clock

OURS, OWN_LEVEL = "hwnas", "own level"
"""Ours, the second session told at the first one's level; and each of the two told at its own."""
NAMES = (OURS, OWN_LEVEL, *OTHERS)
CONDITIONS = ("alone", "neighbour")
Errors = Mapping[tuple[str, str, str], npt.NDArray[np.float64]]
"""|second / first - 1| of every operator, by condition, protocol and clock."""


def plan_of(space_name: str, operators: int, seconds: float) -> Plan:
    """So many of a space's operators, spread evenly over its kinds and sizes, for so many seconds."""
    space = load_space(space_name)
    family = get_family(space.family)
    every = operators_of(space, family, space.workload)
    chosen = [every[i * len(every) // operators] for i in range(operators)]
    sampling = Sampling(calibration=0, check=0)
    plan = build_plan(space, family, space.workload, sampling, OnnxExporter(), artifact_cache(), quietly, chosen)
    names = {str(operator) for operator in chosen}
    items = tuple(item for item in plan.items if item.name in names)
    return replace(plan, items=items, rounds=10_000, half_width=1e-6, budget_s=seconds)


def ours(plan: Plan, device: Device, journal: Path) -> None:
    """Rounds in fresh processes, with references, for the plan's budget; what they say is :func:`on_clock`'s."""
    opener = partial(open_session, device)
    session = opener()
    target = session.target
    session.close()
    header = plan.header([target], workload={}, subject={"benchmark": "test_retest"})
    with Journal.open(journal, header) as opened:
        measure([opener], plan, opened)


def on_clock(journal: Path, clock: Clock, level_of: Path | None = None) -> Mapping[str, float]:
    """Latencies in ms by item, had the target been told on ``clock``: its references correct them on that clock too.

    They are told at the level of the session in the journal ``level_of``, as ``hwnas profile --anchor`` does.
    """
    anchors = {}
    if level_of is not None:
        first = _content(level_of, clock, {})
        ((target, drift),) = first.drift.items()
        anchors = {target: Anchor.of(drift.levels_ms["compute"], first.environment[0].facts)}
    return {
        item: found.latency_ms(clock) for (_, item), found in _content(journal, clock, anchors).measurements.items()
    }


def _content(journal: Path, clock: Clock, anchors: Mapping[str, Anchor]) -> JournalContent:
    (header, *records), _ = parse_lines(journal.read_bytes(), journal)
    told = parse_header(header, journal)
    names = {str(target): str(replace(target, clock=clock)) for target in told.targets}
    there = replace(told, targets=tuple(replace(target, clock=clock) for target in told.targets), anchors=anchors)
    renamed = [{**record, "target": names[record["target"]]} if "target" in record else record for record in records]
    return Evidence.collected(there, renamed, journal).content()


def theirs(protocol: Protocol, plan: Plan, device: Device) -> Latencies:
    """One process, one program after another, for as many seconds as the plan's budget."""
    assert plan.budget_s is not None
    session = open_session(device)
    began = time.monotonic()
    try:
        handles = {item.name: session.load(item.program) for item in plan.items}
        return protocol(session, handles, plan.budget_s - (time.monotonic() - began))
    finally:
        session.close()


def take(plan: Plan, device: Device, out: Path, condition: str, number: int) -> dict[str, Any]:
    """One session: every protocol once; kept in a file, and read from there if it is."""
    kept = out / f"{condition}-{number}.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    cores = os.cpu_count() or 1
    latencies, seconds = {}, {}
    beside = neighbour(cores - 1, number) if condition == "neighbour" else nullcontext()
    with alone_on(host_of(device), waiting=print), beside:
        for name in (OURS, *OTHERS):
            began = time.monotonic()
            if name == OURS:
                ours(plan, device, journal_of(out, condition, number))
            else:
                latencies[name] = theirs(OTHERS[name], plan, device)
            seconds[name] = time.monotonic() - began
            print(f"{condition}, session {number}: {name} took {seconds[name]:.0f} s", flush=True)
    session = {"began": time.time(), "latencies_ms": latencies, "seconds": seconds}
    write_json(kept, session)
    return session


def journal_of(out: Path, condition: str, number: int) -> Path:
    """Where our own protocol keeps a session."""
    return out / f"{condition}-{number}.journal.jsonl"


def errors_of(sessions: Mapping[tuple[str, int], Mapping[str, Any]], out: Path) -> Errors:
    """What the two sessions of each condition differ by."""
    found = {}
    for condition in CONDITIONS:
        journals = [journal_of(out, condition, number) for number in (1, 2)]
        for clock in CLOCKS:
            told = {name: [sessions[condition, n]["latencies_ms"][name][clock] for n in (1, 2)] for name in OTHERS}
            told[OURS] = [on_clock(journals[0], clock), on_clock(journals[1], clock, level_of=journals[0])]
            told[OWN_LEVEL] = [on_clock(journal, clock) for journal in journals]
            for name, (first, second) in told.items():
                found[condition, name, clock] = np.array([abs(second[item] / first[item] - 1) for item in first])
    return found


def table(errors: Errors) -> str:
    """Median and 95th percentile by protocol, condition and clock, and how many times ours is better."""
    lines = [f"{'protocol':10}" + "".join(f"{c + ', ' + k:>26}" for c in CONDITIONS for k in CLOCKS)]
    lines.append(f"{'':10}" + f"{'median  95th   x ours':>26}" * (len(CONDITIONS) * len(CLOCKS)))
    for name in NAMES:
        cells = []
        for condition in CONDITIONS:
            for clock in CLOCKS:
                found, best = errors[condition, name, clock], errors[condition, OURS, clock]
                middle, high = np.median(found), np.quantile(found, 0.95)
                cells.append(f"{middle:>9.2%}{high:>8.2%}{middle / np.median(best):>7.1f}x ")
        lines.append(f"{name:10}" + "".join(f"{cell:>26}" for cell in cells))
    return "\n".join(lines)


def draw(errors: Errors, path: Path) -> None:
    """Every operator's difference as a point, a panel per condition, wall and CPU time side by side."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(CONDITIONS), figsize=(10, 4), sharey=True, layout="constrained")
    for panel, condition in zip(panels, CONDITIONS, strict=True):
        for shift, clock, colour in ((-0.17, "wall", "#b35806"), (0.17, "thread_cpu", "#2166ac")):
            for place, name in enumerate(NAMES):
                found = np.maximum(errors[condition, name, clock], 1e-4)
                spread = np.linspace(-0.1, 0.1, len(found))
                label = {"wall": "wall time", "thread_cpu": "thread CPU time"}[clock] if place == 0 else None
                panel.plot(place + shift + spread, 100 * found, ".", color=colour, alpha=0.5, label=label)
                panel.hlines(100 * np.median(found), place + shift - 0.14, place + shift + 0.14, color=colour, lw=2)
        panel.set_xticks(range(len(NAMES)), NAMES)
        panel.set_yscale("log")
        panel.set_title({"alone": "machine left alone", "neighbour": "with a neighbour that comes and goes"}[condition])
        panel.grid(axis="y", alpha=0.3)
    panels[0].set_ylabel("difference of two sessions, % (bar: median)")
    panels[0].legend(loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def wait(seconds: float) -> None:
    """Until the first session is long enough ago."""
    if seconds > 0:
        print(f"waiting {seconds / 60:.1f} minutes", flush=True)
        time.sleep(seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print and draw the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/test_retest"))
    parser.add_argument("--space", default="g2p")
    parser.add_argument("--operators", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--gap-minutes", type=float, default=10.0)
    parser.add_argument("--device", default="x86")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    device = load_devices().get(given.device)
    plan = plan_of(given.space, given.operators, given.seconds)
    given.out.mkdir(parents=True, exist_ok=True)
    sessions: dict[tuple[str, int], Mapping[str, Any]] = {}
    for number in (1, 2):
        for condition in CONDITIONS:
            if number == 2 and not (given.out / f"{condition}-2.json").is_file():
                wait(sessions[condition, 1]["began"] + 60 * given.gap_minutes - time.time())
            sessions[condition, number] = take(plan, device, given.out, condition, number)
    errors = errors_of(sessions, given.out)
    if given.picture is not None:
        draw(errors, given.picture)
    if given.json:
        print(json.dumps({"/".join(key): found.tolist() for key, found in errors.items()}))
        return
    print(f"|second / first - 1| of {len(plan.items)} operators of {given.space}, {given.seconds:g} s a protocol")
    print(table(errors))


if __name__ == "__main__":
    main()
