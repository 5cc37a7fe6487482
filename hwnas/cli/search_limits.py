"""From the options of ``hwnas search`` to tables, and to what candidates must meet on each of their devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hwnas.cli.console import say
from hwnas.cli.options import note_losses, workload_of

if TYPE_CHECKING:
    from hwnas.best_runtime import BestRuntimeLatency
    from hwnas.families.base import Family
    from hwnas.finalists import SearchLatency
    from hwnas.latency import TableLatency
    from hwnas.limits import CandidateLimits
    from hwnas.space import SearchSpace
    from latency_luts import LatencyLut
    from profiler import Device

BEST = "best"


@dataclass(frozen=True, slots=True)
class Devices:
    """The first table (``None`` with a predictor) with its limits, and the limits of further tables by device.

    ``runtimes`` are the tables of one device among whose runtimes the best is searched for; then the first is the first
    of these.
    """

    table: LatencyLut | None
    limits: CandidateLimits
    elsewhere: Mapping[str, CandidateLimits]
    runtimes: Mapping[str, LatencyLut]

    def require_targets(self, device: Device) -> None:
        """Raises :class:`latency_luts.LutMismatchError` if the first table, or one by runtime, is not of ``device``."""
        from hwnas.profiling import require_target

        for runtime, table in self.runtimes.items():
            require_target(table.target, device.model_copy(update={"runtime": runtime}))
        if not self.runtimes and self.table is not None:
            require_target(self.table.target, device)


def devices_of(
    space: SearchSpace,
    family: Family,
    luts: Sequence[Path],
    predictor: Path | None,
    sizes: Mapping[str, int | None],
    *,
    latency_ms: Sequence[float],
    energy_mj: float | None,
    params_m: float | None,
    peak_memory_mib: float | None,
    runtime: str | None = None,
) -> Devices:
    """Read what ``luts`` or ``predictor`` say; ``latency_ms`` has a limit for each table, in their order, or none.

    With the ``runtime`` :data:`BEST` the tables, or those in a folder, are of one device, and there is one limit.
    """
    from hwnas.errors import SearchError
    from hwnas.latency import TableLatency
    from hwnas.limits import CandidateLimits

    if bool(luts) == (predictor is not None):
        raise typer.BadParameter("give either --table or --predictor, or --co-search", param_hint="--table")
    if runtime not in (None, BEST):
        raise typer.BadParameter(f"there is {BEST} alone; for one runtime give its --table", param_hint="--runtime")
    further = luts[1:] if runtime is None else ()
    if latency_ms and len(latency_ms) != 1 + len(further):
        told = f"{1 + len(further)} tables" if runtime is None else f"--runtime {BEST}"
        raise SearchError(
            f"--latency-ms is given {len(latency_ms)} times for {told};"
            " give one for each, in the order of the tables (inf for none)"
        )
    limits_ms = [None if limit == inf and further else limit for limit in latency_ms] or [None] * (1 + len(further))
    if runtime is None:
        table, latency = _first(space, family, luts, predictor, sizes)
        runtimes: Mapping[str, LatencyLut] = {}
    elif predictor is not None:
        raise typer.BadParameter(f"--runtime {BEST} needs tables: --table DIR", param_hint="--predictor")
    else:
        best = _best(space, family, luts, sizes)
        latency, runtimes = best, {name: model.lut for name, model in best.models.items()}
        table = next(iter(runtimes.values()))
    if energy_mj is not None and not isinstance(latency, TableLatency):
        what = "a predictor" if runtime is None else f"--runtime {BEST}"
        raise SearchError(f"--energy-mj needs one --table that has energies: {what} knows latencies alone")
    limits = CandidateLimits(
        space,
        family,
        latency.workload,
        latency,
        latency_ms=limits_ms[0],
        params_m=params_m,
        peak_memory_mib=peak_memory_mib,
        energy=latency.metric("energy_mj") if energy_mj is not None and isinstance(latency, TableLatency) else None,
        energy_mj=energy_mj,
    )
    targets = [] if table is None else [table.target]
    elsewhere = {}
    for path, limit_ms in zip(further, limits_ms[1:], strict=True):
        content, its = _of_table(space, family, path, sizes)
        if content.target in targets:
            raise SearchError(f"{path} is a second table of {content.target}; give one table for each")
        alone = content.target.device not in {target.device for target in targets}
        targets.append(content.target)
        name = content.target.device if alone else str(content.target)
        elsewhere[name] = CandidateLimits(space, family, its.workload, its, latency_ms=limit_ms)
    for held in (limits, *elsewhere.values()):
        _note_slack(held)
    return Devices(table, limits, elsewhere, runtimes)


def _note_slack(limits: CandidateLimits) -> None:
    """Say so if a latency limit holds nothing back."""
    from hwnas.limits import latency_range_ms
    from hwnas.search.protocol import RangedLatency

    if isinstance(limits.latency, RangedLatency) and limits.latency.slowest() is None:
        return  # nobody knows
    if limits.latency is not None and limits.latency_ms is not None:
        low_ms, high_ms = latency_range_ms(limits.space, limits.latency)
        if limits.latency_ms > high_ms:
            say(
                f"note: every candidate is predicted to meet latency <= {limits.latency_ms:g} ms: they have"
                f" {low_ms:.4g} to {high_ms:.4g} ms"
            )


def _first(
    space: SearchSpace, family: Family, luts: Sequence[Path], predictor: Path | None, sizes: Mapping[str, int | None]
) -> tuple[LatencyLut | None, SearchLatency]:
    """What predicts the latencies: a table, or a whole-model predictor (and then no table)."""
    from hwnas.predictors import FittedModel, PredictorLatency
    from latency_luts import LutMismatchError

    if predictor is None:
        return _of_table(space, family, luts[0], sizes)
    fitted = PredictorLatency(space, FittedModel.load(predictor))
    if workload_of(fitted.workload, **sizes) != fitted.workload:
        raise LutMismatchError(
            f"{predictor} is of another workload ({fitted.workload}); fit it with the one you ask about"
        )
    return None, fitted


def _best(
    space: SearchSpace, family: Family, luts: Sequence[Path], sizes: Mapping[str, int | None]
) -> BestRuntimeLatency:
    """The least by the tables at ``luts``, some of which may be folders of tables."""
    from hwnas.best_runtime import BestRuntimeLatency, tables_of
    from hwnas.workload import Workload

    tables, left_out = tables_of(luts, family)
    if left_out:
        say(f"note: not in fp32, so not looked at: {', '.join(left_out)}; to search among them, name them by --table")
    workload = workload_of(Workload.from_dict(next(iter(tables.values())).workload), **sizes)
    latency = BestRuntimeLatency.of_tables(space, family, tables, workload)
    for table in tables.values():
        note_losses(table)
    say(f"searching for the best runtime among {', '.join(latency.runtimes)}")
    return latency


def _of_table(
    space: SearchSpace, family: Family, path: Path, sizes: Mapping[str, int | None]
) -> tuple[LatencyLut, TableLatency]:
    from hwnas.latency import TableLatency
    from hwnas.workload import Workload
    from latency_luts import LatencyLut

    content = LatencyLut.load(path)
    workload = workload_of(Workload.from_dict(content.workload), **sizes)
    latency = TableLatency(space, family, content, workload=workload)
    note_losses(content)
    return content, latency


def measured_on(content: LatencyLut | None, device: str | None) -> str | None:
    """The device that finalists are measured on; ``None`` if nothing can be or none is named."""
    if content is None:
        return device
    return (device or content.target.device) if content.source == "measured" else None
