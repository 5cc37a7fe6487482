"""Tables in other formats: CSV, and the YAML that ProxylessNAS and Once-for-All look latencies up in.

The CSV says everything a table does: its header as JSON in a comment on the first line, then a line
per operator and per whole model. The YAML maps an operator to ``{count, mean, var}`` in
milliseconds (ProxylessNAS search/utils/latency_estimator.py, Once-for-All
ofa/nas/efficiency_predictor/latency_lookup_table.py); it says nothing of the device, the workload
or of whole models, and cannot say that a number is an estimate.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latency_luts.errors import LutFormatError
from latency_luts.operator import OperatorSpec
from latency_luts.rows import OperatorRow
from latency_luts.table import LatencyLut, Subject
from profiler.target import Target

HEADER = "# hwnas latency table: "
_SOURCE = "source"
"""Measured or estimated: the header says it once, this column where a line stands alone."""
_PLAIN = ("operator", "model", "role", "status", "artifact_sha256", _SOURCE)
_COLUMNS = (
    *("operator", "model", "role", "latency_ms", "low_ms", "high_ms", "raw_ms", "status", "rounds", "samples"),
    *("halves_ms", "candidate", "operators", "artifact_sha256", "parity_error", "streamed_bytes"),
    _SOURCE,
)
_METRIC = "metrics."

_FOREIGN_KINDS = {kind.lower(): kind for kind in ("Conv", "Conv_1", "Conv_2", "Logits", "AvgPool2D")}
_FOREIGN_SIZES = ("input", "output", "expand", "kernel", "stride", "idskip", "se", "hs")
_KEY = re.compile(r"(?P<kind>[A-Za-z][A-Za-z0-9_]*)(?P<sizes>(-[a-z][a-z0-9_]*:[a-z0-9]+)*)")
_AXIS = re.compile(r"(?P<name>.+)_x(?P<axis>[0-9])")
_TWO_SIDED_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Origin:
    """What a file of another format does not say of itself: what was measured, and for what."""

    target: Target
    workload: Mapping[str, int]
    subject: Subject


def to_csv(lut: LatencyLut) -> str:
    """The whole table; :func:`from_csv` gives it back."""
    header, body = lut.documents()
    metrics = sorted({name for line in body for name in _mapping(line["metrics"])})
    text = io.StringIO()
    text.write(HEADER + json.dumps(header) + "\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(_METRIC + name for name in metrics)])
    for line in body:
        low, high = _pair(line["interval_ms"])
        flat = {**line, "low_ms": low, "high_ms": high, _SOURCE: lut.source}
        numbers = _mapping(line["metrics"])
        writer.writerow([*(_cell(name, flat.get(name)) for name in _COLUMNS), *(numbers.get(m, "") for m in metrics)])
    return text.getvalue()


def from_csv(path: Path, origin: Origin | None = None) -> LatencyLut:
    """A table from its CSV, or from any CSV with the columns ``operator`` and ``latency_ms`` and an ``origin``.

    Raises :class:`LutFormatError`, naming file and line, for anything else.
    """
    first, _, rest = _text(path).partition("\n")
    if first.startswith(HEADER):
        try:
            header = json.loads(first.removeprefix(HEADER))
        except ValueError:
            raise LutFormatError(f"{path}:1: the comment that describes the table is damaged") from None
        reader, skipped = csv.DictReader(io.StringIO(rest)), 2
    else:
        header, reader, skipped = None, csv.DictReader(io.StringIO(first + "\n" + rest)), 1
    try:
        records = list(reader)
    except csv.Error as exc:
        raise LutFormatError(f"{path} is not a CSV: {exc}") from None
    names = reader.fieldnames or []
    if "latency_ms" not in names or "operator" not in names:
        raise LutFormatError(f"{path} is no CSV of a latency table: it needs the columns operator and latency_ms")
    body = [_line(path, number, record) for number, record in enumerate(records, start=1 + skipped)]
    sources = {line.pop(_SOURCE, None) for line in body} - {None}
    if header is not None:
        table = LatencyLut.of_documents(path, header, body)
        _require_source(path, sources, table.source)
        return table
    _require_source(path, sources, "measured")
    return _taken_over(path, origin, _rows(path, body))


def _require_source(path: Path, sources: Collection[str], source: str) -> None:
    """Rows that say something else have lost the comment that described them, or never had one."""
    others = sorted(str(other) for other in sources if other != source)
    if others:
        raise LutFormatError(
            f"{path} has rows that are {others[0]}, without the comment that says by what: export the table again"
        )


def to_ofa(lut: LatencyLut) -> str:
    """The operators as ProxylessNAS's and Once-for-All's YAML.

    ``count`` is the number of samples and ``var`` what gives their mean the row's interval, 0 where that is not
    known. Raises
    :class:`LutFormatError` for a table that is not measured: the format could not say so.
    """
    if lut.source != "measured":
        raise LutFormatError(
            f"the table of {lut.target} is {lut.source}, which this YAML cannot say; export it as CSV instead"
        )
    document = {}
    for operator, row in sorted(lut.rows.items()):
        low, high = row.interval_ms or (row.latency_ms, row.latency_ms)
        variance = ((high - low) / 2 / _TWO_SIDED_95) ** 2 * max(1, row.samples)
        document[_key(operator)] = {"count": row.samples, "mean": row.latency_ms, "var": variance}
    import yaml

    return str(yaml.safe_dump(document, sort_keys=False))


def from_ofa(path: Path, origin: Origin | None) -> LatencyLut:
    """A table from such a YAML; ``origin`` says what it does not.

    Raises :class:`LutFormatError`, naming file and entry, for what is none.
    """
    import yaml

    try:
        document = yaml.load(_text(path), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError) as exc:  # a ValueError is a date that there is not
        raise LutFormatError(f"{path} is not YAML ({' '.join(str(exc).split())[:80]})") from None
    if not isinstance(document, dict) or not document:
        raise LutFormatError(
            f"{path} is no latency table of ProxylessNAS or Once-for-All: operator -> count, mean, var"
        )
    rows = [_ofa_row(path, str(key), value) for key, value in document.items()]
    return _taken_over(path, origin, rows)


def _taken_over(path: Path, origin: Origin | None, rows: Sequence[OperatorRow]) -> LatencyLut:
    if origin is None:
        raise LutFormatError(f"{path} does not say what it was measured on; say so (--device, --runtime)")
    by_operator = {row.operator: row for row in rows}
    if len(by_operator) < len(rows):
        raise LutFormatError(f"{path} has {len(rows) - len(by_operator)} operators more than once")
    return LatencyLut(
        target=origin.target,
        workload=dict(origin.workload),
        subject=origin.subject,
        rows=by_operator,
        environment={"imported": {"file": path.name}},
        functional="as it was measured elsewhere",
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise LutFormatError(f"cannot read {path}: {exc.strerror or exc}") from exc
    except UnicodeDecodeError:
        raise LutFormatError(f"{path} is not a text file") from None


def _cell(name: str, value: object) -> object:
    if value is None or value == "":
        return ""
    return value if name in _PLAIN or isinstance(value, int | float) else json.dumps(value)


def _line(path: Path, number: int, record: Mapping[Any, Any]) -> dict[str, Any]:
    """A record of the CSV as the document :meth:`LatencyLut.documents` made it from."""
    if None in record or None in record.values():
        raise LutFormatError(f"{path}:{number} has more or fewer fields than the header")
    line: dict[str, Any] = {"metrics": {}, "rounds": 0, "samples": 0, "streamed_bytes": 0, "parity_error": None}
    line |= {"artifact_sha256": "", "halves_ms": None}
    for name, text in record.items():
        if text == "":
            continue
        try:
            value = text if name in _PLAIN else json.loads(text)
        except ValueError:
            raise LutFormatError(f"{path}:{number}: {name} is {text[:40]!r}, which is no number") from None
        if name.startswith(_METRIC):
            line["metrics"][name.removeprefix(_METRIC)] = value
        else:
            line[name] = value
    latency_ms = line.get("latency_ms")
    if not isinstance(latency_ms, int | float) or not 0 <= latency_ms < math.inf:
        raise LutFormatError(
            f"{path}:{number}: latency_ms is {record['latency_ms']!r}; it must be a number of at least 0"
        )
    if "low_ms" in line and "high_ms" in line:
        line["interval_ms"] = [line["low_ms"], line["high_ms"]]
    return line


def _rows(path: Path, body: Iterable[Mapping[str, Any]]) -> list[OperatorRow]:
    from latency_luts.lines import damaged, operator_row

    with damaged(path):
        return [operator_row(line) for line in body if "operator" in line]


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _pair(value: object) -> tuple[object, object]:
    return (value[0], value[1]) if isinstance(value, list) else (None, None)


def _key(operator: OperatorSpec) -> str:
    """``expanded_conv-input:112x112x16-expand:3``: their sizes in their order, others by name after them."""
    sizes: dict[str, str] = {}
    for name, value in operator.sizes:
        axis = _AXIS.fullmatch(name)
        stem = name if axis is None else axis["name"]
        sizes[stem] = f"{sizes[stem]}x{value}" if stem in sizes else str(value)
    if operator.precision != "fp32":
        sizes["precision"] = operator.precision
    ordered = sorted(sizes, key=lambda name: (_FOREIGN_SIZES.index(name) if name in _FOREIGN_SIZES else 99, name))
    kind = _FOREIGN_KINDS.get(operator.kind, operator.kind)
    return "-".join([kind, *(f"{name}:{sizes[name]}" for name in ordered)])


def _operator(path: Path, key: str) -> OperatorSpec:
    match = _KEY.fullmatch(key)
    kind = "" if match is None else match["kind"]
    if match is None or (kind != kind.lower() and kind not in _FOREIGN_KINDS.values()):
        raise LutFormatError(f"{path}: {key[:80]!r} is no operator like expanded_conv-input:112x112x16-kernel:5")
    sizes: dict[str, int] = {}
    precision = "fp32"
    for part in match["sizes"].split("-")[1:]:
        name, _, value = part.partition(":")
        axes = value.split("x")
        if name == "precision":
            precision = value
        elif not all(axis.isdecimal() for axis in axes):
            raise LutFormatError(f"{path}: {key[:80]!r}: {part!r} is not a size like embed:512")
        elif len(axes) == 1:
            sizes[name] = int(value)
        else:
            sizes |= {f"{name}_x{number}": int(axis) for number, axis in enumerate(axes)}
    return OperatorSpec.of(kind.lower(), precision=precision, **sizes)


def _ofa_row(path: Path, key: str, entry: object) -> OperatorRow:
    numbers = _mapping(entry)
    if "mean" not in numbers:
        raise LutFormatError(f"{path}: {key[:80]!r} has no mean; an entry is count, mean, var in milliseconds")
    known = {}
    for name in ("count", "mean", "var"):
        value = numbers.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise LutFormatError(f"{path}: {key[:80]!r}: {name} is {value!r}; it must be a number of at least 0")
        known[name] = value
    mean_ms, count = float(known["mean"]), int(known["count"])
    half = _TWO_SIDED_95 * math.sqrt(known["var"] / count) if count and known["var"] else None
    interval = None if half is None else (mean_ms - half, mean_ms + half)
    return OperatorRow(_operator(path, key), mean_ms, 0, count, "", None, interval_ms=interval)
