"""Latency of candidates on whichever runtime of a device is fastest for them, from a table of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwnas.errors import SearchError
from hwnas.families.base import Family
from hwnas.families.deployed import as_in_table, precision_in
from hwnas.latency import TableLatency
from hwnas.runtimes import require_comparable
from hwnas.space import Candidate, Genes, SearchSpace
from hwnas.workload import Workload
from latency_luts import LatencyLut

Array = npt.NDArray[np.float64]


class BestRuntimeLatency:
    """The least of several tables' predictions, candidate by candidate (a ``BoundedLatency``).

    All that is told of a candidate, its interval too, is by the table that predicts least for it. Where two predict
    nearly the same the least is a little low; what is found is measured in the end.
    """

    def __init__(self, models: Mapping[str, TableLatency]) -> None:
        """``models`` by runtime, all of one space and workload; the first takes what is equally fast."""
        self.models = dict(models)
        first = next(iter(self.models.values()))
        self.space, self.workload = first.space, first.workload

    @classmethod
    def of_tables(
        cls,
        space: SearchSpace,
        family: Family,
        tables: Mapping[str, LatencyLut],
        workload: Workload | None = None,
    ) -> BestRuntimeLatency:
        """From tables by what they are called (their files).

        Raises :class:`SearchError` for fewer than two runtimes, two tables of one, or several precisions (the least
        would choose a quality unasked), :class:`hwnas.errors.HwnasError` for tables of several machines, workloads or
        sources, and as :class:`TableLatency`.
        """
        require_comparable(tables)
        runtimes: dict[str, str] = {}
        precisions: dict[str, str] = {}
        for name, lut in tables.items():
            runtime, precision = lut.target.runtime_name, precision_in(as_in_table(family, lut))
            if runtime in runtimes:
                raise SearchError(f"{runtimes[runtime]} and {name} are both of {runtime}; give one table for each")
            runtimes[runtime] = name
            precisions.setdefault(precision, name)
        if len(precisions) > 1:
            told = ", ".join(f"{name} is in {precision}" for precision, name in precisions.items())
            raise SearchError(f"{told}: precisions differ in quality, which latency does not show; give tables of one")
        if len(runtimes) < 2:
            raise SearchError(
                f"the best runtime is found among tables of two or more, here is {', '.join(runtimes) or 'none'};"
                f" run: hwnas profile --space {space.name} --runtime all --out DIR"
            )
        models = {
            runtime: TableLatency(space, family, tables[name], workload=workload) for runtime, name in runtimes.items()
        }
        return cls(models)

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Those to choose from."""
        return tuple(self.models)

    def runtime_of(self, candidate: Candidate) -> str:
        """The runtime that is fastest for one candidate."""
        return self.runtimes[int(self._fastest(self.space.encode(candidate)[None])[0])]

    def latency_ms(self, genes: Genes) -> Array:
        """Milliseconds for genes of shape (candidates, choices), any integer type; shape (candidates,)."""
        least: Array = self._latencies_ms(genes).min(axis=0)
        return least

    def of(self, candidate: Candidate) -> float:
        """Milliseconds of one candidate."""
        return min(model.of(candidate) for model in self.models.values())

    def interval_ms(self, genes: Genes, confidence: float = 0.95) -> Array:
        """What a fresh measurement of each lies between, so often, on its runtime; shape (candidates, 2)."""
        return self._by_the_fastest(genes, lambda model, some: model.interval_ms(some, confidence), (2,))

    def upper_ms(self, genes: Genes, confidence: float) -> Array:
        """What a fresh measurement of each stays below, so often, on its runtime; shape (candidates,)."""
        return self._by_the_fastest(genes, lambda model, some: model.upper_ms(some, confidence), ())

    def interval_of(self, candidate: Candidate, confidence: float = 0.95) -> tuple[float, float]:
        """What a fresh measurement of one candidate lies between, so often, on its runtime."""
        return self.models[self.runtime_of(candidate)].interval_of(candidate, confidence)

    @property
    def bounded(self) -> bool:
        """Whether every table knows intervals."""
        return all(model.bounded for model in self.models.values())

    @property
    def origin(self) -> str:
        """Where the numbers are from, to be shown with them."""
        return ", ".join(dict.fromkeys(model.origin for model in self.models.values()))

    def least_upper_ms(self, confidence: float) -> float | None:
        """What :meth:`upper_ms` of no candidate is below; ``None`` if terms are too entangled to tell."""
        found = [model.least_upper_ms(confidence) for model in self.models.values()]
        known = [each for each in found if each is not None]
        return min(known) if len(known) == len(found) else None

    def fastest(self) -> tuple[float, Candidate] | None:
        """The exact minimum over the whole space and who has it; ``None`` if terms are too entangled."""
        found = [model.fastest() for model in self.models.values()]
        known = [each for each in found if each is not None]
        return min(known, key=lambda each: each[0]) if len(known) == len(found) else None

    def slowest(self) -> tuple[float, Candidate] | None:
        """The exact maximum over the whole space and who has it; ``None`` if it cannot be told.

        No least is above the lowest of the tables' maxima. It is the maximum if who has it is fastest by that table.
        """
        found = [each for each in (model.slowest() for model in self.models.values()) if each is not None]
        most = min(found, key=lambda each: each[0], default=None)
        return most if most is not None and math.isclose(self.of(most[1]), most[0], rel_tol=1e-9) else None

    def _latencies_ms(self, genes: Genes) -> Array:
        """By every table; shape (runtimes, candidates)."""
        return np.stack([model.latency_ms(genes) for model in self.models.values()])

    def _fastest(self, genes: Genes) -> npt.NDArray[np.intp]:
        """The place of the fastest runtime for each; shape (candidates,)."""
        places: npt.NDArray[np.intp] = np.argmin(self._latencies_ms(genes), axis=0)
        return places

    def _by_the_fastest(
        self, genes: Genes, ask: Callable[[TableLatency, Genes], Array], shape: tuple[int, ...]
    ) -> Array:
        """What each candidate's fastest table answers, of ``shape`` for each."""
        fastest = self._fastest(genes)
        told = np.empty((len(genes), *shape))
        for place, model in enumerate(self.models.values()):
            its = fastest == place
            told[its] = ask(model, genes[its])
        return told


def tables_of(paths: Sequence[Path], family: Family) -> tuple[dict[str, LatencyLut], tuple[str, ...]]:
    """The tables at ``paths`` by their paths; of a folder all that are in fp32, and which others were left out there.

    Raises :class:`SearchError` for a folder without tables in fp32, and as :meth:`LatencyLut.load`.
    """
    found: dict[str, LatencyLut] = {}
    left_out: list[str] = []
    for path in paths:
        if not path.is_dir():
            found[str(path)] = LatencyLut.load(path)
            continue
        within = {each: LatencyLut.load(each) for each in sorted(path.glob("*.lut.jsonl"))}
        plain = {str(each): lut for each, lut in within.items() if precision_in(as_in_table(family, lut)) == "fp32"}
        if not plain:
            raise SearchError(f"{path} has no table in fp32; run: hwnas profile --runtime all --out {path}")
        found |= plain
        left_out += [each.name for each in within if str(each) not in plain]
    return found, tuple(left_out)
