"""The front of loss and latency that each searcher finds at equal cost, on real weights and this CPU.

    python -m benchmarks.search_fronts --supernet runs/demo/supernet.pt --table runs/demo/x86.lut.jsonl
        [--out runs/fronts] [--evaluations 400] [--finalists 8] [--rounds 40] [--json]

nsga2, linas and random search for the whole front at once. Methods that know the loss alone search under
latency limits spread over the range, each with its part of the budget, and their front is that of all they
evaluated. Steps of gradients are counted as evaluations by their forward passes. No method sees what another
evaluated (a loss that is known already is not computed again, but counts). In the end members of every front
are measured in the same rounds, and hypervolumes are told of the predicted fronts and of the measured
members, as shares of one box around all. Run again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from hwnas.cli.console import progress_bar, say, table
from hwnas.data import load_task
from hwnas.device_limits import DeviceLimits
from hwnas.evaluators.fitness import fitness
from hwnas.evaluators.pool import evaluating
from hwnas.families import get_family
from hwnas.files import artifact_cache, write_json
from hwnas.finalists import measure_finalists
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits, latency_range_ms
from hwnas.objectives import CandidateCosts
from hwnas.search.fronts import figures
from hwnas.search.honesty import Box
from hwnas.search.methods import METHODS, Settings, cost_of, method_named, settings_of
from hwnas.search.nsga2 import Objectives
from hwnas.search.outcome import Front
from hwnas.search.protocol import Evaluation
from hwnas.search.runs import Runs
from hwnas.space import Candidate
from hwnas.spaces import load_space
from hwnas.training import load_supernet
from latency_luts import LatencyLut
from profiler import load_devices

_RUNNERS = 10
"""Candidates evaluated after each search by gradients."""
SHARES = (0.2, 0.45, 0.7, 1.0)
"""How far between the fastest and the slowest candidate those limits lie."""


@dataclass(frozen=True, slots=True)
class Row:
    """Of a method: what it cost in evaluations, how large its front is, and hypervolumes as shares of one box."""

    method: str
    cost: int
    front: int
    best_loss: float
    predicted: float
    measured: float


def main() -> None:
    """Search, measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--space", default="g2p")
    parser.add_argument("--data", default="g2p")
    parser.add_argument("--supernet", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--device", default=None, help="Else the table's.")
    parser.add_argument("--out", type=Path, default=Path("runs/fronts"))
    parser.add_argument("--methods", nargs="+", default=[name for name in METHODS if name != "exhaustive"])
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--validation-pairs", type=int, default=500)
    parser.add_argument("--finalists", type=int, default=8, help="Members of each front to measure.")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = compare(given)
    write_json(given.out / "fronts.json", [asdict(row) for row in rows])
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print(
        table(
            ["method", "cost", "front", "best loss", "hypervolume predicted", "hypervolume measured"],
            [
                [row.method, row.cost, row.front, f"{row.best_loss:.4f}", f"{row.predicted:.4f}", f"{row.measured:.4f}"]
                for row in rows
            ],
        )
    )
    print(f"best by hypervolume measured: {max(rows, key=lambda row: row.measured).method}")


def compare(given: argparse.Namespace) -> list[Row]:
    """Search by every method, then measure members of all fronts together."""
    space = load_space(given.space)
    family = get_family(space.family)
    task = load_task(given.data, say=say)
    lut = LatencyLut.load(given.table)
    latency = TableLatency.from_lut(space, family, lut)
    supernet = load_supernet(given.supernet, space, family, task)
    low_ms, high_ms = latency_range_ms(space, latency)
    limits_ms = [low_ms + share * (high_ms - low_ms) for share in SHARES]
    costs = CandidateCosts({"latency_ms": latency.latency_ms})
    free = CandidateLimits(space, family, latency.workload, latency)
    loss_of, known_as = fitness(space, family, supernet, task, pairs=given.validation_pairs)
    found: dict[str, list[Evaluation]] = {}
    spent: dict[str, int] = {}
    with evaluating(loss_of, given.workers, say=say) as evaluate, progress_bar("searching") as bar:

        def runs(limit_ms: float | None) -> Runs:
            return Runs(
                space, family, supernet, task, loss_of.pairs, DeviceLimits({"": replace(free, latency_ms=limit_ms)}),
                evaluate, known_as, f"{lut.target}", bar.update, known=known,
            )  # fmt: skip

        known: dict[Candidate, float] = {}
        for method in given.methods:
            say(f"{method}:")
            whole = method == "random" or method_named(method).front
            parts: Sequence[float | None] = [None] if whole else limits_ms
            found[method], spent[method] = [], 0
            for number, limit_ms in enumerate(parts):
                settings = _settings(method, given.evaluations // len(parts), len(loss_of.pairs))
                folder = given.out / method / str(number)
                told = costs if method_named(method).front else None
                result = runs(limit_ms).one(method, settings, given.seed, folder, told)
                found[method] += result.evaluations
                spent[method] += cost_of(settings, len(result.evaluations), len(loss_of.pairs))
    fronts = {method: Front.of(space, evaluations, costs) for method, evaluations in found.items()}
    members = {method: front.spread(given.finalists) for method, front in fronts.items()}
    wanted = {evaluation.candidate: evaluation.loss for some in members.values() for evaluation in some}
    with progress_bar("measuring") as bar:
        finalists = measure_finalists(
            space, family, list(wanted.items()), lut, latency, load_devices().get(given.device or lut.target.device),
            given.out / "finalists.journal.jsonl", rounds=given.rounds, cache=artifact_cache(), measuring=bar.update,
            waiting=say,
        ).finalists  # fmt: skip
    measured_ms = {finalist.candidate: finalist.measured_ms for finalist in finalists if finalist.measured_ms}
    predicted = {method: figures(space, evaluations, costs) for method, evaluations in found.items()}
    measured = {method: _measured(some, measured_ms) for method, some in members.items()}
    box, measured_box = Box.of(*predicted.values()), Box.of(*measured.values())
    return [
        Row(
            method,
            spent[method],
            len(fronts[method].evaluations),
            float(predicted[method][:, 0].min()),
            box.share(predicted[method]),
            measured_box.share(measured[method]),
        )
        for method in given.methods
    ]


def _settings(method: str, evaluations: int, pairs: int) -> Settings:
    """Settings that cost so many evaluations, the steps of gradients being what can be chosen."""
    if method_named(method).searcher is not None:
        return settings_of(method, {}, evaluations)
    many = settings_of(method, {"steps": 1000, "runners": _RUNNERS})
    steps = 1000 * (evaluations - _RUNNERS) // (cost_of(many, _RUNNERS, pairs) - _RUNNERS)
    return settings_of(method, {"steps": max(1, steps), "runners": _RUNNERS})


def _measured(members: Sequence[Evaluation], measured_ms: Mapping[Candidate, float]) -> Objectives:
    """Loss and measured milliseconds of those that could be measured."""
    return np.array([(e.loss, measured_ms[e.candidate]) for e in members if e.candidate in measured_ms])


if __name__ == "__main__":
    main()
