"""``hwnas profile --runtime``: a table for each of several runtimes and precisions, in the same rounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.cli.console import emit, progress_bar, say
from hwnas.cli.options import cache_folder
from hwnas.cli.tables import describe, summary

if TYPE_CHECKING:
    from hwnas.families.base import Family
    from hwnas.sampling import Sampling
    from hwnas.space import SearchSpace
    from hwnas.workload import Workload
    from profiler import Device


def profile_each(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    device: Device,
    runtimes: str,
    precision: str,
    out: Path,
    sampling: Sampling,
    *,
    cache: Path | None,
    wait: bool,
    dry_run: bool,
    json: bool,
) -> int:
    """Build the tables and tell of them; the command's exit status."""
    from hwnas.latency import operators_of
    from hwnas.profiling import journal_of
    from hwnas.runtimes import profile_runtimes, strands_of
    from profiler import read_journal

    strands = strands_of(device, runtimes, precision)
    count = len(operators_of(space, family, workload))
    say(f"{count} operators of {space.name} on {device.name} by {', '.join(strand.name for strand in strands)}")
    if dry_run:
        emit({"operators": count, "tables": [strand.name for strand in strands]}, json, "")
        return 0
    with progress_bar("exporting") as exporting, progress_bar("measuring") as measuring:
        tables = profile_runtimes(
            space, family, workload, strands, out, sampling, cache=cache_folder(cache),
            exporting=exporting.update, measuring=measuring.update, waiting=say if wait else None,
        )  # fmt: skip
    paths = {name: out / f"{name}.lut.jsonl" for name in tables}
    document = {name: summary(table) | {"table": str(paths[name])} for name, table in tables.items()}
    emit(document, json, "\n\n".join(f"{describe(table)}\n{paths[name]}" for name, table in tables.items()))
    return 0 if all(read_journal(journal_of(path)).complete for path in paths.values()) else 3
