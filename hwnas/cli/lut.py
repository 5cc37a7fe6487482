"""``hwnas lut``: what latency tables hold, whether they can be trusted, what changed, and other formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli import lut_check, lut_diff, lut_exchange
from hwnas.cli.console import emit, guarded, table
from hwnas.cli.options import FamilyOption, JsonOption, load
from hwnas.cli.tables import describe, summary

if TYPE_CHECKING:
    from hwnas.workload import Workload
    from latency_luts import LatencyLut

app = typer.Typer(help="Latency tables.", no_args_is_help=True)


@app.command(epilog="Example: hwnas lut show runs/x86.lut.jsonl --space g2p")
@guarded
def show(
    lut: Annotated[Path, typer.Argument(help="A latency table made by hwnas profile.")],
    space: Annotated[str | None, typer.Option("--space", help="Also say which of its operators are missing.")] = None,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """A table's target, rows and calibration. With --space, also what it lacks and what measures that."""
    from hwnas.families.deployed import as_in_table
    from hwnas.latency import operators_of
    from hwnas.workload import Workload
    from latency_luts import LatencyLut

    content = LatencyLut.load(lut)
    coverage: dict[str, object] = {"missing": None, "covered": None, "command": None}
    if space is not None:
        loaded, kind = load(space, family)
        wanted = operators_of(loaded, as_in_table(kind, content), Workload.from_dict(content.workload))
        same = loaded.fingerprint == content.subject.fingerprint
        missing = [str(operator) for operator in content.missing(wanted)]
        coverage = {
            "missing": missing,
            "covered": 1 - len(missing) / len(wanted),
            "command": measuring(space, content, loaded.workload, same, lut) if missing else None,
        }
    rows = [
        {
            "operator": str(row.operator),
            "latency_ms": row.latency_ms,
            "interval_ms": row.interval_ms,
            "raw_ms": row.raw_ms,
            "status": row.status,
            "rounds": row.rounds,
            "metrics": dict(row.metrics),
        }
        for _, row in sorted(content.rows.items())
    ]

    def text() -> str:
        cells = [
            [
                str(row.operator),
                f"{1000 * row.latency_ms:.2f}",
                "-" if row.interval_ms is None else " to ".join(f"{1000 * end:.2f}" for end in row.interval_ms),
                row.status or "-",
            ]
            for _, row in sorted(content.rows.items())
        ]
        lines = [describe(content), table(["operator", "us", "95 % interval", "status"], cells)]
        if space is not None:
            other = "" if same else " (the table is of another space)"
            lines.append(f"missing for {space}{other}: {len(missing)}" + "".join(f"\n  {name}" for name in missing))
            if missing:
                lines.append(f"measure them: {coverage['command']}")
        return "\n".join(lines)

    emit(summary(content) | {"rows": rows} | coverage, json, text)


def measuring(space: str, content: LatencyLut, default: Workload, same: bool, lut: Path) -> str:
    """The command that measures what a table lacks; of the same space, with its own journal, it goes on there."""
    default_sizes = default.as_dict()
    options = "".join(
        f" --{'cache-tokens' if name == 'cache' else name.replace('_', '-')} {value}"
        for name, value in content.workload.items()
        if value != default_sizes[name]
    )
    out = lut if same else lut.with_name(f"{Path(space).stem}.lut.jsonl")
    return f"hwnas profile --space {space} --device {content.target.device} --out {out}{options}"


lut_check.register(app)
lut_diff.register(app)
lut_exchange.register(app)
