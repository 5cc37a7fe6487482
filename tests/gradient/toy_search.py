"""A search by gradients of a toy space with a made-up table."""

from pathlib import Path

import torch

from hwnas.device_limits import DeviceLimits
from hwnas.evaluation import validation_loss
from hwnas.families.base import Vocabularies
from hwnas.gradient.darts import DartsSettings
from hwnas.gradient.gumbel import GumbelSettings
from hwnas.gradient.proxyless import ProxylessSettings
from hwnas.gradient.search import find_by_gradient
from hwnas.gradient.settings import GradientSettings
from hwnas.latency import TableLatency, operators_of
from hwnas.limits import CandidateLimits
from hwnas.search.protocol import one_by_one
from hwnas.search.run import SearchResult, search_header
from hwnas.space import Candidate
from hwnas.supernet import SuperTransformer
from latency_luts import DISPATCH, LatencyLut, OperatorRow, Subject
from profiler import Target
from tests.training.toy import FAMILY, SPACE, toy_task

TASK = toy_task()
METHODS: dict[str, type[GradientSettings]] = {
    "proxyless": ProxylessSettings,
    "darts": DartsSettings,
    "gumbel": GumbelSettings,
}


def toy_latency() -> TableLatency:
    """Made-up latencies that tell widths, heads and depth apart, none of them by more than all the others."""

    def latency_ms(sizes: dict[str, int]) -> float:
        return 1e-4 + 1e-5 * sizes.get("embed", 0) * sizes.get("ffn", 6) + 2e-5 * sizes.get("heads", 0)

    operators = (DISPATCH, *operators_of(SPACE, FAMILY, SPACE.workload))
    rows = {op: OperatorRow(op, latency_ms(dict(op.sizes)), 5, 25, f"sha-{op}", 1e-7) for op in operators}
    table = LatencyLut(
        target=Target("here", "onnxruntime-1", 1, "thread_cpu"),
        workload=SPACE.workload.as_dict(),
        subject=Subject("toy", SPACE.fingerprint),
        rows=rows,
        models=(),
        rounds=5,
    )
    return TableLatency.from_lut(SPACE, FAMILY, table)


LATENCY = toy_latency()


def toy_limits(share: float | None, **more: float) -> DeviceLimits:
    """A latency limit so far between the fastest and the slowest candidate."""
    fastest, slowest = LATENCY.fastest(), LATENCY.slowest()
    assert fastest is not None and slowest is not None
    limit_ms = None if share is None else fastest[0] + share * (slowest[0] - fastest[0])
    return DeviceLimits(
        {"here": CandidateLimits(SPACE, FAMILY, SPACE.workload, LATENCY, latency_ms=limit_ms, **more)}  # type: ignore[arg-type]
    )


def toy_supernet() -> SuperTransformer:
    torch.manual_seed(0)
    return SuperTransformer(
        FAMILY, SPACE, Vocabularies(len(TASK.source_vocabulary), len(TASK.target_vocabulary))
    ).eval()


def search(
    out: Path,
    settings: GradientSettings,
    *,
    share: float | None = 0.5,
    seed: int = 0,
    supernet: SuperTransformer | None = None,
    progress=lambda done, total, told: None,
    **more: object,
) -> SearchResult:
    """A whole search on 48 validation pairs, its files in ``out``."""
    pairs = TASK.pairs["valid"][:48]
    net = supernet or toy_supernet()

    def loss_of(candidate: Candidate) -> float:
        with net.active(candidate) as model:
            return validation_loss(model, FAMILY, pairs)

    given = {"limits": toy_limits(share), "pairs": pairs, **more}
    return find_by_gradient(
        FAMILY,
        net,
        TASK,
        settings=settings,
        evaluate=one_by_one(loss_of),
        seed=seed,
        journal=out / "search.journal.jsonl",
        header=search_header(
            SPACE,
            searcher=type(settings).__name__,
            settings=settings.as_dict(),
            seed=seed,
            limits=given["limits"].describe(),  # type: ignore[attr-defined]
            evaluator="48 pairs",
        ),
        progress=progress,
        **given,  # type: ignore[arg-type]
    )
