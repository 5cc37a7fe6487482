"""Reads matrix products that were measured on a device, from CSV."""

from __future__ import annotations

import csv
from pathlib import Path

from hwnas.errors import AcceleratorError
from profiler.simulators.graph import MatrixProduct
from profiler.simulators.roofline_fit import MeasuredProduct

COLUMNS = ("batch", "M", "K", "N", "latency_ms")
"""``batch`` products of (M,K) by (K,N), and how long they took in one call."""


def read_measured_products(path: Path) -> list[MeasuredProduct]:
    """The rows of a CSV file with the :data:`COLUMNS`, in any order; others are passed over.

    Raises :class:`AcceleratorError`, naming the line, for anything else.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as exc:
        raise AcceleratorError(f"{path} is not a text file in UTF-8") from exc
    reader = csv.DictReader(lines, skipinitialspace=True)
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise AcceleratorError(f"{path} lacks the column {', '.join(missing)}; needed: {','.join(COLUMNS)}")
    return [_point(row, f"{path}, line {reader.line_num}") for row in reader]


def _point(row: dict[str, str], place: str) -> MeasuredProduct:
    try:
        batch, m, k, n = (int(row[name]) for name in COLUMNS[:4])
        latency_ms = float(row["latency_ms"])
    except (TypeError, ValueError):
        raise AcceleratorError(f"{place}: whole numbers {','.join(COLUMNS[:4])} and a latency are needed") from None
    if min(batch, m, k, n) < 1:
        raise AcceleratorError(f"{place}: {','.join(COLUMNS[:4])} must be at least 1, not {batch},{m},{k},{n}")
    return MeasuredProduct(MatrixProduct(batch, m, k, n, weights=True), latency_ms)
