"""What a search ends with: its best candidates measured on the device, and the one that wins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from exporters import ExportError
from hwnas.best_runtime import BestRuntimeLatency
from hwnas.changed import changed_during
from hwnas.errors import SearchError
from hwnas.families.base import Family
from hwnas.families.deployed import as_in_table
from hwnas.latency import TableLatency
from hwnas.predictors.latency import PredictorLatency
from hwnas.profiling import Progress, build_plan, open_for, quietly, run_plan, target_of
from hwnas.sampling import Sampling
from hwnas.space import Candidate, SearchSpace
from latency_luts import LatencyLut, WholeModel
from profiler import Device, ProfilerError, SessionError
from profiler.devices import require_measures
from profiler.errors import DeviceBusyError
from profiler.exporting import exporter_for
from profiler.interval import Status

FINALISTS_HALF_WIDTH = 0.01
"""A finalist is measured until the 95 % interval of its latency is at most this to either side."""

SearchLatency = TableLatency | PredictorLatency | BestRuntimeLatency
"""What predicts the latency of a search's candidates."""


@dataclass(frozen=True, slots=True)
class Finalist:
    """A candidate that was measured in the end. ``loss`` in nats per token, latencies in ms.

    ``interval_ms`` is the 95 % interval of ``measured_ms``, ``predicted_interval_ms`` what a
    measurement was predicted to lie between at the same confidence (``None`` if the table cannot tell).
    ``status`` says how far the measurement can be trusted, ``failed`` why there is none (``None``
    without a device). ``energy_mj`` is the table's, if it has energies; ``peak_memory_mib`` the
    family's count; ``elsewhere_ms`` what other devices' tables predict for them. ``runtime`` is the one
    it is fastest on and was measured on, where there were several to choose from.
    """

    candidate: Candidate
    loss: float
    predicted_ms: float
    measured_ms: float | None = None
    interval_ms: tuple[float, float] | None = None
    predicted_interval_ms: tuple[float, float] | None = None
    energy_mj: float | None = None
    peak_memory_mib: float | None = None
    status: Status | None = None
    failed: str | None = None
    elsewhere_ms: Mapping[str, float] | None = None
    runtime: str | None = None

    def as_dict(self) -> dict[str, object]:
        """JSON-able; the candidate by choice."""
        return asdict(self) | {"candidate": self.candidate.as_dict()}


def predicted(latency: SearchLatency, candidate: Candidate, loss: float) -> Finalist:
    """A finalist that is not measured."""
    return Finalist(
        candidate,
        loss,
        latency.of(candidate),
        predicted_interval_ms=latency.interval_of(candidate) if latency.bounded else None,
        runtime=latency.runtime_of(candidate) if isinstance(latency, BestRuntimeLatency) else None,
    )


@dataclass(frozen=True, slots=True)
class MeasuredFinalists:
    """Finalists in the order they were given.

    ``drift`` is the median ratio of known models' latency now to the table's, ``changed`` how the device differs from
    then; ``None`` and empty where nothing is known.
    """

    finalists: tuple[Finalist, ...]
    drift: float | None
    changed: tuple[str, ...]


def measure_finalists(
    space: SearchSpace,
    family: Family,
    candidates: Sequence[tuple[Candidate, float]],
    table: LatencyLut | None,
    latency: SearchLatency,
    device: Device,
    journal: Path,
    *,
    rounds: int,
    cache: Path,
    measuring: Progress,
    waiting: Callable[[str], None] | None = None,
) -> MeasuredFinalists:
    """Measure candidates (with their losses) on the device, in the same rounds as models the table knows.

    These tell the drift since the table was made; it is reported, and corrects nothing. A finalist that could not
    be measured says why (``failed``). By the latency of the best runtime each is measured on its own, in the journal
    ``finalists-litert.journal.jsonl`` instead of ``finalists.journal.jsonl``, and ``table`` is not looked at.

    Raises :class:`profiler.ProfilerError` if nothing could be measured at all.
    """
    if isinstance(latency, BestRuntimeLatency):
        measure = partial(
            measure_finalists, space, family, rounds=rounds, cache=cache, measuring=measuring, waiting=waiting
        )
        return _on_their_runtimes(candidates, latency, device, journal, measure)
    workload = latency.workload
    anchors: dict[Candidate, WholeModel] = {}
    if table is not None:
        family = as_in_table(family, table)
        anchors = {space.candidate(model.candidate): model for model in table.models_of("calibration")[:4]}
    wanted = dict(candidates)
    sampling = Sampling(
        rounds=rounds,
        half_width=FINALISTS_HALF_WIDTH,
        calibration=0,
        check=0,
        extra=(*wanted, *(a for a in anchors if a not in wanted)),
    )
    require_measures(device)
    with exporter_for(device) as exporter:
        plan = build_plan(space, family, workload, sampling, exporter, cache, quietly, operators=())
    with open_for(device, waiting) as opener:
        target = target_of(opener)
        if table is not None and target != table.target:
            raise SearchError(f"the table is of {table.target}, this is {target}; profile the space here first")
        subject = {"space": space.name, "fingerprint": space.fingerprint}
        content = run_plan([opener], [target], plan, journal, workload.as_dict(), subject, measuring)

    def finalist(candidate: Candidate, loss: float) -> Finalist:
        expected = predicted(latency, candidate, loss)
        try:
            found = content.measured(target, candidate.key)
        except SessionError as exc:
            return replace(expected, failed=str(exc))
        return replace(
            expected,
            measured_ms=found.latency_ms(target.clock),
            interval_ms=found.interval_ms(target.clock),
            status=found.status(target.clock),
        )

    known = {
        candidate: content.measured(target, candidate.key).latency_ms(target.clock)
        for candidate in anchors
        if (str(target), candidate.key) in content.measurements and (str(target), candidate.key) not in content.failed
    }
    ratios = [latency_ms / anchors[candidate].latency_ms for candidate, latency_ms in known.items()]
    return MeasuredFinalists(
        tuple(finalist(candidate, loss) for candidate, loss in candidates),
        median(ratios) if ratios else None,
        () if table is None else changed_during(table, content),
    )


def _on_their_runtimes(
    candidates: Sequence[tuple[Candidate, float]],
    latency: BestRuntimeLatency,
    device: Device,
    journal: Path,
    measure: Callable[[Sequence[tuple[Candidate, float]], LatencyLut, TableLatency, Device, Path], MeasuredFinalists],
) -> MeasuredFinalists:
    """Each candidate on the runtime that is fastest for it, one runtime after another, each with its own journal.

    Where nothing could be measured on a runtime its candidates say why, unless nothing could be on any.
    """
    by_runtime: dict[str, list[tuple[Candidate, float]]] = {}
    for candidate, loss in candidates:
        by_runtime.setdefault(latency.runtime_of(candidate), []).append((candidate, loss))
    measured: dict[str, MeasuredFinalists] = {}
    failed: list[str] = []
    for runtime, its in by_runtime.items():
        model = latency.models[runtime]
        place = journal.with_name(journal.name.replace(".", f"-{runtime}.", 1))
        there = device.model_copy(update={"runtime": runtime})
        try:
            measured[runtime] = measure(its, model.lut, model, there, place)
        except DeviceBusyError:
            raise
        except (ExportError, ProfilerError, SearchError) as exc:
            if len(failed) == len(by_runtime) - 1:
                raise
            failed.append(runtime)
            expected = (replace(predicted(latency, *one), failed=f"{runtime}: {exc}") for one in its)
            measured[runtime] = MeasuredFinalists(tuple(expected), None, ())
    found = {
        finalist.candidate: replace(finalist, runtime=runtime)
        for runtime, ended in measured.items()
        for finalist in ended.finalists
    }
    drifts = [ended.drift for ended in measured.values() if ended.drift is not None]
    return MeasuredFinalists(
        tuple(found[candidate] for candidate, _ in candidates),
        median(drifts) if drifts else None,
        tuple(dict.fromkeys(change for ended in measured.values() for change in ended.changed)),
    )


def pick_winner(finalists: Sequence[Finalist], limit_ms: float | None) -> Finalist | None:
    """The best loss among those that meet the limit; ``None`` if none does.

    The upper end of the measured interval counts, or the prediction where nothing was to be
    measured. What could not be measured, or did not come to rest (``unstable``), does not win.
    """

    def latency_ms(finalist: Finalist) -> float:
        return finalist.predicted_ms if finalist.interval_ms is None else finalist.interval_ms[1]

    sound = [f for f in finalists if f.failed is None and f.status != "unstable"]
    meeting = [f for f in sound if limit_ms is None or latency_ms(f) <= limit_ms]
    return min(meeting, key=lambda finalist: finalist.loss, default=None)
