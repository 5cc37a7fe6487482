"""Does a search by gradients end at its target, and with a loss that random search of equal cost does not reach?

    python -m benchmarks.gradient_targets --supernet runs/demo/supernet.pt --table runs/demo/x86.lut.jsonl
        [--targets 10] [--methods proxyless darts gumbel] [--seed 0] [--out FILE] [--json]

For targets across the feasible range: the expectation before the repair, the least certain choice, what the winner
is predicted to take, and its loss; beside it random search for as much CPU time, and ProxylessNAS's two losses with
their published coefficients and binary gates. Then what an epoch costs against one of training the SuperTransformer,
and the peak memory against training one SubTransformer. A minute or so a target and method on one quiet core.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from benchmarks.peak_memory import PeakMemory
from hwnas.cli.console import say, table
from hwnas.data import load_task
from hwnas.data.batching import batch_of_update
from hwnas.data.task import Pair, Task
from hwnas.device_limits import DeviceLimits
from hwnas.evaluation import validation_loss
from hwnas.expected import ExpectedLatency
from hwnas.families import get_family
from hwnas.families.base import Family
from hwnas.files import write_json
from hwnas.gradient.proxyless import ProxylessSettings
from hwnas.gradient.repair import NEAR
from hwnas.gradient.search import SUMMARY, find_by_gradient
from hwnas.gradient.settings import GradientSettings
from hwnas.gradient.steps import Aim, Lessons, Steps
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits, latency_range_ms
from hwnas.search.methods import settings_of
from hwnas.search.protocol import one_by_one
from hwnas.search.run import search_header
from hwnas.search.sampling import FeasibleSampler
from hwnas.space import Candidate, SearchSpace
from hwnas.spaces import load_space
from hwnas.supernet import SuperTransformer
from hwnas.training import TrainingSettings, load_supernet, train_supernet
from latency_luts import LatencyLut

PUBLISHED = {
    "ProxylessNAS mul": ProxylessSettings(binary=True, latency="mul"),
    "ProxylessNAS add": ProxylessSettings(binary=True, latency="add"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """Of one method at one target; shares are of the target, ``evaluations`` what its CPU time was worth."""

    method: str
    target_ms: float
    expected: float
    certainty: float
    predicted: float
    loss: float
    evaluations: int
    random_loss: float
    random_predicted: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What all searches share."""

    space: SearchSpace
    family: Family
    task: Task
    supernet: SuperTransformer
    latency: TableLatency
    pairs: Sequence[Pair]
    seed: int

    def loss_of(self, candidate: Candidate) -> float:
        """With inherited weights, nats per token."""
        with self.supernet.active(candidate) as model:
            return validation_loss(model, self.family, self.pairs)

    def search(self, settings: GradientSettings, limits: DeviceLimits) -> tuple[dict[str, float], float]:
        """Figures of the search, and its CPU time in seconds."""
        limit_ms = limits.first.latency_ms
        assert limit_ms is not None
        with tempfile.TemporaryDirectory() as folder:
            journal = Path(folder) / "search.journal.jsonl"
            began = time.process_time()
            result = find_by_gradient(
                self.family,
                self.supernet,
                self.task,
                limits,
                settings,
                evaluate=one_by_one(self.loss_of),
                seed=self.seed,
                journal=journal,
                header=search_header(
                    self.space, searcher="", settings=settings.as_dict(), seed=self.seed, limits="", evaluator=""
                ),
                pairs=self.pairs,
            )
            spent_s = time.process_time() - began
            learnt = json.loads((journal.with_name(SUMMARY)).read_text())
        return {
            "expected": learnt["expected"] / limit_ms,
            "certainty": min(learnt["top_probability"].values()),
            "predicted": self.latency.of(result.best.candidate) / limit_ms,
            "loss": result.best.loss,
        }, spent_s

    def random(self, limits: DeviceLimits, longest_s: float) -> Iterator[tuple[float, Candidate, float]]:
        """CPU seconds so far, candidate and loss of random search."""
        rng = random.Random(self.seed)
        sampler = FeasibleSampler(self.space, limits, rng, probes=limits.probes())
        spent_s = 0.0
        while spent_s < longest_s and (drawn := sampler.fresh(20)):
            for candidate in drawn:
                began = time.process_time()
                loss = self.loss_of(candidate)
                spent_s += time.process_time() - began
                yield spent_s, candidate, loss


def at_targets(bench: Bench, shares: Sequence[float], methods: dict[str, GradientSettings]) -> Iterator[Row]:
    """Every method at every target, given as shares of the range."""
    low_ms, high_ms = latency_range_ms(bench.space, bench.latency)
    free = CandidateLimits(bench.space, bench.family, bench.latency.workload, bench.latency)
    for share in shares:
        target_ms = low_ms + share * (high_ms - low_ms)
        limits = DeviceLimits({"": replace(free, latency_ms=target_ms)})
        found = {}
        for method, settings in methods.items():
            say(f"{method} at {target_ms:.4g} ms")
            found[method] = bench.search(settings, limits)
        drawn = list(bench.random(limits, max(spent_s for _, spent_s in found.values())))
        for method, (figures, cpu_s) in found.items():
            rivals = [(loss, candidate) for spent_s, candidate, loss in drawn if spent_s <= cpu_s]
            loss, rival = min(rivals, key=lambda pair: pair[0])
            predicted = bench.latency.of(rival) / target_ms
            yield Row(
                method, target_ms, **figures, evaluations=len(rivals), random_loss=loss, random_predicted=predicted,
                cpu_s=cpu_s,
            )  # fmt: skip


def epoch_ratios(bench: Bench, methods: dict[str, GradientSettings], steps: int) -> dict[str, float]:
    """CPU time of an epoch of each search, over that of an epoch of training the SuperTransformer.

    With adapted weights an epoch of the search visits the data once too: a half for the weights, a half for the
    architecture. A frozen one takes steps on the architecture alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingSettings(updates=steps, checkpoint_every=steps)
        training_s = _cpu_s(
            lambda: train_supernet(bench.space, bench.family, bench.task, settings, Path(folder) / "supernet.pt")
        )
        ratios = {}
        for method, its in methods.items():
            for adapt, rounds in ((False, steps), (True, steps // 2)):
                search = _steps(bench, replace(its, steps=rounds, checkpoint_every=rounds, adapt_weights=adapt))
                path = Path(folder) / f"{method}-{adapt}.pt"
                taken_s = _cpu_s(lambda search=search, path=path: search.run(path, {}, lambda done, told: None))
                ratios[f"{method}, weights {'adapted' if adapt else 'frozen'}"] = taken_s / training_s
    return ratios


def memory_ratios(bench: Bench, methods: dict[str, GradientSettings], steps: int) -> dict[str, float]:
    """Peak memory of searches over that of training the largest SubTransformer alone (``mean``: a random one)."""
    rng = random.Random(bench.seed)
    largest = _training_bytes(bench, bench.space.extreme(-1), steps)
    mean = statistics.fmean(_training_bytes(bench, bench.space.sample(rng), steps) for _ in range(10))
    ratios = {"training a random SubTransformer, mean of 10": mean / largest}
    for method, its in methods.items():
        for adapt in (False, True):
            settings = replace(its, steps=steps, checkpoint_every=steps, adapt_weights=adapt)
            search = _steps(bench, settings)
            with tempfile.TemporaryDirectory() as folder, PeakMemory(search.tensors()) as memory:
                search.run(Path(folder) / "search.pt", {}, lambda done, told: None)
            ratios[f"{method}, weights {'adapted' if adapt else 'frozen'}"] = memory.peak / largest
    return ratios


def _training_bytes(bench: Bench, candidate: Candidate, steps: int) -> int:
    model = bench.supernet.extract(candidate).train()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    with PeakMemory([*model.parameters(), *model.buffers()]) as memory:
        for step in range(steps):
            batch = batch_of_update(bench.task.pairs["train"], 64, bench.seed, step)
            loss, tokens = bench.family.loss(model, batch, 0.0)
            (loss / tokens).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return memory.peak


def _steps(bench: Bench, settings: GradientSettings) -> Steps:
    low_ms, high_ms = latency_range_ms(bench.space, bench.latency)
    aim = Aim(target_ms=lambda architecture: (low_ms + high_ms) / 2)
    lessons = Lessons(bench.task.pairs["train"], bench.task.pairs["train"])
    return Steps(bench.family, bench.supernet, lessons, ExpectedLatency(bench.latency), aim, settings, seed=bench.seed)


def _cpu_s(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def main() -> None:
    """Search, and print tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--space", default="g2p")
    parser.add_argument("--data", default="g2p")
    parser.add_argument("--supernet", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--targets", type=int, default=10)
    parser.add_argument("--methods", nargs="+", default=["proxyless"], choices=["proxyless", "darts", "gumbel"])
    parser.add_argument("--published", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--validation-pairs", type=int, default=500)
    parser.add_argument("--steps", type=int, default=None, help="Else the methods' own.")
    parser.add_argument("--cost-steps", type=int, default=100, help="Steps to time, and a tenth to weigh.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="Keep the rows here as they come.")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    space = load_space(given.space)
    family, task = get_family(space.family), load_task(given.data, say=say)
    pairs = task.pairs["valid"]
    bench = Bench(
        space,
        family,
        task,
        load_supernet(given.supernet, space, family, task),
        TableLatency.from_lut(space, family, LatencyLut.load(given.table)),
        tuple(pairs[i * len(pairs) // given.validation_pairs] for i in range(given.validation_pairs)),
        given.seed,
    )
    more = {} if given.steps is None else {"steps": given.steps}
    ours: dict[str, GradientSettings] = {}
    for method in given.methods:
        settings = settings_of(method, more)
        assert isinstance(settings, GradientSettings)
        ours[method] = settings
    methods = ours | ({name: replace(s, **more) for name, s in PUBLISHED.items()} if given.published else {})
    shares = [(number + 0.5) / given.targets for number in range(given.targets)]
    rows: list[Row] = []
    for row in at_targets(bench, shares, methods):
        rows.append(row)
        if given.out is not None:
            write_json(given.out, [asdict(each) for each in rows])
    epochs, memory = epoch_ratios(bench, ours, given.cost_steps), memory_ratios(bench, ours, given.cost_steps // 10)
    if given.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "epochs": epochs, "memory": memory}, indent=2))
        return
    print(
        table(
            ["target ms", "method", "expected", "certainty", "predicted", "loss", "random", "evaluations", "CPU s"],
            [
                [
                    f"{row.target_ms:.4f}", row.method, f"{row.expected:.3f}", f"{row.certainty:.2f}",
                    f"{row.predicted:.3f}", f"{row.loss:.4f}", f"{row.random_loss:.4f}", row.evaluations,
                    f"{row.cpu_s:.0f}",
                ]
                for row in rows
            ],
        )
    )  # fmt: skip
    for method in methods:
        its = [row for row in rows if row.method == method]
        print(
            f"{method}: at the target {sum(NEAR <= row.predicted <= 1 for row in its)} of {len(its)},"
            f" expected within 5 % {sum(abs(row.expected - 1) <= 0.05 for row in its)},"
            f" all choices at least 0.9 {sum(row.certainty >= 0.9 for row in its)},"
            f" loss at most random's {sum(row.loss <= row.random_loss for row in its)}"
        )
    print(table(["an epoch over one of training the SuperTransformer", "CPU time"], _told(epochs)))
    print(table(["peak memory over training the largest SubTransformer", "tensors"], _told(memory)))


def _told(ratios: dict[str, float]) -> list[list[str]]:
    return [[name, f"{ratio:.2f}"] for name, ratio in ratios.items()]


if __name__ == "__main__":
    main()
