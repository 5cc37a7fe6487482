"""A latency table of one target: one row per operator, and the whole models that calibrate it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

from latency_luts import lines
from latency_luts.calibration import Calibration
from latency_luts.derive import lacking, most_rounds, operator_rows, session_sd, whole_models
from latency_luts.errors import LutError, LutMismatchError, MissingOperatorError
from latency_luts.operator import OperatorSpec
from latency_luts.rows import DISPATCH, OperatorRow, Role, WholeModel
from latency_luts.uncertainty import Uncertainty
from profiler.anchor import OWN_SPREAD, SPREAD, Anchor
from profiler.fingerprint import fingerprint
from profiler.journal import JournalContent
from profiler.target import Target

MIB = 2**20
Source = Literal["measured", "virtual-clock", "estimated"]
"""Timed on the device; counted by an emulated clock; computed by an engine. Never mixed in one table."""
PROVENANCE = ("engine", "version", "configuration", "fidelity")
"""What a table that was not measured tells of where its numbers are from."""
VIRTUAL_CLOCK = {
    "engine": "an emulator",
    "version": "of the device",
    "configuration": "1 ns an instruction",
    "fidelity": "instructions counted; no caches, memory or pipelines",
}
"""Provenance of a table from a device whose clock an emulator counts."""
FUNCTIONAL = "median over rounds of the mean of the lower half of a round's samples, per call"


@dataclass(frozen=True, slots=True)
class Subject:
    """What was profiled: the space's name, and its fingerprint, which is what counts."""

    space: str
    fingerprint: str


@dataclass(frozen=True)
class LatencyLut:
    """Latencies by operator, all of one target, clock, workload and source; never mixed.

    ``workload`` and ``environment`` are plain mappings, for this package knows no Transformers.
    ``incomplete`` is ``None``, or says what its journal lacked or its file has lost. ``provenance`` names
    the engine, its version, its configuration and its fidelity, and is empty where ``source`` is
    ``measured``. ``drift`` sums up the device's drift while it was measured, ``session_sd`` is the
    share by which the common level of all that was measured differed between rounds (a standard
    deviation), ``fingerprint`` names the device's state then; empty, or 0, where not known.

    Raises :class:`LutError` if ``source`` and ``provenance`` do not go together.
    """

    target: Target
    workload: Mapping[str, int]
    subject: Subject
    rows: Mapping[OperatorSpec, OperatorRow]
    models: tuple[WholeModel, ...] = ()
    source: Source = "measured"
    provenance: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, object] = field(default_factory=dict)
    created: str = ""
    functional: str = FUNCTIONAL
    rounds: int = 0
    calibration: Calibration | None = None
    incomplete: str | None = None
    drift: Mapping[str, object] = field(default_factory=dict)
    session_sd: float = 0.0
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.source not in get_args(Source):
            raise LutError(f"source {self.source!r} of a table is unknown; known: {', '.join(get_args(Source))}")
        if self.source == "measured" and self.provenance:
            raise LutError("a measured table names no engine, but it has a provenance; call its source 'estimated'")
        missing = [name for name in PROVENANCE if not self.provenance.get(name)]
        if self.source != "measured" and missing:
            raise LutError(f"a table whose source is {self.source!r} must name its {', '.join(missing)} (provenance)")

    @classmethod
    def derive(cls, content: JournalContent, target: Target) -> LatencyLut:
        """The table of ``target`` from a profiling journal, uncalibrated.

        An item without a passing parity record for each of its graphs gives no row. A journal
        that lacks items or planned rounds gives a table that says so (``incomplete``). Raises
        :class:`LutError` if the journal has no operator of ``target``.
        """
        rows, models = operator_rows(content, target), whole_models(content, target)
        if not rows:
            known = ", ".join(str(other) for other in content.header.targets)
            raise LutError(f"the journal has no measured operator of {target}; its targets: {known}")
        subject = content.header.subject
        facts = {e.at: dict(e.facts) for e in content.environment if e.target == str(target) and e.round is None}
        virtual = target.clock == "virtual"
        return cls(
            target=target,
            workload={name: int(str(value)) for name, value in content.header.workload.items()},
            subject=Subject(str(subject.get("space", "")), str(subject.get("fingerprint", ""))),
            rows=rows,
            models=models,
            source="virtual-clock" if virtual else "measured",
            provenance=VIRTUAL_CLOCK if virtual else {},
            environment=facts,
            created=content.header.created,
            rounds=most_rounds(content, target),
            incomplete=lacking(content, target),
            drift=drift.as_dict() if (drift := content.drift.get(str(target))) is not None else {},
            session_sd=session_sd(content, target),
            fingerprint=fingerprint(facts["start"], target.clock) if "start" in facts else "",
        )

    @cached_property
    def latencies_ms(self) -> Mapping[OperatorSpec, float]:
        """Latency of every operator."""
        return {operator: row.latency_ms for operator, row in self.rows.items()}

    @property
    def origin(self) -> str:
        """Where the numbers are from, to be shown with them: ``measured``, or the source and its engine."""
        if self.source != "measured":
            return f"{self.source} by {{engine}} {{version}} ({{fidelity}})".format_map(self.provenance)
        imported = self.environment.get("imported")
        return f"measured elsewhere ({imported['file']})" if isinstance(imported, Mapping) else self.source

    @property
    def anchor(self) -> Anchor | None:
        """The level its latencies are told at, at which a later session can tell its own; None if it is not known."""
        levels_ms, facts = self.drift.get("levels_ms"), self.environment.get("start")
        compute_ms = levels_ms.get("compute") if isinstance(levels_ms, Mapping) else None
        anchored = self.drift.get("anchored", 1.0)
        if not (isinstance(compute_ms, float) and isinstance(anchored, float) and isinstance(facts, Mapping)):
            return None
        return Anchor.of(compute_ms * anchored, facts)

    def slower_than(self, earlier: LatencyLut) -> float | None:
        """How many times as long the device took for its compute reference; None where that cannot be told."""
        then, now = earlier.anchor, self.anchor
        if then is None or now is None or self.target.place != earlier.target.place:
            return None
        if then.refusal(now.compute_ms, now.made_of):
            return None
        return 1 / then.factor(now.compute_ms)

    @property
    def dispatch_ms(self) -> float:
        """Cost of calling the runtime with nothing to do; 0 if it was not measured."""
        row = self.rows.get(DISPATCH)
        return 0.0 if row is None else row.latency_ms

    def latency_ms(self, operator: OperatorSpec) -> float:
        """Raises :class:`MissingOperatorError` if there is no such row."""
        if operator not in self.rows:
            raise MissingOperatorError(f"the table of {self.target} has no row for {operator}; profile it first")
        return self.rows[operator].latency_ms

    def metric(self, name: str, operator: OperatorSpec) -> float:
        """Another number of a row, like ``energy_mj``; raises :class:`LutError` if it has none such."""
        self.latency_ms(operator)
        metrics = self.rows[operator].metrics
        if name not in metrics:
            known = ", ".join(sorted(metrics)) or "none"
            raise LutError(f"the table of {self.target} has no {name} of {operator}; its other numbers: {known}")
        return metrics[name]

    def missing(self, operators: Iterable[OperatorSpec]) -> tuple[OperatorSpec, ...]:
        """Those of ``operators`` without a row, once each, sorted."""
        return tuple(sorted(set(operators) - set(self.rows)))

    def require(self, workload: Mapping[str, int], subject: Subject | None = None) -> None:
        """Raise :class:`LutMismatchError` unless measured for this workload (and space).

        The space's name may differ: its fingerprint says whether it is the same.
        """
        differences = [
            f"{name} is {self.workload.get(name)} there, {workload.get(name)} asked"
            for name in sorted(set(workload) | set(self.workload))
            if workload.get(name) != self.workload.get(name)
        ]
        if differences:
            raise LutMismatchError(
                f"the table of {self.target} is for another workload ({'; '.join(differences)});"
                " profile this workload, or ask about the table's"
            )
        if subject is not None and subject.fingerprint != self.subject.fingerprint:
            raise LutMismatchError(
                f"the table of {self.target} is for space {self.subject.space!r}"
                f" ({self.subject.fingerprint}),"
                f" not for {subject.space!r} ({subject.fingerprint}); profile that space"
            )

    def models_of(self, role: Role) -> tuple[WholeModel, ...]:
        """The whole models measured for ``role``."""
        return tuple(model for model in self.models if model.role == role)

    def calibrated(self, classes: Mapping[str, str] | None = None) -> LatencyLut:
        """This table with a calibration fitted on its calibration models.

        ``classes`` are those of :class:`Calibration`; by default each precision but fp32 is one, if there are several.
        Raises :class:`LutError` if there are fewer than three.
        """
        models = self.models_of("calibration")
        if classes is None:
            precisions = {operator.precision for operator in self.rows if operator != DISPATCH}
            classes = {name: name for name in sorted(precisions) if name != "fp32"} if len(precisions) > 1 else {}
        calibration = Calibration.fit(
            self.latencies_ms,
            self.dispatch_ms,
            models,
            classes=classes,
            streamed_mib=self._streamed_mib(models),
        )
        return replace(self, calibration=calibration)

    def uncertainty(self, calibration: Calibration | None = None) -> Uncertainty:
        """How far whole models may be from predictions with ``calibration`` (by default the table's own).

        Raises :class:`LutError` if the table cannot say: it was not measured, or has too few whole models.
        """
        if self.source != "measured":
            raise LutError(
                f"the table of {self.target} is {self.source}: it has no error that repeating it would show,"
                f" so there is no interval; its fidelity is {self.provenance['fidelity']!r}"
            )
        calibration = calibration or self.calibration
        if calibration is None:
            raise LutError(
                f"the table of {self.target} is a plain sum, which nothing says how far it is off;"
                " profile with --calibration 10 --check 10"
            )
        calibrated_on, held_out = (
            [model for model in self.models_of(role) if not self.missing(model.operators)]
            for role in ("calibration", "check")
        )
        session_sd = max(self.session_sd, OWN_SPREAD if self.anchor is None else SPREAD)
        found = Uncertainty.of(calibration, self.rows, calibrated_on, held_out, session_sd)
        if found is None:
            raise LutError(
                f"the table of {self.target} has too few whole models to say how far its predictions are off;"
                " profile with --calibration 10 --check 10"
            )
        return found

    def interval_ms(self, operators: Mapping[OperatorSpec, int], confidence: float = 0.95) -> tuple[float, float]:
        """What a whole model that pays each operator so often takes when it is measured, so often.

        Raises :class:`MissingOperatorError` if the table lacks one, and what :meth:`uncertainty` raises.
        """
        for operator in operators:
            self.latency_ms(operator)
        uncertainty = self.uncertainty()
        low, high = uncertainty.interval_ms(uncertainty.counts_of(operators), confidence)[0]
        return float(low), float(high)

    def _streamed_mib(self, models: Sequence[WholeModel]) -> dict[OperatorSpec, float]:
        """What operators stream from memory in these models but not when timed alone.

        Nothing if the device's cache is not known, or holds the median model: its different
        operators are counted once each, the least its weights can be.
        """
        facts = self.environment.get("start")
        cache_bytes = facts.get("cache_bytes") if isinstance(facts, Mapping) else None
        if not isinstance(cache_bytes, int) or not models:
            return {}
        sizes = {operator: row.streamed_bytes for operator, row in self.rows.items()}
        weights = [sum(sizes.get(operator, 0) for operator in model.operators) for model in models]
        if median(weights) <= cache_bytes:
            return {}
        return {operator: size / MIB for operator, size in sizes.items() if 0 < size <= cache_bytes}

    def documents(self) -> tuple[dict[str, object], list[dict[str, object]]]:
        """The table as JSON-able documents: its header, and one per operator and per whole model, by name."""
        header: dict[str, object] = {
            "target": {name: getattr(self.target, name) for name in Target.__slots__},
            "source": self.source,
            "provenance": dict(self.provenance),
            "workload": dict(self.workload),
            "subject": {"space": self.subject.space, "fingerprint": self.subject.fingerprint},
            "functional": self.functional,
            "rounds": self.rounds,
            "created": self.created,
            "operators": len(self.rows),
            "models": len(self.models),
            "incomplete": self.incomplete,
            "calibration": None if self.calibration is None else self.calibration.as_dict(),
            "fingerprint": self.fingerprint,
            "drift": dict(self.drift),
            "session_sd": self.session_sd,
            "environment": dict(self.environment),
        }
        body = [lines.operator_line(self.rows[operator]) for operator in sorted(self.rows)]
        body += [lines.model_line(model) for model in sorted(self.models, key=lambda m: (m.role, m.model))]
        return header, body

    @classmethod
    def of_documents(cls, path: Path, header: Mapping[str, Any], body: Sequence[Mapping[str, Any]]) -> LatencyLut:
        """The inverse of :meth:`documents`; ``path`` is named if they are damaged (:class:`LutFormatError`)."""
        with lines.damaged(path):
            rows = [lines.operator_row(line) for line in body if "operator" in line]
            table = cls(
                target=Target(**{name: header["target"][name] for name in Target.__slots__}),
                workload={str(name): int(value) for name, value in header["workload"].items()},
                subject=Subject(str(header["subject"]["space"]), str(header["subject"]["fingerprint"])),
                rows={row.operator: row for row in rows},
                models=tuple(lines.whole_model(line) for line in body if "model" in line),
                source=header["source"],
                provenance={str(name): str(value) for name, value in header.get("provenance", {}).items()},
                environment=header["environment"],
                created=str(header["created"]),
                functional=str(header["functional"]),
                rounds=int(header["rounds"]),
                incomplete=header.get("incomplete"),
                drift=header.get("drift", {}),
                session_sd=float(header.get("session_sd", 0.0)),
                fingerprint=str(header.get("fingerprint", "")),
            )
            stored = header["calibration"]
            if stored is None:
                return table
            return replace(table, calibration=Calibration.from_dict(stored, table.latencies_ms))

    def save(self, path: Path) -> None:
        """Write JSON Lines, atomically: header, operators by name, whole models by name.

        Raises :class:`LutError` if it cannot be written, or would replace a file that is no table.
        """
        try:
            lines.write(path, *self.documents())
        except OSError as exc:
            raise LutError(f"cannot write the table {path}: {exc.strerror or exc}") from exc

    @classmethod
    def load(cls, path: Path) -> LatencyLut:
        """Read a table; unknown keys are ignored, a torn last line is dropped (see ``incomplete``).

        Raises :class:`LutFormatError` for a file that is no table, damaged inside, or of a newer
        schema.
        """
        header, body, torn = lines.read(path)
        table = cls.of_documents(path, header, body)
        with lines.damaged(path):
            expected, found = header["operators"] + header["models"], len(table.rows) + len(table.models)
        if torn is None and found < expected and "torn" not in (table.incomplete or ""):
            torn = f"{path}: {expected - found} of {expected} rows are missing at the end"
        return table if torn is None else replace(table, incomplete=torn)
