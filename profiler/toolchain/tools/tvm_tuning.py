"""Register tiles chosen by measuring: tried beside the rule's own, kept only where they are faster, used ever after."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
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
Call = Callable[[], object]
_CACHED, _STREAMED = 0, 1

CANDIDATES, ROUNDS, SAMPLE_S = 16, 9, 0.002
FASTER = 0.98
"""A tile takes the rule's place if it takes at most so much of its time, in two trials apart, its weights in a cache;
and no longer than it in a third, the weights streamed from memory as in a model that no cache holds."""
STREAMED_BYTES, COPIES = 64 << 20, 256
"""How much is gone through before the same weights come again in that one, in how many copies of them at most."""


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
    """Try the tiles that the rule puts first, all in the same rounds; the winner again against the rule's own.

    Returns a record: ``tile`` and ``rule`` as (rows, vectors), ``ratio`` of their times in the second trial (1 if
    they are one), and ``tried``. CPU time of one thread.
    """
    rows, columns, _ = problem
    found = tiles(rows, columns, isa)[:CANDIDATES]
    calls = {tile: _calls(problem, tile, target, isa) for tile in found}
    own = found[0]
    first = _ratios({tile: cached for tile, (cached, _) in calls.items()}, own)
    winner, ratio = min(first, key=lambda tile: first[tile]), 1.0
    if winner != own:
        ratio, streamed = (
            _ratios({tile: calls[tile][way] for tile in (own, winner)}, own)[winner] for way in (_CACHED, _STREAMED)
        )
        if max(ratio, first[winner]) > FASTER or streamed > 1:
            winner, ratio = own, 1.0
    rule = [own.rows, own.vectors]
    return {"tile": [winner.rows, winner.vectors], "rule": rule, "ratio": round(ratio, 3), "tried": len(found)}


def _calls(problem: Problem, tile: Tile, target: Any, isa: Isa) -> tuple[Call, Call]:
    """The product by a tile: on the same weights every time, and on one copy of them after the other."""
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
        kernel = tvm.compile(scheduled(tvm.IRModule({"main": function}), isa), target)["main"]
    given = rng.standard_normal((rows, inner), dtype=np.float32)
    left, ones = tvm.runtime.tensor(given), tvm.runtime.tensor(np.ones(columns, np.float32))
    result = tvm.runtime.tensor(np.zeros((rows, columns), np.float32))
    packed, turns = tvm.runtime.tensor(panels), _copies(panels)
    kernel(left, packed, ones, result)
    if not np.allclose(result.numpy(), given @ weight + 1, atol=1e-2):
        raise ValueError(f"the product {_key(problem)} by {tile} is wrong")
    return lambda: kernel(left, packed, ones, result), lambda: kernel(left, next(turns), ones, result)


def _copies(panels: Any) -> Iterator[Any]:
    """One copy after the other, and again from the first; made when the first is asked for."""
    number = max(1, min(COPIES, STREAMED_BYTES // panels.nbytes))
    yield from itertools.cycle([tvm.runtime.tensor(panels) for _ in range(number)])


def _ratios(calls: dict[Tile, Call], own: Tile) -> dict[Tile, float]:
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
