"""How fast estimates are: a whole table on the systolic engine, and matrix products beside SCALE-Sim's.

    python -m benchmarks.simulation_speed [--space hat_wmt14_ende] [--device tpu-v1] [--scalesim FOLDER] [--json]

The table is made twice: the first time exports the graphs, the second is timed: a process of its own, from its start,
that finds the exports but no estimate. The products are simulated by SCALE-Sim 3.0.0 in an environment of its own in
FOLDER (made there if missing, else a temporary one) and by our closed form, in the same run. The mark is set for
what is equal to SCALE-Sim's, cycles and accesses; beside it stands the whole cost as the engine reckons it, with
traffic, stalls and energy of our own model. Both must agree on the cycles.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.scalesim import environment, simulate
from hwnas.files import artifact_cache
from latency_luts import LatencyLut
from profiler.simulators.graph import MatrixProduct
from profiler.simulators.systolic import Parameters, product_cost
from profiler.simulators.systolic_array import Dataflow, run

PRODUCTS: tuple[tuple[Dataflow, int, int, int, int, int], ...] = (
    ("os", 16, 16, 128, 64, 128),
    ("ws", 16, 16, 128, 64, 128),
    ("is", 16, 16, 128, 64, 128),
    ("ws", 32, 32, 197, 192, 192),
    ("is", 12, 14, 100, 77, 300),
    ("os", 64, 16, 64, 256, 256),
)
"""Dataflow, rows, cols, M, K, N: of the sizes that Transformers' operators have."""
REPEATS = 100


def table_seconds(space_name: str, device_name: str) -> tuple[float, int]:
    """Seconds of a whole table with the exports cached, and its operators."""
    with tempfile.TemporaryDirectory() as folder:
        out, scratch = Path(folder) / "table.jsonl", Path(folder) / "cache"
        make_table(space_name, device_name, out, artifact_cache())
        exports_alone(artifact_cache(), scratch)
        began = time.perf_counter()
        make_table(space_name, device_name, out, scratch)
        return time.perf_counter() - began, len(LatencyLut.load(out).rows)


def make_table(space_name: str, device_name: str, out: Path, cache: Path) -> None:
    """In a process of its own; what it says goes to stderr."""
    asked = ("profile", "--space", space_name, "--device", device_name, "--check", "2", "--out", out, "--cache", cache)
    command = [sys.executable, "-m", "hwnas", *map(str, asked)]
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
        raise SystemExit(f"cannot estimate {space_name} on {device_name}")


def exports_alone(cache: Path, scratch: Path) -> None:
    """``scratch`` becomes ``cache`` without its estimates; the cache itself is left as it is."""
    scratch.mkdir()
    for entry in cache.iterdir():
        if entry.name != "estimates":
            (scratch / entry.name).symlink_to(entry)


def product_seconds(scalesim: Path, runs: Path) -> list[dict[str, float]]:
    """For each product the seconds of both, and their cycles."""
    names = ("dataflow", "rows", "cols", "M", "K", "N")
    theirs = simulate(environment(scalesim), [dict(zip(names, product, strict=True)) for product in PRODUCTS], runs)
    found = []
    for (dataflow, rows, cols, m, k, n), simulated in zip(PRODUCTS, theirs, strict=True):
        given = Parameters(rows=rows, cols=cols, dataflow=dataflow, clock_hz=1e9)
        product = MatrixProduct(1, m, k, n, weights=True)
        seconds = least_seconds(partial(run, given.array, m, k, n))
        found.append(
            {
                "scalesim_s": simulated["seconds"],
                "closed_form_s": seconds,
                "whole_cost_s": least_seconds(partial(product_cost, given, product)),
                "times_faster": simulated["seconds"] / seconds,
                "scalesim_cycles": simulated["reported_total_cycles"] + 1,
                "closed_form_cycles": run(given.array, m, k, n).cycles,
            }
        )
    return found


def least_seconds(call: Callable[[], object]) -> float:
    """Seconds of a call, the least of several means: what else runs on the machine only ever adds."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(REPEATS):
            call()
        times.append((time.perf_counter() - began) / REPEATS)
    return min(times)


def main() -> None:
    """Print the figures; exit 1 if one misses its mark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="hat_wmt14_ende")
    parser.add_argument("--device", default="tpu-v1")
    parser.add_argument("--scalesim", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    seconds, operators = table_seconds(given.space, given.device)
    with tempfile.TemporaryDirectory() as folder:
        products = product_seconds(given.scalesim or Path(folder) / "scalesim", Path(folder) / "runs")
    scalesim_s, closed_s, whole_s = (
        sum(row[name] for row in products) for name in ("scalesim_s", "closed_form_s", "whole_cost_s")
    )
    faster = scalesim_s / closed_s
    agree = all(row["scalesim_cycles"] == row["closed_form_cycles"] for row in products)
    passed = seconds < 10 and faster >= 1e5 and agree
    if given.json:
        document = {"table_s": seconds, "operators": operators, "times_faster": faster, "products": products}
        document["whole_cost_times_faster"] = scalesim_s / whole_s
        print(json.dumps(document | {"passed": passed}, indent=2))
    else:
        print(f"{operators} operators and 2 whole models of {given.space} on {given.device}: {seconds:.1f} s")
        for product, row in zip(PRODUCTS, products, strict=True):
            print(
                f"{product}: SCALE-Sim {row['scalesim_s']:.3f} s, closed form {1e6 * row['closed_form_s']:.2f} us,"
                f" {row['times_faster']:,.0f} times faster, {row['closed_form_cycles']} cycles"
            )
        print(f"with traffic, stalls and energy too: {scalesim_s / whole_s:,.0f} times faster")
        print(f"together {faster:,.0f} times faster: {'passed' if passed else 'FAILED'}")
    raise SystemExit(0 if passed else 1)


if __name__ == "__main__":
    main()
