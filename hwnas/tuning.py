"""Tunes TVM's products for the operators of a space: tiles are tried on this machine, winners are kept and reused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from exporters.cache import export_cached
from hwnas.families.base import Family
from hwnas.families.deployed import as_deployed
from hwnas.families.fingerprint import code_fingerprint
from hwnas.latency import operators_of
from hwnas.profiling import Progress, quietly
from hwnas.space import SearchSpace
from hwnas.workload import Workload
from profiler.exporting import open_exporter
from profiler.lock import alone_on
from profiler.toolchain import ToolProcess
from profiler.toolchain.place import tuned_file

Tile = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tuned:
    """A product (rows, inner) by (inner, columns): the tile in use, the rule's own, and the ratio of their times."""

    rows: int
    columns: int
    inner: int
    tile: Tile
    rule: Tile
    ratio: float

    def as_dict(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is known now; ``left`` products were not reached within the budget."""

    tuned: tuple[Tuned, ...]
    left: int
    records: Path


def tune_space(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    cache: Path,
    budget_s: float,
    *,
    exporting: Progress = quietly,
    trying: Progress = quietly,
    waiting: Callable[[str], None] | None = None,
) -> Tuning:
    """Try tiles for every product with weights in the operators of ``space``, until ``budget_s`` is over.

    What was tried before on this processor is not tried again. Nobody else measures here meanwhile
    (:class:`profiler.DeviceBusyError`, unless ``waiting`` is to be told). Raises
    :class:`profiler.errors.ToolchainError` if the toolchain tvm is not installed.
    """
    graphs = _graphs(space, as_deployed(family, "tvm"), workload, cache, exporting)
    return tune_graphs(graphs, budget_s, trying=trying, waiting=waiting)


def tune_graphs(
    graphs: Iterable[Path],
    budget_s: float,
    *,
    trying: Progress = quietly,
    waiting: Callable[[str], None] | None = None,
) -> Tuning:
    """The same for ONNX files of fixed shapes."""
    records = tuned_file()
    with ToolProcess.open("tvm") as tool, alone_on("localhost", waiting=waiting):
        found: dict[tuple[int, int, int], None] = {}
        for graph in graphs:
            found |= dict.fromkeys((r, c, k) for r, c, k in tool.call("problems", graph=str(graph)))
        tuned: list[Tuned] = []
        began = time.monotonic()
        for problem in found:
            if time.monotonic() - began > budget_s:
                break
            trying(len(tuned), len(found), "{} x {} x {}".format(*problem))
            told = tool.call("tune", problem=list(problem), records=str(records))
            tile, rule = ((int(each[0]), int(each[1])) for each in (told["tile"], told["rule"]))
            tuned.append(Tuned(*problem, tile, rule, float(told["ratio"])))
        trying(len(found), len(found), "")
    return Tuning(tuple(tuned), len(found) - len(tuned), records)


def _graphs(space: SearchSpace, family: Family, workload: Workload, cache: Path, exporting: Progress) -> Iterator[Path]:
    """The operators of fixed shapes, as the ONNX files that TVM compiles."""
    operators, code = operators_of(space, family, workload), code_fingerprint(family)
    with open_exporter("onnxruntime") as exporter:
        for number, operator in enumerate(operators):
            exporting(number, len(operators), operator.kind)
            yield export_cached(f"fixed/{code}/{operator}", partial(family.module, operator), cache, exporter).path
    exporting(len(operators), len(operators), "")
