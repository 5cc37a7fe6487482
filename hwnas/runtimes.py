"""One table per runtime and precision of a device, measured in the same rounds, and beside each other."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from hwnas.errors import HwnasError
from hwnas.families.base import Family
from hwnas.families.deployed import as_deployed, own_family
from hwnas.files import artifact_cache, write_text
from hwnas.profiling import Progress, build_plan, journal_of, quietly, run_plan, target_of
from hwnas.sampling import Sampling, choose_models
from hwnas.space import SearchSpace
from hwnas.workload import Workload
from latency_luts import Calibration, LatencyLut
from latency_luts.lines import require_replaceable
from profiler import Device, Plan, Target, read_journal
from profiler.devices import host_of
from profiler.exporting import exporter_for, precisions_of
from profiler.hardware import LocalDevice
from profiler.lock import alone_on
from profiler.openings import Opener, opener_of

JOINT = "runtimes.journal.jsonl"
RUNTIMES: Mapping[str, str] = {
    "onnxruntime": "onnx",
    "litert": "tflite",
    "tflite": "tflite",
    "tvm": "tvm",
    "torch": "pt2",
}
"""Runtime -> its format."""

ALL = ("onnxruntime", "litert", "tvm")

_MACHINE = ("cpu_model", "board", "machine", "cores")
"""Facts that say it is another machine, whatever devices are called."""


@dataclass(frozen=True, slots=True)
class Strand:
    """What a table is of: a device with one runtime, and a precision."""

    device: LocalDevice
    precision: str

    @property
    def name(self) -> str:
        """``litert-int8``; ``litert`` in fp32."""
        return self.device.runtime if self.precision == "fp32" else f"{self.device.runtime}-{self.precision}"


def strands_of(device: Device, runtimes: str, precision: str) -> tuple[Strand, ...]:
    """``runtimes``: ``all``, or names with commas; ``precision`` may be ``all``, and what a runtime lacks is left out.

    Raises :class:`HwnasError` for names there are not, and for another machine: there it is one runtime at a time.
    """
    if not isinstance(device, LocalDevice):
        raise HwnasError(f"{device.name} is {device.kind}: profile one runtime at a time there, without --runtime")
    names = ALL if runtimes == "all" else tuple(dict.fromkeys(runtimes.split(",")))
    unknown = [name for name in names if name not in RUNTIMES]
    if unknown:
        raise HwnasError(f"there is no runtime {unknown[0]!r}; known: {', '.join(RUNTIMES)}, all")
    found = tuple(
        Strand(device.model_copy(update={"runtime": name}), each)
        for name in names
        for each in precisions_of(RUNTIMES[name])
        if precision in (each, "all")
    )
    if not found:
        raise HwnasError(f"none of {', '.join(names)} has precision {precision!r}")
    return found


def profile_runtimes(
    space: SearchSpace,
    family: Family,
    workload: Workload,
    strands: Sequence[Strand],
    out: Path,
    sampling: Sampling,
    *,
    cache: Path | None = None,
    exporting: Progress = quietly,
    measuring: Progress = quietly,
    waiting: Callable[[str], None] | None = None,
) -> dict[str, LatencyLut]:
    """Measure the operators of ``space`` by every strand, all in each round, and write a table of each into ``out``.

    The journal of all is :data:`JOINT` there, and the same call goes on with it after an interruption; beside each
    table stands the part that is its own. Errors are those of :func:`hwnas.profiling.profile_space`.
    """
    cache = cache or artifact_cache()
    tables = {strand.name: out / f"{strand.name}.lut.jsonl" for strand in strands}
    for table in tables.values():
        require_replaceable(table)
    if sampling.calibration:
        Calibration.require_enough(sum(model.role == "calibration" for model in choose_models(space, sampling)))
    plans: dict[str, Plan] = {}
    for strand in strands:
        with exporter_for(strand.device) as exporter:
            deployed = as_deployed(own_family(family), strand.device.runtime, strand.precision)
            plans[strand.name] = build_plan(space, deployed, workload, sampling, exporter, cache, exporting)
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(alone_on(host_of(strands[0].device), waiting=waiting))
        openers: dict[str, Opener] = {}
        for strand in strands:
            if strand.device.runtime not in openers:
                openers[strand.device.runtime] = stack.enter_context(opener_of(strand.device, waiting))
        targets = {runtime: target_of(opener) for runtime, opener in openers.items()}
        items = tuple(
            replace(item, name=f"{strand.name}/{item.name}", target=str(targets[strand.device.runtime]))
            for strand in strands
            for item in plans[strand.name].items
        )
        joint = replace(plans[strands[0].name], items=items)
        subject = {"space": space.name, "fingerprint": space.fingerprint}
        run_plan(
            list(openers.values()), list(targets.values()), joint, out / JOINT, workload.as_dict(), subject, measuring
        )
    found = {}
    for strand in strands:
        target, path = targets[strand.device.runtime], tables[strand.name]
        _own_part(out / JOINT, journal_of(path), f"{strand.name}/", target)
        derived = LatencyLut.derive(read_journal(journal_of(path)), target)
        found[strand.name] = derived.calibrated() if sampling.calibration else derived
        found[strand.name].save(path)
    return found


def _own_part(joint: Path, path: Path, prefix: str, target: Target) -> None:
    """The journal of one target and the items whose names begin so, as if it had been measured alone."""
    lines = []
    artifacts: set[str] = set()
    for line in joint.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["kind"] == "header":
            record["targets"] = [one for one in record["targets"] if Target(**one) == target]
            kept = [item for item in record["items"] if item["name"].startswith(prefix)]
            record["items"] = [item | {"name": item["name"].removeprefix(prefix)} for item in kept]
            artifacts = {artifact for item in kept for artifact in item["artifacts"]}
        elif "item" in record and not record["item"].startswith("reference/"):
            if not record["item"].startswith(prefix):
                continue
            record["item"] = record["item"].removeprefix(prefix)
        elif record["kind"] == "parity" and record["artifact"] not in artifacts:
            continue
        if record.get("target", str(target)) == str(target):
            lines.append(json.dumps(record, separators=(",", ":")))
    write_text(path, "\n".join(lines) + "\n")


@dataclass(frozen=True, slots=True)
class Compared:
    """One kind of operator, or the whole models, by every table: the geometric mean of ratios to the first table.

    ``count`` are how many had a counterpart in all tables.
    """

    kind: str
    count: int
    ratios: Mapping[str, float]
    lowest: str


def require_comparable(tables: Mapping[str, LatencyLut]) -> None:
    """Raises :class:`HwnasError` for tables (by their names) of several workloads, machines or sources."""
    names = iter(tables)
    first = next(names, "")
    for name in names:
        for what, one, other in _differing(tables[first], tables[name]):
            if one != other:
                raise HwnasError(f"{name} is not comparable with {first}: {what} is {other} there, {one} here")


def _differing(one: LatencyLut, other: LatencyLut) -> Iterator[tuple[str, object, object]]:
    """What has to be the same in tables of several runtimes, by name."""
    for name in ("device", "threads", "clock"):
        yield name, getattr(one.target, name), getattr(other.target, name)
    yield "the source", one.source, other.source
    for name in sorted({*one.workload, *other.workload}):
        yield f"{name} of the workload", one.workload.get(name), other.workload.get(name)
    then, now = one.environment.get("start"), other.environment.get("start")
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for name in _MACHINE:
            if name in then and name in now:
                yield f"{name} of the machine", then[name], now[name]


def compare_tables(tables: Mapping[str, LatencyLut]) -> tuple[Compared, ...]:
    """Every kind of operator, then ``whole models``; counterparts have the same sizes but for a cache's.

    Raises :class:`HwnasError` for tables of another workload or device, or with nothing in common.
    """
    require_comparable(tables)
    latencies: dict[str, dict[str, dict[str, float]]] = {}
    for name, table in tables.items():
        for operator, row in table.rows.items():
            sizes = ",".join(f"{size}={value}" for size, value in operator.sizes if size != "cache")
            latencies.setdefault(operator.kind, {}).setdefault(sizes, {})[name] = row.latency_ms
        for model in table.models:
            latencies.setdefault("whole models", {}).setdefault(model.model, {})[name] = model.latency_ms
    found = [_compared(kind, latencies[kind], list(tables)) for kind in sorted(latencies, key=_whole_last)]
    kept = tuple(each for each in found if each is not None)
    if not kept:
        raise HwnasError(f"{', '.join(tables)} have no operator in common")
    return kept


def _whole_last(kind: str) -> tuple[bool, str]:
    return kind == "whole models", kind


def _compared(kind: str, rows: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> Compared | None:
    common = [row for row in rows.values() if set(row) == set(names)]
    if not common:
        return None
    ratios = {
        name: math.exp(sum(math.log(row[name] / row[names[0]]) for row in common) / len(common)) for name in names
    }
    return Compared(kind, len(common), ratios, min(ratios, key=lambda name: ratios[name]))
