"""The same candidates on every device that a table or a bundle is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwnas.report.architecture import Architecture
from hwnas.report.documents import Figure, Interval
from hwnas.report.predictions import Predictions
from hwnas.report.view import RunView


@dataclass(frozen=True, slots=True)
class Cell:
    """A candidate on a device: predicted with its interval, and measured where it was."""

    predicted: Figure | None
    interval: Interval | None
    measured: Figure | None
    measured_interval: Interval | None


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A candidate, whose it is, and what it takes on every device."""

    name: str
    network: Architecture
    loss: Figure | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Devices:
    """``columns`` are the targets with where their numbers are from."""

    columns: tuple[tuple[str, str, str], ...]
    rows: tuple[DeviceRow, ...]


def cross_device(views: Sequence[RunView], known: Sequence[Predictions]) -> Devices | None:
    """Winners (of a single run its finalists) on every target; ``None`` where there is one target only."""
    columns: dict[str, Predictions | None] = {str(p.table.lut.target): p for p in known}
    for view in views:
        if view.bundle is not None and view.bundle.has("/proof/target"):
            columns.setdefault(view.bundle.text("/proof/target"), None)
    if len(columns) < 2:
        return None
    rows = []
    for view in views:
        for name, pointer in _candidates(view, single=len(views) == 1):
            assert view.result is not None
            place = f"{pointer}/candidate"
            network = Architecture(view.result.mapping(place), view.result.place(place))
            cells = tuple(_cell(view, pointer, target, p, network) for target, p in columns.items())
            rows.append(DeviceRow(name, network, view.result.figure(f"{pointer}/loss"), cells))
    told = tuple(
        (target, "measured" if p is None else p.origin, "" if p is None else p.table.name)
        for target, p in columns.items()
    )
    return Devices(told, tuple(rows)) if rows else None


def _candidates(view: RunView, *, single: bool) -> list[tuple[str, str]]:
    if view.result is None or view.place is None:
        return []
    if not single:
        return [(f"winner of {view.name}", view.place[1])]
    return [(f"finalist {number}", place) for number, (place, _) in enumerate(view.result.items("/finalists"), 1)]


def _cell(view: RunView, pointer: str, target: str, p: Predictions | None, network: Architecture) -> Cell:
    predicted, interval = (None, None) if p is None else p.of(network.values, network.place)
    measured: Figure | None = None
    seen: Interval | None = None
    if view.result is not None and _measured_there(view, pointer, target, p):
        measured, seen = view.result.figure(f"{pointer}/measured_ms"), view.result.interval(f"{pointer}/interval_ms")
    of_it = view.bundle is not None and view.bundle.mapping("/architecture") == network.values
    if view.bundle is not None and of_it and view.bundle.text("/proof/target") == target:
        measured, seen = view.bundle.figure("/proof/measured_ms"), view.bundle.interval("/proof/interval_ms")
    return Cell(predicted, interval, measured, seen)


def _measured_there(view: RunView, pointer: str, target: str, p: Predictions | None) -> bool:
    """Whether the search measured this candidate on ``target``: where it chose runtimes, each on its own."""
    if view.among and view.result is not None:
        return p in view.among and p.table.lut.target.runtime_name == view.result.text(f"{pointer}/runtime")
    return view.predictions is not None and str(view.predictions.table.lut.target) == target
