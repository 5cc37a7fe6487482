"""A profiling run on disk: JSON Lines, a header and then every raw sample, readable at any moment.

Line 1 is the header, every other line a record with a ``kind``: ``parity``, ``calibration``,
``sample``, ``reference``, ``failure``, ``environment`` or ``budget`` (another than the header's, from a
round on). Samples are raw; what corrects or discards them is derived from the references beside
them when the journal is read. Readers ignore kinds and keys they do not know. A torn last line (the
writer was killed) is dropped; damage anywhere else is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from profiler.anchor import Anchor
from profiler.drift import DriftReport
from profiler.errors import JournalError, SessionError
from profiler.measurement import Measurement
from profiler.parity import Parity
from profiler.schedule import is_done
from profiler.target import Target

SCHEMA = 2
"""Version of the format this code writes; older ones are read, newer ones refused."""

Role = Literal["operator", "model"]
Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class JournalItem:
    """One thing that is timed; ``program`` is its :attr:`Program.sha256`, ``meta`` the caller's own.

    ``artifacts`` are the digests of its graphs, by which parity records are found; ``use`` says how
    often who asked for it pays it.
    """

    name: str
    role: Role
    program: str
    meta: Json = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    streamed_bytes: int = 0
    use: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "artifacts", tuple(self.artifacts))


@dataclass(frozen=True, slots=True)
class JournalPlan:
    """How often everything is timed at most, and when it is enough; the fields are those of :class:`Plan`.

    Without ``half_width`` (all journals of schema 1) everything is timed in every round.
    """

    rounds: int
    samples: int
    min_sample_ms: float
    seed: int
    min_rounds: int = 10
    half_width: float | None = None
    budget_s: float | None = None


@dataclass(frozen=True, slots=True)
class JournalHeader:
    """What a run is about; ``workload`` and ``subject`` (a space's name and fingerprint) are the caller's.

    ``anchors`` are the levels at which latencies are told, by target; without one, at the run's own.
    """

    targets: tuple[Target, ...]
    workload: Json
    subject: Json
    items: tuple[JournalItem, ...]
    plan: JournalPlan
    anchors: Mapping[str, Anchor] = field(default_factory=dict)
    created: str = ""
    schema: int = SCHEMA

    def as_dict(self) -> dict[str, object]:
        """The header as it stands in line 1."""
        return {"kind": "header", **asdict(self)}


@dataclass(frozen=True, slots=True)
class Environment:
    """The facts of a target at the ``start``, before a ``round``, or at the ``end`` of a run."""

    target: str
    at: str
    round: int | None
    facts: Json


@dataclass(frozen=True, slots=True)
class JournalContent:
    """A journal, read. Targets are named by ``str(Target)``.

    ``measurements`` has an entry per (target, item) with at least one sample, corrected for what
    ``drift`` tells of each target; ``calls`` the calibrated calls per sample; ``parity`` an entry
    per (target, artifact sha256); ``failed`` the reason by (target, item) of what could not be
    loaded or timed; ``elapsed_s`` the time spent measuring.
    """

    header: JournalHeader
    measurements: Mapping[tuple[str, str], Measurement]
    parity: Mapping[tuple[str, str], Parity]
    environment: tuple[Environment, ...]
    calls: Mapping[tuple[str, str], int]
    drift: Mapping[str, DriftReport] = field(default_factory=dict)
    failed: Mapping[tuple[str, str], str] = field(default_factory=dict)
    elapsed_s: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every item has been measured on every target as long as was planned."""
        ended = bool(self.environment) and self.environment[-1].at == "end"
        return all(
            (found := self.measurements.get((str(target), item.name))) is not None
            and (str(target), item.name) not in self.failed
            and (ended or is_done(self.header.plan, found, target.clock))
            for target in self.header.targets
            for item in self.header.items
        )

    def measured(self, target: Target, name: str) -> Measurement:
        """What was measured of one item; raises :class:`SessionError` with the reason if it could not be."""
        found = self.measurements.get((str(target), name))
        if found is None or (str(target), name) in self.failed:
            reason = self.failed.get((str(target), name), "it was not reached; run it again to go on")
            raise SessionError(f"{name} was not measured on {target}: {reason}")
        return found


def read_journal(path: Path) -> JournalContent:
    """Read a journal, finished or not, also while it is being written.

    Raises :class:`JournalError` if it is missing, empty, damaged in the middle (the line is
    named) or written by a newer version.
    """
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise JournalError(f"cannot read journal {path}: {exc.strerror}") from exc
    lines, _ = parse_lines(content, path)
    if not lines:
        raise JournalError(f"journal {path} is empty: nothing was measured yet")
    from profiler.evidence import Evidence

    return Evidence.collected(parse_header(lines[0], path), lines[1:], path).content()


def read_measurements(path: Path) -> dict[tuple[str, str], Measurement]:
    """What was measured so far, by (target, item)."""
    return dict(read_journal(path).measurements)


def parse_lines(content: bytes, path: Path) -> tuple[list[dict[str, Any]], int]:
    """The whole records in ``content``, and how many bytes they take: the rest is a torn last line."""
    records: list[dict[str, Any]] = []
    whole = 0
    lines = content.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        record = _parsed(line)
        if record is None:
            if number == len(lines) - 1 and not lines[-1]:
                break
            raise JournalError(
                f"journal {path}: line {number} is damaged; remove it, or measure anew with another --out"
            )
        records.append(record)
        whole += len(line) + 1
    return records, whole


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def parse_header(record: Mapping[str, Any], path: Path) -> JournalHeader:
    """The header in line 1; raises :class:`JournalError` if it is none or too new."""
    schema = record.get("schema")
    if record.get("kind") != "header" or not isinstance(schema, int):
        raise JournalError(f"{path} is not a profiling journal: line 1 is no header")
    if schema > SCHEMA:
        raise JournalError(f"journal {path} has schema {schema}, this version reads up to {SCHEMA}; update hwnas")
    try:
        return JournalHeader(
            targets=tuple(_of(Target, entry) for entry in record["targets"]),
            workload=dict(record["workload"]),
            subject=dict(record["subject"]),
            items=tuple(_item(entry) for entry in record["items"]),
            plan=_of(JournalPlan, record["plan"]),
            anchors={name: _of(Anchor, entry) for name, entry in record.get("anchors", {}).items()},
            created=str(record.get("created", "")),
            schema=schema,
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise JournalError(f"journal {path}: line 1 (the header) is damaged ({exc})") from exc


def _item(entry: Mapping[str, Any]) -> JournalItem:
    item: JournalItem = _of(JournalItem, entry)
    return replace(item, artifacts=tuple(item.artifacts))


def _of(kind: type[Any], entry: Mapping[str, Any]) -> Any:
    return kind(**{name: entry[name] for name in kind.__dataclass_fields__ if name in entry})


def parity_record(target: str, artifact: str, parity: Parity) -> dict[str, object]:
    """The line that says ``artifact`` may be used on ``target``; equal outputs have no ``snr_db``."""
    record: dict[str, object] = {"kind": "parity", "target": target, "artifact": artifact, **asdict(parity)}
    return record | {"snr_db": parity.snr_db if math.isfinite(parity.snr_db) else None}


def parity_from_record(record: Mapping[str, Any]) -> Parity:
    """The inverse of :func:`parity_record`."""
    snr_db = record["snr_db"]
    return Parity(
        record["max_abs_error"],
        record["reference_max"],
        record["tolerance"],
        math.inf if snr_db is None else snr_db,
    )
