"""``hwnas predict``: latency of a candidate from a table, without running it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hwnas.cli.console import emit, guarded, table, with_interval
from hwnas.cli.options import (
    BatchOption,
    BeamOption,
    CacheTokensOption,
    FamilyOption,
    JsonOption,
    SourceTokensOption,
    TargetTokensOption,
    VocabularyOption,
    load,
    note_losses,
    workload_of,
)

TableOption = Annotated[Path, typer.Option("--table", help="Latency table made by hwnas profile.")]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas predict winner.yml --space g2p --table runs/x86.lut.jsonl --explain")(predict)


@guarded
def predict(
    candidates: Annotated[list[Path], typer.Argument(help="Candidate files: ours, or HAT's YAML.")],
    lut: TableOption,
    space: Annotated[str, typer.Option("--space", help="The search space they are from.")],
    explain: Annotated[bool, typer.Option("--explain", help="Show what each kind of operator costs.")] = False,
    confidence: Annotated[
        float | None,
        typer.Option(help="How often a measurement at the table's level lies in a prediction's interval; else 0.95."),
    ] = None,
    batch: BatchOption = None,
    beam: BeamOption = None,
    source_tokens: SourceTokensOption = None,
    target_tokens: TargetTokensOption = None,
    vocabulary: VocabularyOption = None,
    cache_tokens: CacheTokensOption = None,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Predict candidates' latency on a table's target."""
    from hwnas.candidates import read_candidate
    from hwnas.latency import TableLatency
    from hwnas.workload import Workload
    from latency_luts import LatencyLut

    loaded, kind = load(space, family)
    table_file = LatencyLut.load(lut)
    workload = workload_of(
        Workload.from_dict(table_file.workload),
        batch=batch,
        beam=beam,
        source_tokens=source_tokens,
        target_tokens=target_tokens,
        vocabulary=vocabulary,
        cache=cache_tokens,
    )
    model = TableLatency(loaded, kind, table_file, workload=workload)
    note_losses(table_file)
    level = 0.95 if confidence is None and model.bounded else confidence
    energy = model.metric("energy_mj") if "energy_mj" in model.metrics else None
    documents: list[dict[str, object]] = []
    for path in candidates:
        candidate = read_candidate(path, loaded)
        entry: dict[str, object] = {
            "candidate": str(path),
            "latency_ms": float(model.latency_ms(loaded.encode_many([candidate]))[0]),
            "interval_ms": None if level is None else model.interval_of(candidate, level),
            "confidence": level,
            "energy_mj": None if energy is None else energy.of(candidate),
            "peak_memory_mib": kind.peak_memory_bytes(loaded, candidate, workload) / 2**20,
            "target": str(table_file.target),
            "source": table_file.source,
            "provenance": dict(table_file.provenance),
            "workload": dict(table_file.workload),
        }
        if explain:
            entry["operators_ms"] = model.explain(candidate)
        documents.append(entry)

    emit(documents, json, lambda: "\n".join(_told(entry, table_file.origin) for entry in documents))


def _told(entry: Mapping[str, Any], origin: str) -> str:
    """A line, and what each kind of operator costs below it."""
    sure = "" if entry["confidence"] is None else f" at {100 * entry['confidence']:g} %"
    energy = "" if entry["energy_mj"] is None else f"{entry['energy_mj']:.4g} mJ  "
    where = entry["target"] + ("" if origin == "measured" else f", {origin}")
    latency = with_interval(entry["latency_ms"], entry["interval_ms"], " ms")
    memory = f"{entry['peak_memory_mib']:.3g} MiB in fp32  "
    lines = [f"{latency}{sure}  {energy}{memory}{entry['candidate']}  ({where})"]
    if "operators_ms" in entry:
        rows = sorted(entry["operators_ms"].items(), key=lambda item: -item[1])
        lines.append(table(["operator", "ms"], [[name, f"{ms:.4f}"] for name, ms in rows]))
    return "\n".join(lines)
