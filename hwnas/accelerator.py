"""What one matrix product costs on a systolic array: the answer of ``hwnas accelerator gemm``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hwnas.errors import AcceleratorError
from profiler.errors import SimulationError
from profiler.simulators.device import checked_parameters
from profiler.simulators.energy import KIB
from profiler.simulators.graph import MatrixProduct
from profiler.simulators.registry import configuration_of
from profiler.simulators.systolic import ACCUMULATOR_BYTES, VERSION, WORD_BYTES, Parameters, product_cost
from profiler.simulators.systolic_array import run

COLUMNS = ("dataflow", "rows", "cols", "M", "K", "N")
"""A question: the array, and (M,K) by (K,N)."""

_COUNTS = (
    "ifmap_sram_reads",
    "filter_sram_reads",
    "ofmap_sram_reads",
    "ofmap_sram_writes",
    "dram_ifmap_reads",
    "dram_filter_reads",
    "dram_ofmap_reads",
    "dram_ofmap_writes",
)

_SCALESIMS = ("cycles", "ifmap_sram_reads", "filter_sram_reads", "ofmap_sram_writes")
"""What SCALE-Sim 3.0.0 counts as we do."""


@dataclass(frozen=True, slots=True)
class GemmOptions:
    """What is asked beside array and product; as it stands, what SCALE-Sim 3.0.0 assumes.

    ``buffer_kib`` is the size of each of the three buffers; ``None`` is 1 MiB, or more where a tile needs it.
    ``bandwidth`` is in bytes a cycle; ``None`` is no limit. ``scalesim`` counts that tool's surplus output
    writes, and no partial sum that comes back from DRAM.
    """

    precision: str = "int8"
    buffer_kib: float | None = None
    bandwidth: float | None = None
    overlapped_folds: bool = False
    accumulates: bool = False
    scalesim: bool = False
    energy: str | None = "horowitz2014-45nm/1"


def gemm(question: Mapping[str, str | int], options: GemmOptions) -> dict[str, object]:
    """Cycles, accesses and traffic in words, utilisation (a share) and energy (mJ) of one matrix product.

    ``equal_to_scalesim`` names the figures that SCALE-Sim 3.0.0 gives too; traffic and energy are our own model's.
    ``scalesim_total_cycles`` is null where folds overlap, which they never do there.
    ``question`` has the :data:`COLUMNS`. Raises :class:`profiler.errors.SimulationError` for one that cannot be.
    """
    m, k, n = (int(question[name]) for name in ("M", "K", "N"))
    given = _parameters(question, options)
    cost = product_cost(given, MatrixProduct(1, m, k, n, weights=True), scalesim=options.scalesim)
    theirs = run(replace(given.array, overlapped_folds=False), m, k, n, scalesim_surplus=True)
    exact = [name for name in _SCALESIMS if getattr(cost, name) == getattr(theirs, name)]
    return {
        **{name: question[name] for name in COLUMNS},
        "cycles": cost.cycles,
        "scalesim_total_cycles": None if options.overlapped_folds else theirs.cycles - 1,
        "stall_cycles": cost.cycles - cost.compute_cycles,
        "utilisation": cost.utilisation,
        **{name: getattr(cost, name) for name in _COUNTS},
        "dram_bytes": cost.dram_read_bytes + cost.dram_write_bytes,
        "energy_mj": cost.energy_mj,
        "source": "estimated",
        "engine": "systolic",
        "version": VERSION,
        "configuration": configuration_of("systolic", given),
        "equal_to_scalesim": " ".join(exact),
        "fidelity": "uncalibrated",
    }


def read_questions(path: Path) -> list[dict[str, str | int]]:
    """The rows of a CSV file with the :data:`COLUMNS`; others are passed over, and lines that begin with ``#``.

    Raises :class:`AcceleratorError`, naming the line, for anything else.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as exc:
        raise AcceleratorError(f"{path} is not a text file in UTF-8") from exc
    kept = [(number, line) for number, line in enumerate(lines, start=1) if line.strip() and not line.startswith("#")]
    header = [name.strip() for name in next(csv.reader([kept[0][1]]))] if kept else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise AcceleratorError(f"{path} lacks the column {', '.join(missing)}; needed: {','.join(COLUMNS)}")
    return [_question(path, number, dict(zip(header, _cells(line), strict=False))) for number, line in kept[1:]]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line]))]


def _question(path: Path, number: int, row: Mapping[str, str]) -> dict[str, str | int]:
    question: dict[str, str | int] = {"dataflow": row.get("dataflow", "")}
    for name in COLUMNS[1:]:
        try:
            question[name] = int(row.get(name, ""))
        except ValueError:
            raise AcceleratorError(
                f"{path}, line {number}: {name} is {row.get(name, '')!r}, not a whole number"
            ) from None
    return question


def answers(questions: Sequence[Mapping[str, str | int]], options: GemmOptions) -> list[dict[str, object]]:
    """:func:`gemm` of each; an impossible one is named by its number."""
    found = []
    for number, question in enumerate(questions, start=1):
        try:
            found.append(gemm(question, options))
        except SimulationError as exc:
            where = f"product {number}: " if len(questions) > 1 else ""
            raise SimulationError(f"{where}{exc}") from exc
    return found


def _parameters(question: Mapping[str, str | int], options: GemmOptions) -> Parameters:
    rows, cols = int(question["rows"]), int(question["cols"])
    if options.precision not in WORD_BYTES:
        raise SimulationError(f"precision {options.precision!r} is unknown; known: {', '.join(WORD_BYTES)}")
    tile_kib = 2 * max(rows, 1) * max(cols, 1) * ACCUMULATOR_BYTES / KIB  # two halves
    size = max(1024.0, tile_kib) if options.buffer_kib is None else options.buffer_kib
    fields = {
        "rows": rows,
        "cols": cols,
        "dataflow": question["dataflow"],
        "clock_hz": 1.0,
        "dram_bytes_per_s": options.bandwidth,
        "ifmap_kib": size,
        "filter_kib": size,
        "ofmap_kib": size,
        "precision": options.precision,
        "overlapped_folds": options.overlapped_folds,
        "accumulates": options.accumulates,
        "energy": options.energy,
    }
    parameters = checked_parameters("systolic", fields)
    assert isinstance(parameters, Parameters)
    return parameters
