"""Register tiles chosen by measuring: tried beside the rule's own, kept only where they are faster, used ever after."""

from __future__ import annotations

import hashlib
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
import tvm_dense
from tvm import te
from tvm_isa import Isa, Tile, tiles
from tvm_schedules import scheduled

Problem = tuple[int, int, int]
"""Rows, columns and inner length of a product with weights."""
Choose = Callable[[int, int, int], Tile]

CANDIDATES, ROUNDS, SAMPLE_S = 16, 9, 0.002
FASTER = 0.98
"""A tile takes the place of the rule's if it takes at most so much of its time, in two trials apart."""


@dataclass(frozen=True, slots=True)
class Records:
    """A JSON file: target -> problem -> the tile that won and the rule's own that it was tried against."""

    path: Path | None
    target: str

    def all(self) -> dict[str, Any]:
        """What is known of this target; nothing if the file is not there."""
        return dict(self._document().get(self.target, {}))

    def digest(self) -> str:
        """Tells what is known of this target; empty if nothing."""
        known = self.all()
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:8] if known else ""

    def choose(self, isa: Isa) -> Choose:
        """The tile that won; the rule's where nothing was tried, or the rule says something else by now."""
        known = self.all()

        def chosen(rows: int, columns: int, inner: int) -> Tile:
            own = tiles(rows, columns, isa)[0]
            record = known.get(_key((rows, columns, inner)))
            if record is None or record["rule"] != [own.rows, own.vectors]:
                return own
            return Tile(*record["tile"], isa.lanes)

        return chosen

    def add(self, problem: Problem, record: dict[str, Any]) -> None:
        """Write the file anew, whole or not at all."""
        assert self.path is not None
        document = self._document()
        document.setdefault(self.target, {})[_key(problem)] = record
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(document, indent=1, sort_keys=True), encoding="utf-8")
        partial.replace(self.path)

    def _document(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.path.read_text(encoding="utf-8"))) if self.path is not None else {}
        except FileNotFoundError:
            return {}
        except ValueError as exc:
            raise ValueError(f"{self.path} is damaged ({exc}); remove it, and tune again") from exc


def _key(problem: Problem) -> str:
    return "x".join(map(str, problem))


def tune(problem: Problem, target: Any, isa: Isa) -> dict[str, Any]:
    """Try the tiles that the rule puts first, all in the same rounds; the winner once more against the rule's own.

    Returns a record: ``tile`` and ``rule`` as (rows, vectors), ``ratio`` of their times in the second trial (1 if
    they are one), and ``tried``. CPU time of one thread, weights in whatever cache they fit.
    """
    rows, columns, _ = problem
    found = tiles(rows, columns, isa)[:CANDIDATES]
    calls = {tile: _call(problem, tile, target, isa) for tile in found}
    own, ratio = found[0], 1.0
    first = _ratios(calls, own)
    winner = min(first, key=lambda tile: first[tile])
    if winner != own:
        ratio = _ratios({own: calls[own], winner: calls[winner]}, own)[winner]
    if max(ratio, first[winner]) > FASTER:
        winner, ratio = own, 1.0
    rule = [own.rows, own.vectors]
    return {"tile": [winner.rows, winner.vectors], "rule": rule, "ratio": round(ratio, 3), "tried": len(found)}


def _call(problem: Problem, tile: Tile, target: Any, isa: Isa) -> Callable[[], object]:
    rows, columns, inner = problem
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((inner, columns), dtype=np.float32)
    panels = tvm_dense.pack(weight, tile)
    x, w = te.placeholder((rows, inner), name="x"), te.placeholder(panels.shape, name="w")
    bias = te.placeholder((columns,), name="bias")
    product = tvm_dense.dense(x, w, columns, tile)
    shifted = te.compute((rows, columns), lambda i, j: product(i, j) + bias[j], name="shifted")
    function = te.create_prim_func([x, w, bias, shifted])
    with target:
        built = tvm.compile(scheduled(tvm.IRModule({"main": function}), isa), target)
    given = rng.standard_normal((rows, inner), dtype=np.float32)
    tensors = [tvm.runtime.tensor(array) for array in (given, panels, np.ones(columns, np.float32))]
    result = tvm.runtime.tensor(np.zeros((rows, columns), np.float32))
    kernel = built["main"]
    kernel(*tensors, result)
    if not np.allclose(result.numpy(), given @ weight + 1, atol=1e-2):
        raise ValueError(f"the product {_key(problem)} by {tile} is wrong")
    return lambda: kernel(*tensors, result)


def _ratios(calls: dict[Tile, Callable[[], object]], own: Tile) -> dict[Tile, float]:
    """Median over rounds, each in random order, of a tile's time over the rule's own."""
    rng, taken = random.Random(0), {tile: list[float]() for tile in calls}
    began = time.thread_time()
    calls[own]()
    number = max(1, round(SAMPLE_S / max(1e-6, time.thread_time() - began)))
    for _ in range(ROUNDS):
        for tile in rng.sample(list(calls), len(calls)):
            began = time.thread_time()
            for _ in range(number):
                calls[tile]()
            taken[tile].append(time.thread_time() - began)
    return {
        tile: statistics.median(a / b for a, b in zip(seconds, taken[own], strict=True))
        for tile, seconds in taken.items()
    }
