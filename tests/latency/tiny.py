"""A family small enough to enumerate: a stem, and one to three layers of two widths and three kinds."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import numpy as np

from hwnas.families.base import Count, Term
from hwnas.latency import decompose
from hwnas.space import Candidate, Choice, SearchSpace
from hwnas.workload import Workload
from latency_luts import DISPATCH, LatencyLut, OperatorRow, OperatorSpec, Subject, WholeModel
from profiler.target import Target

WORKLOAD = Workload(source_tokens=4, target_tokens=5, vocabulary=10)

TINY = SearchSpace(
    "tiny",
    "tiny",
    (
        Choice("embed", (64, 32)),
        Choice("layers", (1, 2, 3)),
        Choice("ffn.0", (8, 16, 32)),
        Choice("ffn.1", (8, 16, 32), ("layers", 2)),
        Choice("ffn.2", (8, 16, 32), ("layers", 3)),
        Choice("heads.1", (1, 2), ("layers", 2)),
    ),
    {},
    WORKLOAD,
)


class TinyFamily:
    """What tables, limits and searches ask of a family, and nothing that needs torch."""

    def terms(self, space: SearchSpace, workload: Workload) -> tuple[Term, ...]:
        terms = [Term(OperatorSpec.of("norm", tokens=workload.source_tokens), 2, {})]
        embeds, depths = enumerate((64, 32)), (1, 2, 3)
        for e, embed in embeds:
            terms.append(Term(OperatorSpec.of("stem", embed=embed), 1, {"embed": e}))
            for layer, (d, depth), (f, ffn) in product(range(3), enumerate(depths), enumerate((8, 16, 32))):
                if depth > layer:
                    operator = OperatorSpec.of("ffn", embed=embed, ffn=ffn)
                    terms.append(Term(operator, workload.target_tokens, {"embed": e, "layers": d, f"ffn.{layer}": f}))
        for (d, depth), (h, heads) in product(enumerate(depths), enumerate((1, 2))):
            if depth > 1:
                terms.append(Term(OperatorSpec.of("attention", heads=heads), 3, {"layers": d, "heads.1": h}))
        return tuple(terms)

    def count(self, space: SearchSpace, candidate: Candidate, workload: Workload, convention: str) -> Count:
        params = candidate["embed"] * sum(v for name, v in candidate.entries if name.startswith("ffn"))
        return Count(params, params)

    def peak_memory_bytes(self, space: SearchSpace, candidate: Candidate, workload: Workload) -> int:
        return 2**20 * candidate["layers"]


def latency_of(operator: OperatorSpec) -> float:
    """A made-up latency that tells operators apart."""
    sizes = dict(operator.sizes)
    return 0.01 + 0.001 * sizes.get("embed", 3) * sizes.get("ffn", 2) ** 0.8 / 10 + 0.003 * sizes.get("heads", 0)


def tiny_lut(**changes: object) -> LatencyLut:
    """A table of all operators of ``TINY``."""
    operators = {DISPATCH, *(term.operator for term in TinyFamily().terms(TINY, WORKLOAD))}
    rows = {
        op: OperatorRow(op, 0.004 if op == DISPATCH else latency_of(op), 10, 50, f"sha-{op}", 1e-7)
        for op in sorted(operators)
    }
    fields: dict[str, object] = {
        "target": Target("here", "runtime-1", 1, "thread_cpu"),
        "workload": WORKLOAD.as_dict(),
        "subject": Subject("tiny", TINY.fingerprint),
        "rows": rows,
        "rounds": 10,
    }
    return LatencyLut(**(fields | changes))  # type: ignore[arg-type]


def bounded_lut(form: float = 0.02, seed: int = 0) -> LatencyLut:
    """A calibrated table of ``TINY`` whose whole models are off by ``form``, with energies and intervals."""
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    plain = tiny_lut()
    rows = {
        op: replace(row, interval_ms=(0.99 * row.latency_ms, 1.01 * row.latency_ms), metrics={"energy_mj": 0.1 * n})
        for n, (op, row) in enumerate(plain.rows.items(), start=1)
    }
    models = []
    for number in range(20):
        candidate = TINY.sample(draw)
        operators = decompose(TINY, TinyFamily(), WORKLOAD, candidate)
        latency_ms = 0.01 + 1.2 * sum(n * plain.latencies_ms[op] for op, n in operators.items())
        latency_ms *= float(np.exp(form * rng.normal()))
        role = "calibration" if number < 10 else "check"
        halves = (latency_ms, latency_ms)
        models.append(
            WholeModel(f"m{number}", role, candidate.as_dict(), operators, latency_ms, halves, 10, 50, "sha", 0.0)
        )  # type: ignore[arg-type]
    return replace(plain, rows=rows, models=tuple(models)).calibrated()
