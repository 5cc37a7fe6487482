"""Whole-model predictors on HAT's published latency sets, against HAT's own predictor retrained in the same run.

    python -m benchmarks.hat_latency_sets --data DIR [--splits 10] [--seed 0] [--json]

DIR holds HAT's CSV files (latency_dataset/*_all.csv of mit-han-lab/hardware-aware-transformers). HAT's
protocol: rows shuffled, 80 % to train on, 10 % held out, 10 % to test on; fewer training rows are the first
of the same. Most of the time goes into HAT's network from 1,600 rows: 5 to 6 minutes for
four sets and ten splits on two idle cores. From 100 rows it is trained on three splits only.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwnas.predictors import FitRequest, LatencySet, Score, evaluate, read_latency_set
from hwnas.spaces import load_space

FEW = 100
FEW_MLP_SPLITS = 3
LABELS = {
    "structured": "structured (ours)",
    "mlp": "HAT's network",
    "gp": "Gaussian process",
    "gbdt": "gradient boosting",
    "flops": "line in the FLOPs",
}


@dataclass(frozen=True)
class Line:
    """One model from so many rows: a mean score for every set, by the set's name."""

    label: str
    rows: str
    splits: int
    scores: dict[str, Score]

    @property
    def mape(self) -> float:
        """Mean over the sets."""
        return float(np.mean([score.mape for score in self.scores.values()]))


def permuted(rows: LatencySet, seed: int) -> LatencySet:
    """The same rows in another order: nothing is left that could tell of drift."""
    return rows.take(np.random.default_rng(seed).permutation(len(rows)))


def compare(sets: list[LatencySet], splits: int, seed: int) -> list[Line]:
    """Every model on every set, the quick ones first; progress goes to stderr."""
    began = time.monotonic()
    workload = load_space("hat_latency").workload

    def line(label: str, request: FitRequest, data: list[LatencySet]) -> Line:
        scores = {}
        for rows in data:
            scores[rows.name] = evaluate(rows, request, workload).mean
            where = "all" if request.train_rows is None else request.train_rows
            print(f"{time.monotonic() - began:5.0f} s  {label}, {where} rows, {rows.name}", file=sys.stderr, flush=True)
        return Line(label, "80 %" if request.train_rows is None else str(request.train_rows), request.splits, scores)

    lines = []
    few, all_rows = (FitRequest(train_rows=count, splits=splits, seed=seed) for count in (FEW, None))
    shuffled = [permuted(rows, seed) for rows in sets]
    for request in (few, all_rows):
        lines.append(line(LABELS["structured"], request, sets))
        corrected = replace(request, drift_corrected=True)
        lines.append(line("  drift-corrected", corrected, sets))
        lines.append(line("  the same, order permuted", corrected, shuffled))
        lines += [line(LABELS[model], replace(request, model=model), sets) for model in ("gp", "gbdt", "flops")]
    lines.append(line("  without outliers", replace(few, quarantine=True), sets))
    lines.append(line(LABELS["mlp"], replace(all_rows, model="mlp"), sets))
    lines.append(line(LABELS["mlp"], replace(few, model="mlp", splits=min(splits, FEW_MLP_SPLITS)), sets))
    return sorted(lines, key=lambda one: one.rows == "80 %")


def report(lines: list[Line], seconds: float) -> str:
    """Mean errors by set, the other scores over all sets, and what was to be shown."""
    names = list(lines[0].scores)
    width = max(len(line.label) for line in lines)
    text = ["Test error (mean absolute, %) by set; then over all sets: error, within 5 %, within 10 %, Spearman", ""]
    text += [f"  {number}: {name}" for number, name in enumerate(names, 1)]
    columns = "".join(f"{number:>8}" for number in range(1, len(names) + 1))
    text += ["", f"{'model':<{width}}  rows  splits{columns}    mean   in 5  in 10   rho"]
    for line in lines:
        scores = list(line.scores.values())
        cells = "".join(f"{100 * score.mape:8.2f}" for score in scores)
        over = [np.mean([getattr(score, name) for score in scores]) for name in ("within_5", "within_10", "spearman")]
        shares = f"{100 * over[0]:7.1f}{100 * over[1]:7.1f}{over[2]:6.3f}"
        text.append(f"{line.label:<{width}} {line.rows:>5} {line.splits:>7}{cells}{100 * line.mape:8.2f}{shares}")
    return "\n".join([*text, "", *verdicts(lines), f"{seconds:.0f} s"])


def verdicts(lines: list[Line]) -> list[str]:
    """The claims, each with its figures and whether it holds."""
    found = {(line.label.strip(), line.rows): line for line in lines}
    hat = found[LABELS["mlp"], "80 %"]
    few, full = found[LABELS["structured"], str(FEW)], found[LABELS["structured"], "80 %"]
    corrected, shuffled = found["drift-corrected", "80 %"], found["the same, order permuted", "80 %"]
    wins = sum(few.scores[name].mape <= hat.scores[name].mape for name in hat.scores)
    claims = [
        (
            few.mape <= hat.mape,
            f"structured from {FEW} rows {few.mape:.2%}, HAT's network from 80 % {hat.mape:.2%}"
            f" (ours at most as much on {wins} of {len(hat.scores)} sets)",
        ),
        (full.mape <= 0.9 * hat.mape, f"structured from 80 % {full.mape:.2%}: {1 - full.mape / hat.mape:.0%} lower"),
        (corrected.mape <= 0.022, f"drift-corrected from 80 % {corrected.mape:.2%}, to be at most 2.20%"),
        (
            shuffled.mape >= 0.95 * full.mape,
            f"the same with the order permuted {shuffled.mape:.2%}: the gain is gone",
        ),
    ]
    return [f"{'holds' if holds else 'DOES NOT HOLD'}: {claim}" for holds, claim in claims]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    files = sorted(arguments.data.glob("*.csv"))
    if not files:
        parser.error(f"there is no CSV in {arguments.data}")
    began = time.monotonic()
    lines = compare([read_latency_set(file) for file in files], arguments.splits, arguments.seed)
    if arguments.json:
        entries = [
            {"model": line.label.strip(), "rows": line.rows, "splits": line.splits, "mape": line.mape}
            | {"sets": {name: score.as_dict() for name, score in line.scores.items()}}
            for line in lines
        ]
        print(json.dumps({"lines": entries, "claims": verdicts(lines), "seconds": time.monotonic() - began}, indent=2))
        return
    print(report(lines, time.monotonic() - began))


if __name__ == "__main__":
    main()
