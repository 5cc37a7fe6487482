"""``hwnas profile --device pi4-a,pi4-b``: one table by several equal boards at once."""

from __future__ import annotations

from collections.abc import Sequence
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


def profile_by_all(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    devices: Sequence[Device],
    out: Path,
    sampling: Sampling,
    *,
    cache: Path | None,
    wait: bool,
    dry_run: bool,
    json: bool,
) -> int:
    """Build the table and tell of it; the command's exit status."""
    from hwnas.fleet import profile_shared
    from hwnas.latency import operators_of
    from profiler.outcome import Outcome

    count, names = len(operators_of(space, family, workload)), [device.name for device in devices]
    say(f"{count} operators of {space.name}, shared among {', '.join(names)}")
    if dry_run:
        emit({"operators": count, "boards": names}, json, "")
        return 0
    with progress_bar("exporting") as exporting, progress_bar("measuring") as measuring:
        table, found = profile_shared(
            space, family, workload, devices, out, sampling, cache=cache_folder(cache),
            exporting=exporting.update, measuring=measuring.update, waiting=say if wait else None,
        )  # fmt: skip
    for board, reason in found.lost.items():
        say(f"{board} was lost, and the others took its part: {reason}")
    outcome = Outcome.of(found.content, found.target)
    ratios = ", ".join(f"{board} {ratio:.3f}" for board, ratio in found.ratios.items())
    document = summary(table) | {"outcome": outcome.as_dict(), "table": str(out)}
    document |= {"boards": {"ratios": dict(found.ratios), "lost": dict(found.lost)}}
    emit(document, json, f"{describe(table)}\n{outcome}\ncommon operators, against the first board: {ratios}\n{out}")
    return 0 if found.content.complete else 3
