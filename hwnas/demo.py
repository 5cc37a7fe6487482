"""The whole chain on this machine and real data: train, measure, search, export, prove, and report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.deploy.bundle import Promise
from hwnas.deploy.export import export_bundle
from hwnas.explain import explain
from hwnas.families import get_family
from hwnas.files import write_json
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits, latency_range_ms
from hwnas.profiling import profile_space
from hwnas.report.page import write_report
from hwnas.report.run import DEMO, EXPLANATION, PAGE
from hwnas.sampling import Sampling
from hwnas.search.evolution import EvolutionSettings
from hwnas.search.journal import read_candidates
from hwnas.search.outcome import SearchOutcome
from hwnas.search.request import SearchRequest
from hwnas.searching import JOURNAL, search_and_measure
from hwnas.space import Candidate
from hwnas.spaces import load_space
from profiler import Device
from profiler.exporting import format_of

if TYPE_CHECKING:
    from hwnas.cli.console import Bar
    from hwnas.data.task import Task
    from hwnas.families.base import Family
    from hwnas.supernet import SuperTransformer

SPACE = "g2p"


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """How much of everything; the defaults take some ten minutes on two cores.

    ``limit_share`` puts the latency limit that far between the fastest and the slowest
    SubTransformer; the search holds it against what a measurement stays below at ``confidence``.
    The search is HAT's with a smaller population, on a fixed subset of the validation words: HAT's
    settings (3,125 different candidates) on all of them would take about an hour for each of the two searches.
    """

    updates: int = 9000
    finetune_updates: int = 600
    rounds: int = 40
    calibration: int = 10
    check: int = 20
    limit_share: float = 0.5
    confidence: float = 0.95
    evolution: EvolutionSettings = field(
        default_factory=lambda: EvolutionSettings(population=60, parents=12, mutants=20, crossovers=20, iterations=20)
    )
    validation_pairs: int = 500
    finalists: int = 3
    seed: int = 0


class _Steps:
    """Times what every step takes, over all runs, and shows its progress."""

    def __init__(self, kept: Path, bar: Callable[[str], AbstractContextManager[Bar]]) -> None:
        self._kept, self._bar = kept, bar
        self.seconds: dict[str, float] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[Bar]:
        began = time.monotonic()
        try:
            with self._bar(name) as shown:
                yield shown
        finally:  # an interrupted step counts too: what is told in the end is what everything took
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began
            write_json(self._kept, self.seconds)


def _scored(
    models: Mapping[str, Candidate],
    supernet: SuperTransformer,
    family: Family,
    task: Task,
    latency: TableLatency,
    shown: Bar,
) -> list[dict[str, object]]:
    """Predicted latency and quality on the test split of SubTransformers with inherited weights."""
    from hwnas.evaluation import quality_of

    rows: list[dict[str, object]] = []
    for number, (name, candidate) in enumerate(models.items()):
        shown.update(number, len(models), name)
        with supernet.active(candidate) as model:
            quality = quality_of(model, family, task, "test")
        rows.append({"model": name, "predicted_ms": latency.of(candidate), **quality})
    return rows


def run_demo(
    device: Device,
    out: Path,
    cache: Path,
    settings: DemoSettings,
    *,
    say: Callable[[str], None],
    bar: Callable[[str], AbstractContextManager[Bar]],
) -> dict[str, object]:
    """Run every step in ``out``, skipping what an interrupted run has finished, and return the figures.

    While another process measures on ``device`` it waits, and says so.
    """
    from hwnas.cross_check import measured_check
    from hwnas.data import load_task
    from hwnas.training import FinetuneSettings, TrainingSettings, finetune, train_supernet

    step = _Steps(out / "seconds.json", bar)
    space = load_space(SPACE)
    family = get_family(space.family)
    workload = space.workload
    task = load_task(SPACE, say=say)
    say(
        f"data: {len(task.references['train']):,} training, {len(task.references['valid']):,} validation,"
        f" {len(task.references['test']):,} test words of the CMU Pronouncing Dictionary"
    )

    with step("training the SuperTransformer") as shown:
        supernet = train_supernet(
            space,
            family,
            task,
            TrainingSettings(updates=settings.updates, seed=settings.seed),
            out / "supernet.pt",
            lambda p: shown.update(p.update, p.updates, f"loss {p.loss:.3f}, {p.tokens_per_s / 1000:.1f} k tokens/s"),
        ).supernet

    sampling = Sampling(
        rounds=settings.rounds, calibration=settings.calibration, check=settings.check, seed=settings.seed
    )
    with step("measuring operators") as shown:
        table = profile_space(
            space,
            family,
            workload,
            device,
            out / f"{device.name}.lut.jsonl",
            sampling,
            cache=cache,
            exporting=shown.update,
            measuring=shown.update,
            waiting=say,
        )
    assert table.calibration is not None
    held_out = table.calibration.evaluate(table.models_of("check"))

    latency = TableLatency(space, family, table, workload=workload)
    low_ms, high_ms = latency_range_ms(space, latency)
    limit_ms = low_ms + settings.limit_share * (high_ms - low_ms)
    limits = CandidateLimits(space, family, workload, latency, latency_ms=limit_ms)

    def search(method: str, exclude: Sequence[Candidate] = ()) -> SearchOutcome:
        request = SearchRequest(
            method,
            settings.evolution,
            settings.seed,
            settings.validation_pairs,
            settings.finalists,
            settings.rounds,
            confidence=settings.confidence,
        )
        with step(f"{method} search") as shown:
            return search_and_measure(
                space, family, supernet, task, table, limits, request, out / f"search-{method}",
                device=device, exclude=exclude, cache=cache, searching=shown.update, measuring=shown.update,
                waiting=say,
            )  # fmt: skip

    evolution = search("evolution")
    random_search = search("random", exclude=read_candidates(out / "search-evolution" / JOURNAL, space))
    best = evolution.winner or evolution.finalists[0]
    rival = random_search.winner or random_search.finalists[0]

    models = {
        "winner": best.candidate,
        "random search's best": rival.candidate,
        "smallest SubTransformer": space.extreme(0),
        "largest SubTransformer": space.extreme(-1),
    }
    with step("scoring on the test words") as shown:
        rows = _scored(models, supernet, family, task, latency, shown)
    with step("fine-tuning the winner") as shown:
        model = finetune(
            supernet.extract(best.candidate),
            family,
            task,
            FinetuneSettings(updates=settings.finetune_updates, seed=settings.seed),
            out / "winner.pt",
            lambda p: shown.update(p.update, p.updates, f"loss {p.loss:.3f}"),
        )
    with step("exporting and proving") as shown:
        manifest = export_bundle(
            space, family, best.candidate, model, task, workload, device,
            Promise(limit_ms, best.predicted_ms, str(table.target)), out / "bundle",
            say=say, measuring=shown.update, waiting=say,
        )  # fmt: skip
    if format_of(device.runtime) == "onnx":  # nodes of other runtimes do not say which operator's they are
        with step("profiling the winner"):
            found = explain(latency, best.candidate)
            check = measured_check(found, latency, family, device, cache, say)
        write_json(out / EXPLANATION, found.as_dict() | {"cross_check": check.as_dict()})
    report: dict[str, object] = {
        "settings": asdict(settings),
        "device": device.name,
        "target": str(table.target),
        "operators": len(table.rows),
        "seconds": step.seconds,
        "held_out": held_out.as_dict(),
        "range_ms": [low_ms, high_ms],
        "limit_ms": limit_ms,
        "winner_met_limit": evolution.winner is not None,
        "evaluations": evolution.evaluations,
        "validation_pairs": settings.validation_pairs,
        "evolution": evolution.as_dict(),
        "random": random_search.as_dict(),
        "models": rows,
        "winner": manifest,
        "bundle": str(out / "bundle"),
        "report": str(out / PAGE),
    }
    write_json(out / DEMO, report)
    write_report([out], out / PAGE)
    return report
