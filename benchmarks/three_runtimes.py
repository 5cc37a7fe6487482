"""Tables of ONNX Runtime, LiteRT and TVM, taken in the same rounds: does each predict whole models it has not seen?

    python -m benchmarks.three_runtimes [--spaces g2p benchmarks/hat_thirty.yaml] [--runtimes all] [--models 30]
                                        [--calibration 10] [--rounds 40] [--out runs/three_runtimes] [--json]

One table for each runtime and space, all of a space's in each round, with whole models to calibrate on and fresh ones
to predict. A table holds if its mean error on these is at most 5 %. Above a split-half floor of 3 % (what two halves of
the rounds say differently of the same models) nothing can be told: that is inconclusive, and no pass. Run it again to
go on where it stopped. The models of the full-size space take about 20 GB in the cache of graphs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from hwnas.cli.console import progress_bar, say, table
from hwnas.families import get_family
from hwnas.files import artifact_cache
from hwnas.runtimes import compare_tables, profile_runtimes, strands_of
from hwnas.sampling import Sampling
from hwnas.spaces import load_space
from latency_luts import CheckReport, LatencyLut
from profiler import load_devices

Verdict = Literal["holds", "fails", "inconclusive"]

MOST_ERROR, MOST_FLOOR = 0.05, 0.03
"""A mean error that passes; and the floor above which nothing can be told."""


@dataclass(frozen=True, slots=True)
class Row:
    """A table of one runtime: its errors on fresh models, as shares, and its models' time over the first's."""

    runtime: str
    operators: int
    models: int
    mean_error: float
    worst_error: float
    within_5: float
    bias: float
    spearman: float
    floor: float
    of_the_first: float
    verdict: Verdict


def verdict(report: CheckReport) -> Verdict:
    """Whether a table predicts fresh models well enough, as far as that can be told."""
    if report.split_half_floor > MOST_FLOOR:
        return "inconclusive"
    return "holds" if report.mape <= MOST_ERROR else "fails"


def rows_of(tables: Mapping[str, LatencyLut]) -> list[Row]:
    """A row for each table; they have a calibration, and check models."""
    whole = next((each.ratios for each in compare_tables(tables) if each.kind == "whole models"), {})
    rows = []
    for name, lut in tables.items():
        assert lut.calibration is not None
        report = lut.calibration.evaluate(lut.models_of("check"))
        rows.append(
            Row(
                name,
                len(lut.rows) - 1,
                report.models,
                report.mape,
                report.worst,
                report.within_5,
                report.bias,
                report.spearman,
                report.split_half_floor,
                whole.get(name, float("nan")),
                verdict(report),
            )
        )
    return rows


def measure(named: str, given: argparse.Namespace) -> tuple[list[Row], float]:
    """Profile one space by every runtime; its rows, and the seconds it took."""
    space, began = load_space(named), time.monotonic()
    sampling = Sampling(
        rounds=given.rounds,
        min_rounds=min(given.rounds, Sampling().min_rounds),
        samples=given.samples,
        half_width=given.half_width,
        calibration=given.calibration,
        check=given.models,
        seed=given.seed,
    )
    strands = strands_of(load_devices().get(given.device), given.runtimes, "fp32")
    with progress_bar(f"exporting {space.name}") as exporting, progress_bar(f"measuring {space.name}") as measuring:
        tables = profile_runtimes(
            space, get_family(space.family), space.workload, strands, given.out / space.name, sampling,
            cache=given.cache, exporting=exporting.update, measuring=measuring.update, waiting=say,
        )  # fmt: skip
    return rows_of(tables), time.monotonic() - began


def main() -> None:
    """Print a table for every space."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", default=["g2p", str(Path(__file__).with_name("hat_thirty.yaml"))])
    parser.add_argument("--runtimes", default="all", help="all, or names with commas")
    parser.add_argument("--models", type=int, default=30, help="fresh whole models")
    parser.add_argument("--calibration", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=40, help="the most rounds of an operator or model")
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--half-width", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="x86")
    parser.add_argument("--cache", type=Path, default=artifact_cache())
    parser.add_argument("--out", type=Path, default=Path("runs/three_runtimes"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {named: measure(named, given) for named in given.spaces}
    if given.json:
        document = {
            named: {"seconds": seconds, "tables": [asdict(row) for row in rows]}
            for named, (rows, seconds) in found.items()
        }
        print(json.dumps(document))
        return
    header = [
        "runtime", "operators", "fresh models", "mean error", "worst", "within 5 %", "bias", "Spearman", "floor",
        "of the first", "verdict",
    ]  # fmt: skip
    for named, (rows, seconds) in found.items():
        print(f"{named}: {seconds:.0f} s")
        cells = [
            [
                row.runtime, row.operators, row.models, f"{row.mean_error:.2%}", f"{row.worst_error:.1%}",
                f"{row.within_5:.0%}", f"{row.bias:+.1%}", f"{row.spearman:.3f}", f"{row.floor:.2%}",
                f"{row.of_the_first:.2f}", row.verdict,
            ]
            for row in rows
        ]  # fmt: skip
        print(table(header, cells))


if __name__ == "__main__":
    main()
