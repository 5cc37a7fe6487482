"""One table by several equal boards, each of which measures a part of the space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from hwnas.errors import HwnasError
from hwnas.families.base import Family
from hwnas.files import artifact_cache
from hwnas.profiling import Progress, build_plan, quietly
from hwnas.sampling import Sampling, choose_models
from hwnas.space import SearchSpace
from hwnas.workload import Workload
from latency_luts import Calibration, LatencyLut
from latency_luts.lines import require_replaceable
from profiler import Device
from profiler.devices import host_of, require_board, require_times
from profiler.exporting import exporter_for
from profiler.fleet import Shared, measure_shared
from profiler.lock import alone_on
from profiler.measuring import Progress as MeasureProgress
from profiler.openings import opener_of


def journals_of(table: Path) -> Path:
    """The folder of the boards' journals beside a table."""
    return table.with_name(table.name.removesuffix(".jsonl").removesuffix(".lut") + ".boards")


def profile_shared(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    devices: Sequence[Device],
    out: Path,
    sampling: Sampling,
    *,
    cache: Path | None = None,
    exporting: Progress = quietly,
    measuring: Progress = quietly,
    waiting: Callable[[str], None] | None = None,
) -> tuple[LatencyLut, Shared]:
    """Measure the operators of ``space`` on several boards at once and write one table to ``out``.

    The same call goes on after an interruption with the journals in :func:`journals_of`. ``family`` is as it is
    deployed there. Raises what :func:`hwnas.profiling.profile_space` and :func:`profiler.fleet.measure_shared` do, and
    :class:`HwnasError` for boards that are set up differently.
    """
    cache = cache or artifact_cache()
    boards = [require_board(device) for device in devices]
    for board in boards:
        require_times(board)
        first = boards[0]
        if (board.runtime, board.threads, board.effective_clock, board.tvm_target) != (
            first.runtime, first.threads, first.effective_clock, first.tvm_target,
        ):  # fmt: skip
            raise HwnasError(f"{first.name} and {board.name} differ in runtime, threads, clock or tvm_target")
    require_replaceable(out)
    if sampling.calibration:
        Calibration.require_enough(sum(model.role == "calibration" for model in choose_models(space, sampling)))
    with exporter_for(boards[0]) as exporter:
        plan = build_plan(space, family, workload, sampling, exporter, cache, exporting)

    def show(seen: MeasureProgress) -> None:
        measuring(seen.done, seen.total, "measuring" if seen.phase == "measure" else "checking parity")

    with ExitStack() as held:
        held.enter_context(alone_on(*(host_of(board) for board in boards), waiting=waiting))
        openers = {board.name: held.enter_context(opener_of(board, waiting)) for board in boards}
        found = measure_shared(
            openers, plan, journals_of(out), workload=workload.as_dict(), progress=show,
            subject={"space": space.name, "fingerprint": space.fingerprint},
        )  # fmt: skip
    table = LatencyLut.derive(found.content, found.target)
    if sampling.calibration:
        table = table.calibrated()
    table.save(out)
    return table, found
