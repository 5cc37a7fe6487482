"""Evaluating a population: each candidate on all validation pairs, and on the few that ``hwnas subset`` chooses.

    python -m benchmarks.evaluate_population --supernet runs/demo/supernet.pt [--candidates 100] [--workers 2] [--json]

Real weights and data (g2p). Two populations are ranked both ways: random candidates, none of which the
subset was chosen by, and the last generation of an evolution under a limit on the parameters, whose candidates are
alike. In each candidate's turn the subset comes first, so that what the SuperTransformer keeps of a
candidate helps the whole evaluation, if any. Beside the chosen subset stand pairs spread evenly, of as many tokens.
What choosing costs is counted in: for a search of HAT's size, of the demo's, and as the size from
which the whole is eight times as fast. About three minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hwnas.cli.console import say, table
from hwnas.data import load_task
from hwnas.data.task import Task
from hwnas.demo import DemoSettings
from hwnas.evaluators.choosing import SubsetRequest, choose_subset, random_candidates
from hwnas.evaluators.fitness import fitness, fixed_subset
from hwnas.evaluators.inherited import InheritedLoss
from hwnas.evaluators.pool import LocalPool
from hwnas.evaluators.subset_file import ChosenSubset
from hwnas.families import get_family
from hwnas.families.base import Family
from hwnas.limits import CandidateLimits
from hwnas.ranks import spearman
from hwnas.search.evolution import Evolution, EvolutionSettings
from hwnas.search.protocol import Evaluation
from hwnas.space import Candidate, SearchSpace
from hwnas.spaces import load_space
from hwnas.supernet import SuperTransformer
from hwnas.training import load_supernet

Loss = Callable[[Candidate], float]

SEARCHES = {"HAT's search": 3125, "the demo's": DemoSettings().evolution.evaluations}
"""Candidates they evaluate."""
WANTED_RATIO = 8
EVOLUTION = EvolutionSettings(population=40, parents=10, mutants=20, crossovers=20, iterations=6)


@dataclass(frozen=True, slots=True)
class Ways:
    """The same loss three ways."""

    whole: Loss
    chosen: Loss
    evenly: Loss


def evolved(space: SearchSpace, family: Family, loss_of: Loss) -> tuple[Candidate, ...]:
    """The last generation of an evolution that may have half of the parameters there can be."""
    limits = CandidateLimits(space, family, space.workload)
    params = [limits.params_of(space.extreme(which)) for which in (0, -1)]
    limits = replace(limits, params_m=sum(params) / 2)
    searcher = Evolution(space, limits, EVOLUTION, seed=0)
    generation: tuple[Candidate, ...] = ()
    while asked := searcher.ask():
        generation = asked
        searcher.tell([Evaluation(candidate, loss_of(candidate)) for candidate in asked])
    return generation


def ranked(population: Sequence[Candidate], ways: Ways) -> dict[str, float]:
    """Seconds a candidate and rank correlations; each candidate three ways in its turn."""
    losses: dict[str, list[float]] = {"chosen": [], "evenly": [], "whole": []}
    seconds = dict.fromkeys(losses, 0.0)
    for candidate in population:
        for way, found in losses.items():
            began = time.perf_counter()
            found.append(getattr(ways, way)(candidate))
            seconds[way] += time.perf_counter() - began
    whole = np.array(losses["whole"])
    return {
        "candidates": len(population),
        "loss_sd": float(whole.std()),
        "whole_s": seconds["whole"] / len(population),
        "chosen_s": seconds["chosen"] / len(population),
        "ratio": seconds["whole"] / seconds["chosen"],
        "spearman": spearman(losses["chosen"], whole),
        "spearman_evenly": spearman(losses["evenly"], whole),
        "error": float(np.sqrt(np.mean((np.array(losses["chosen"]) - whole) ** 2))),
        "lost_by_first": float(whole[int(np.argmin(losses["chosen"]))] - whole.min()),
    }


def pooled(population: Sequence[Candidate], loss_of: Loss, workers: int) -> tuple[float, list[float]]:
    """Seconds a candidate on so many processes that have begun, and the losses."""
    with LocalPool(loss_of, workers) as pool:
        list(pool(population[: 2 * workers]))
        began = time.perf_counter()
        losses = list(pool(population))
        return (time.perf_counter() - began) / len(population), losses


def measure(supernet: Path, candidates: int, workers: int, pairs: int | None) -> dict[str, object]:
    """Everything that is printed."""
    import torch

    torch.set_num_threads(1)
    space = load_space("g2p")
    family = get_family(space.family)
    task = load_task("g2p", say=say)
    net = load_supernet(supernet, space, family, task)
    say("choosing the subset")
    subset, choosing_s = _chosen(space, family, net, task, pairs, 1)
    whole, _ = fitness(space, family, net, task)
    chosen, _ = fitness(space, family, net, task, subset=subset)
    valid = task.pairs["valid"]
    ways = Ways(whole, chosen, InheritedLoss(net, family, fixed_subset(valid, round(subset.share * len(valid)))))
    random_ones = random_candidates(space, candidates, seed=1)  # others than the subset was chosen by, but for chance
    say("ranking random candidates")
    populations = {"random": ranked(random_ones, ways)}
    say("ranking an evolved generation")
    populations["evolved"] = ranked(evolved(space, family, chosen), ways)
    rows: dict[str, object] = {"subset": subset.summary(), "choosing_s": choosing_s, "populations": populations}
    seconds = {1: (choosing_s, populations["random"]["whole_s"], populations["random"]["chosen_s"])}
    if workers > 1:
        say(f"random candidates on {workers} workers")
        whole_s, there = pooled(random_ones, whole, workers)
        chosen_s, few = pooled(random_ones, chosen, workers)
        again, choosing_s = _chosen(space, family, net, task, pairs, workers)
        seconds[workers] = choosing_s, whole_s, chosen_s
        here = [*map(whole, random_ones[:5]), *map(chosen, random_ones)]
        rows["same"] = again == subset and here == [*there[:5], *few]
    rows["workers"] = {
        number: {
            "whole_per_minute": 60 / whole_s,
            "chosen_per_minute": 60 / chosen_s,
            "ratio": whole_s / chosen_s,
            **{name: size * whole_s / (choosing_s + size * chosen_s) for name, size in SEARCHES.items()},
            "eightfold_from": _eightfold_from(choosing_s, whole_s, chosen_s),
        }
        for number, (choosing_s, whole_s, chosen_s) in seconds.items()
    }
    return rows


def _chosen(
    space: SearchSpace, family: Family, net: SuperTransformer, task: Task, pairs: int | None, workers: int
) -> tuple[ChosenSubset, float]:
    """The subset, and the seconds it took to choose it, from nothing."""
    request = SubsetRequest(pairs=pairs)
    with TemporaryDirectory() as kept:
        began = time.perf_counter()
        chosen, _ = choose_subset(space, family, net, task, request, Path(kept), workers=workers)
        return chosen, time.perf_counter() - began


def _eightfold_from(choosing_s: float, whole_s: float, chosen_s: float) -> float | None:
    """Candidates from which on eight times as many are evaluated in the same time, choosing counted."""
    gain = whole_s - WANTED_RATIO * chosen_s
    return WANTED_RATIO * choosing_s / gain if gain > 0 else None


def told(rows: dict[str, object]) -> str:
    """The tables."""
    subset, populations, workers = rows["subset"], rows["populations"], rows["workers"]
    assert isinstance(subset, dict)
    assert isinstance(populations, dict)
    assert isinstance(workers, dict)
    lines = [
        f"subset: {subset['pairs']} of {subset['of']:,} pairs, {subset['share']:.1%} of the tokens; Spearman"
        f" {subset['spearman']:.3f} told by cross-validation; chosen in {rows['choosing_s']:.1f} s"
        f" by {subset['candidates']} candidates",
        table(
            ["population", "candidates", "sd of loss", "Spearman", "pairs spread evenly", "error", "lost by its first"],
            [
                [
                    name,
                    found["candidates"],
                    f"{found['loss_sd']:.4f}",
                    f"{found['spearman']:.3f}",
                    f"{found['spearman_evenly']:.3f}",
                    f"{found['error']:.4f}",
                    f"{found['lost_by_first']:.4f}",
                ]
                for name, found in populations.items()
            ],
        ),
        table(
            ["workers", "whole / min", "subset / min", "ratio", *(f"in {name}" for name in SEARCHES), "8 x from"],
            [
                [
                    number,
                    f"{found['whole_per_minute']:.0f}",
                    f"{found['chosen_per_minute']:.0f}",
                    f"{found['ratio']:.1f} x",
                    *(f"{found[name]:.1f} x" for name in SEARCHES),
                    "never" if found["eightfold_from"] is None else f"{found['eightfold_from']:.0f}",
                ]
                for number, found in workers.items()
            ],
        ),
        "in a search: with what choosing the subset took",
    ]
    if "same" in rows:
        lines.append(f"subset and losses are the same, bit for bit, with and without workers: {rows['same']}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--supernet", type=Path, required=True)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=None, help="size of the subset; else as hwnas subset chooses")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = measure(given.supernet, given.candidates, given.workers, given.pairs)
    print(json.dumps(rows) if given.json else told(rows))


if __name__ == "__main__":
    main()
