"""What was measured on what, under which conditions: the facts that devices told, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hwnas.report.documents import Document, Figure, escaped
from hwnas.report.run import Run, TableFile

FACTS = {
    "cpu_model": "CPU",
    "board": "board",
    "machine": "machine",
    "cores": "cores",
    "hypervisor": "virtual machine",
    "system": "system",
    "kernel": "kernel",
    "governor": "governor",
    "turbo": "turbo",
    "load_average/0": "load, one minute",
    "clock_source": "clock source",
    "runtime": "runtime",
    "python": "Python",
    "numpy": "NumPy",
    "libc": "C library",
}
"""The facts that are shown, where any measurement has them."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement: what it was of, where, when, how long, and the fingerprint of the device's state."""

    what: str
    target: Figure | None
    when: Figure | None
    rounds: Figure | None
    state: Figure | None


@dataclass(frozen=True, slots=True)
class Fact:
    """Something devices told of themselves, a cell for every measurement; ``same`` if all told the same."""

    name: str
    cells: tuple[Figure | None, ...]

    @property
    def same(self) -> bool:
        """Whether one cell says it all."""
        return len({None if cell is None else cell.value for cell in self.cells}) == 1


def measurements_of(run: Run, table: TableFile | None) -> tuple[list[Fact], list[Measured]]:
    """Every measurement of a run, and what is known of the device then."""
    sources: list[tuple[str, Document, str, dict[str, str]]] = []
    if table is not None and table.lut.source == "measured":
        pointers = {"when": "/0/created", "rounds": "/0/rounds", "state": "/0/fingerprint"}
        sources.append(("operators and whole models", table.document, "/0/environment/start", pointers))
    finalists = None if run.search is None else run.search.finalists
    if finalists is not None:
        at = next((place for place, _ in finalists.items("") if finalists.text(f"{place}/at") == "start"), None)
        if at is not None:
            pointers = {"when": "/0/created", "rounds": "/0/plan/rounds", "state": f"{at}/fingerprint"}
            sources.append(("finalists", finalists, f"{at}/facts", pointers | {"target": f"{at}/target"}))
    sources += _of_the_bundle(run.bundle)
    facts = [
        Fact(told, tuple(document.figure(f"{place}/{name}") for _, document, place, _ in sources))
        for name, told in FACTS.items()
    ]
    found = [
        Measured(
            what,
            document.figure(pointers["target"]) if "target" in pointers else target_of(document),
            document.figure(pointers["when"]),
            document.figure(pointers["rounds"]),
            document.figure(pointers["state"]) if "state" in pointers else None,
        )
        for what, document, _, pointers in sources
    ]
    return [fact for fact in facts if any(cell is not None for cell in fact.cells)], found


def _of_the_bundle(bundle: Document | None) -> Iterator[tuple[str, Document, str, dict[str, str]]]:
    if bundle is None:
        return
    if bundle.has("/proof/environment"):
        pointers = {"when": "/created", "rounds": "/proof/rounds", "target": "/proof/target"}
        yield "winner as exported", bundle, "/proof/environment", pointers
    for place, _ in bundle.items("/deployments"):
        if bundle.has(f"{place}/measured_ms"):
            pointers = {"when": f"{place}/at", "rounds": f"{place}/rounds", "target": f"{place}/target"}
            yield f"bundle on {place.rsplit('/', 1)[1]}", bundle, f"{place}/environment", pointers


def target_of(document: Document) -> Figure:
    """The target of a table."""
    told = document.mapping("/0/target")
    text = "{device}/{runtime}/threads={threads}/{clock}".format_map(told)
    return Figure(text, (document.place("/0/target"),), "target")


def quarantine_of(document: Document) -> list[tuple[str, Figure]]:
    """Visits that did not count while a table was profiled, by reason."""
    reasons = dict.fromkeys(
        reason for place, _ in document.items("/0/drift/quarantined") for reason in document.mapping(place)
    )
    counted = [(why, document.all(f"/0/drift/quarantined/*/{escaped(why)}", "sum")) for why in reasons]
    return [(why, figure) for why, figure in counted if figure is not None]


def statuses_of(document: Document) -> list[tuple[str, Figure]]:
    """How many operators of a table ended how: converged, out of budget, unstable."""
    told = [document.text(f"{place}/status") for place, _ in document.items("") if document.has(f"{place}/operator")]
    place = document.place("/*/status")
    # whole models have a status too, so the operators are told by their own name
    return [(status, Figure(told.count(status), (place,), f"count-operators:{status}")) for status in _ordered(told)]


def _ordered(told: Sequence[str]) -> list[str]:
    return [status for status in ("converged", "budget", "unstable") if status in told]
