"""Tables on disk: JSON Lines, a header first, then one line per operator and per whole model."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from latency_luts.errors import LutFormatError
from latency_luts.operator import OperatorSpec
from latency_luts.rows import OperatorRow, Status, WholeModel

SCHEMA = 2
"""1: neither intervals, statuses, drift nor provenance; read as unknown."""
_HEAD = re.compile(rb'\{"schema": \d+, "kind": "lut"')


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Say of whatever goes wrong while a parsed table is interpreted that the file is damaged."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        what = f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)
        raise LutFormatError(f"{path} is damaged ({what}); derive it again from its journal") from exc


def require_replaceable(path: Path) -> None:
    """Refuse to put a table in the place of anything else, be it a checkpoint, a candidate or a folder.

    Raises :class:`LutFormatError` unless at ``path`` is a table, an empty file or nothing.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(80)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise LutFormatError(f"cannot write the table {path}: {exc.strerror or exc}") from exc
    if head and not _HEAD.match(head):
        raise LutFormatError(f"{path} exists and is not a latency table; choose another file")


def write(path: Path, header: Mapping[str, object], body: Iterable[Mapping[str, object]]) -> None:
    """Write header and lines to a neighbour of ``path``, then move it there; see :func:`require_replaceable`."""
    require_replaceable(path)
    partial = path.with_name(path.name + ".partial")
    documents = [{"schema": SCHEMA, "kind": "lut", **header}, *body]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(document) + "\n" for document in documents)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], str | None]:
    """Header, lines, and what was lost if the last line is torn.

    Raises :class:`LutFormatError` in one line for anything else that is wrong.
    """
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise LutFormatError(f"cannot read the table {path}: {exc.strerror or exc}") from exc
    documents: list[dict[str, Any]] = []
    incomplete = None
    whole = content.split(b"\n")
    for number, line in enumerate(whole, start=1):
        if not line.strip():
            continue
        try:
            document = json.loads(line.decode("utf-8"))
            if not isinstance(document, dict):
                raise ValueError("not an object")  # noqa: TRY004, TRY301  (told as damage below)
        except ValueError:
            if number == len(whole) and documents:
                incomplete = f"{path}: the last line is torn and was dropped"
                break
            if documents:
                raise LutFormatError(f"{path} is damaged in line {number}; derive it again from its journal") from None
            raise LutFormatError(f"{path} is not a latency table: its first line is no header") from None
        if not documents:
            _check_header(path, document)
        documents.append(document)
    if not documents:
        raise LutFormatError(f"{path} is empty; derive it again from its journal")
    return documents[0], documents[1:], incomplete


def _check_header(path: Path, header: Mapping[str, Any]) -> None:
    schema = header.get("schema")
    if header.get("kind") != "lut" or not isinstance(schema, int):
        raise LutFormatError(f"{path} is not a latency table: its first line is no header")
    if schema > SCHEMA:
        raise LutFormatError(f"{path} has schema {schema}, this hwnas reads up to {SCHEMA}; upgrade hwnas to read it")


def operator_line(row: OperatorRow) -> dict[str, object]:
    """One operator, as it stands in the file."""
    return {
        "operator": str(row.operator),
        "latency_ms": row.latency_ms,
        "interval_ms": _listed(row.interval_ms),
        "raw_ms": row.raw_ms,
        "status": row.status,
        "metrics": dict(row.metrics),
        "rounds": row.rounds,
        "samples": row.samples,
        "artifact_sha256": row.artifact_sha256,
        "parity_error": row.parity_error,
        "streamed_bytes": row.streamed_bytes,
    }


def operator_row(line: Mapping[str, Any]) -> OperatorRow:
    """The inverse of :func:`operator_line`; unknown keys are ignored."""
    return OperatorRow(
        operator=OperatorSpec.parse(line["operator"]),
        latency_ms=float(line["latency_ms"]),
        rounds=int(line["rounds"]),
        samples=int(line["samples"]),
        artifact_sha256=str(line["artifact_sha256"]),
        parity_error=_number(line["parity_error"]),
        metrics=_metrics(line),
        streamed_bytes=int(line["streamed_bytes"]),
        interval_ms=_pair(line.get("interval_ms")),
        raw_ms=_number(line.get("raw_ms")),
        status=_status(line),
    )


def model_line(model: WholeModel) -> dict[str, object]:
    """One whole model, as it stands in the file."""
    return {
        "model": model.model,
        "role": model.role,
        "latency_ms": model.latency_ms,
        "interval_ms": _listed(model.interval_ms),
        "status": model.status,
        "halves_ms": _listed(model.halves_ms),
        "rounds": model.rounds,
        "samples": model.samples,
        "candidate": dict(model.candidate),
        "operators": {str(operator): model.operators[operator] for operator in sorted(model.operators)},
        "artifact_sha256": model.artifact_sha256,
        "parity_error": model.parity_error,
        "metrics": dict(model.metrics),
    }


def whole_model(line: Mapping[str, Any]) -> WholeModel:
    """The inverse of :func:`model_line`; unknown keys are ignored."""
    return WholeModel(
        model=str(line["model"]),
        role=line["role"],
        candidate={str(name): int(value) for name, value in line["candidate"].items()},
        operators={OperatorSpec.parse(text): int(count) for text, count in line["operators"].items()},
        latency_ms=float(line["latency_ms"]),
        halves_ms=_pair(line["halves_ms"]),
        rounds=int(line["rounds"]),
        samples=int(line["samples"]),
        artifact_sha256=str(line["artifact_sha256"]),
        parity_error=_number(line["parity_error"]),
        interval_ms=_pair(line.get("interval_ms")),
        status=_status(line),
        metrics=_metrics(line),
    )


def _metrics(line: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in line.get("metrics", {}).items()}


def _status(line: Mapping[str, Any]) -> Status | None:
    status: Status | None = line.get("status")
    if status is not None and status not in get_args(Status):
        raise ValueError(f"{status!r} is no status")
    return status


def _listed(pair: tuple[float, float] | None) -> list[float] | None:
    return None if pair is None else list(pair)


def _pair(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    low, high = value
    return float(low), float(high)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
