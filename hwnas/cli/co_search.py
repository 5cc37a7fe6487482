"""What ``hwnas search --co-search`` does: pairs of a network and an accelerator on a Pareto front."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hwnas.cli.console import emit, progress_bar, say, table

if TYPE_CHECKING:
    from hwnas.cosearch import CoSearchOutcome
    from hwnas.families.base import Family
    from hwnas.search.nsga2 import Nsga2Settings
    from hwnas.space import SearchSpace
    from hwnas.workload import Workload

_FIGURES = {
    "loss": "loss",
    "latency_ms": "latency ms",
    "energy_mj": "energy mJ",
    "peak_memory_mib": "peak memory MiB",
    "area_mm2": "area mm2",
}
SHOWN = 20
"""Rows of the front that are printed; all are in the file."""


def require_unused(context: typer.Context, options: Collection[str]) -> None:
    """Refuse options that were given though they have no meaning here."""
    for parameter in context.command.params:
        if parameter.name in options and given(context, parameter.name):
            raise typer.BadParameter("has no meaning with --co-search", param_hint=parameter.opts[0])


def given(context: typer.Context, option: str) -> bool:
    """Whether this option stands on the command line."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def run_co_search(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    design: Path,
    supernet: Path,
    data: str,
    out: Path,
    *,
    settings: Nsga2Settings,
    limits: Mapping[str, float | None],
    validation_pairs: int | None,
    subset: Path | None,
    seed: int,
    devices: Path | None,
    cache: Path,
    workers: int,
    json: bool,
) -> None:
    """Search, write ``out`` and print the front; ``limits`` as :class:`hwnas.limits.CandidateLimits` names them."""
    from hwnas.cosearch import CoSearchRequest, PairLimits, co_search
    from hwnas.data import load_task
    from hwnas.data.task import require_vocabulary
    from hwnas.design_costs import DesignCosts, export_operators
    from hwnas.design_space import load_designs
    from hwnas.evaluators.fitness import fitness
    from hwnas.evaluators.pool import evaluating
    from hwnas.evaluators.subset_file import ChosenSubset
    from hwnas.limits import CandidateLimits
    from hwnas.training import load_supernet
    from profiler import load_devices

    designs = load_designs(design, load_devices(devices))
    task = load_task(data, say=say)
    require_vocabulary(workload, task)
    network = CandidateLimits(
        space, family, workload, params_m=limits["params_m"], peak_memory_mib=limits["peak_memory_mib"]
    )
    weights = load_supernet(supernet, space, family, task)
    loss_of, known_as = fitness(
        space,
        family,
        weights,
        task,
        pairs=validation_pairs,
        subset=None if subset is None else ChosenSubset.load(subset),
    )
    say(f"{designs.size} designs of {designs.device.name}, every figure estimated by {designs.device.engine}")
    with (
        progress_bar("exporting") as exporting,
        progress_bar("searching") as searching,
        evaluating(loss_of, workers, say=say) as evaluate,
    ):
        artifacts = export_operators(space, family, workload, designs.device, cache, exporting.update)
        costs = DesignCosts(space, family, workload, designs, artifacts, cache)
        outcome = co_search(
            space,
            evaluate,
            PairLimits(network, costs, limits["latency_ms"], limits["energy_mj"]),
            CoSearchRequest(known_as, settings, seed),
            out,
            progress=searching.update,
        )
    emit(outcome.as_dict(), json, lambda: _told(outcome, len(loss_of.pairs), len(costs.refused), out))


def _told(outcome: CoSearchOutcome, validation_pairs: int, refused: int, out: Path) -> str:
    from hwnas.cosearch import FRONT

    front = outcome.front
    shown = [front[row] for row in _spread(len(front))]
    figures = [name for name in _FIGURES if any(getattr(pair, name) is not None for pair in front)]
    rows = [
        [
            *(_figure(getattr(pair, name)) for name in figures),
            *(_figure(value) for value in pair.design.chosen.values()),
            pair.network.key,
            pair.design.name,
        ]
        for pair in shown
    ]
    header = [*(_FIGURES[name] for name in figures), *front[0].design.chosen, "network", "accelerator"]
    judged = ", ".join(_FIGURES[name].rpartition(" ")[0] or _FIGURES[name] for name in outcome.objectives)
    estimates = [name.partition("_")[0] for name in ("latency_ms", "energy_mj", "area_mm2") if name in figures]
    some = "" if len(shown) == len(front) else f", {len(shown)} of them here"
    return "\n".join(
        [
            f"{outcome.evaluated} pairs evaluated (nsga2): {outcome.networks} networks, {outcome.designs} accelerators"
            f" ({refused} more were impossible);"
            f" limit: {outcome.limits}",
            f"{len(front)} on the front of {judged}{some}:",
            table(header, rows),
            f"{', '.join(estimates)} are {outcome.origin}, nothing is measured; loss is that of inherited weights"
            f" on {validation_pairs} validation pairs, peak memory is counted in fp32",
            f"all pairs: {out / FRONT}; networks: {out / 'networks'}; accelerators: {out / 'devices.yaml'}",
        ]
    )


def _spread(number: int) -> Sequence[int]:
    """At most :data:`SHOWN` places spread over ``number``, both ends among them."""
    if number <= SHOWN:
        return range(number)
    return [place * (number - 1) // (SHOWN - 1) for place in range(SHOWN)]


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
