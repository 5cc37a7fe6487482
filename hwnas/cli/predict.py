"""``hwnas predict``: latency of a candidate from a table, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, table
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
    batch: BatchOption = None,
    beam: BeamOption = None,
    source_tokens: SourceTokensOption = None,
    target_tokens: TargetTokensOption = None,
    vocabulary: VocabularyOption = None,
    cache_tokens: CacheTokensOption = None,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Predict candidates' latency on the table's target and workload."""
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
    documents = []
    for path in candidates:
        candidate = read_candidate(path, loaded)
        entry: dict[str, object] = {
            "candidate": str(path),
            "latency_ms": float(model.latency_ms(loaded.encode_many([candidate]))[0]),
            "target": str(table_file.target),
            "workload": dict(table_file.workload),
        }
        if explain:
            entry["operators_ms"] = model.explain(candidate)
        documents.append(entry)

    def text() -> str:
        lines = []
        for entry in documents:
            lines.append(f"{entry['latency_ms']:.4f} ms  {entry['candidate']}  ({entry['target']})")
            shares = entry.get("operators_ms")
            if isinstance(shares, dict):
                rows = sorted(shares.items(), key=lambda item: -item[1])
                lines.append(table(["operator", "ms"], [[name, f"{ms:.4f}"] for name, ms in rows]))
        return "\n".join(lines)

    emit(documents, json, text)
