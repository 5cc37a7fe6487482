"""What was measured on what, under which conditions: the facts that devices told, side by side."""

from __future__ import annotations

from collections.abc import Sequence
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
    """A measurement: what it was of, its journal or manifest, when, and where its facts stand."""

    what: str
    target: Figure | None
    when: Figure | None
    rounds: Figure | None
    state: Figure | None
    facts: tuple[Figure | None, ...]


def measurements_of(run: Run, table: TableFile | None) -> tuple[list[str], list[Measured]]:
    """Names of the facts, and every measurement of a run with them."""
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
    if run.bundle is not None and run.bundle.has("/proof/environment"):
        pointers = {"when": "/created", "rounds": "/proof/rounds", "target": "/proof/target"}
        sources.append(("winner as exported", run.bundle, "/proof/environment", pointers))
    shown = [name for name in FACTS if any(document.has(f"{facts}/{name}") for _, document, facts, _ in sources)]
    found = [
        Measured(
            what,
            document.figure(pointers["target"]) if "target" in pointers else target_of(document),
            document.figure(pointers["when"]),
            document.figure(pointers["rounds"]),
            document.figure(pointers["state"]) if "state" in pointers else None,
            tuple(document.figure(f"{facts}/{name}") for name in shown),
        )
        for what, document, facts, pointers in sources
    ]
    return [FACTS[name] for name in shown], found


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
