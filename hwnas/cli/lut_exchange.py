"""``hwnas lut export`` and ``hwnas lut import``: CSV, ProxylessNAS's and Once-for-All's YAML, HAT's CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from hwnas.cli.console import emit, guarded
from hwnas.cli.options import JsonOption
from hwnas.cli.tables import describe, summary

if TYPE_CHECKING:
    from latency_luts.exchange import Origin
    from profiler.target import Clock

FORMATS = {"csv": "CSV", "ofa": "the YAML of ProxylessNAS and Once-for-All", "hat": "HAT's CSV"}
FormatOption = Annotated[
    str | None,
    typer.Option("--format", help="csv, ofa (ProxylessNAS's and Once-for-All's YAML) or hat; else by the file."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("export", epilog="Example: hwnas lut export runs/x86.lut.jsonl --out x86.csv")(export_table)
    app.command("import", epilog="Example: hwnas lut import note10.yaml --device note10 --out note10.lut.jsonl")(
        import_table
    )


@guarded
def export_table(
    lut: Annotated[Path, typer.Argument(help="A latency table.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    layout: FormatOption = None,
    space: Annotated[str | None, typer.Option("--space", help="For hat: the space its whole models are of.")] = None,
    split_by_table: Annotated[
        bool,
        typer.Option("--split-by-table", help="For hat: share a whole model out to encoder and decoder."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a table in another format. What that cannot say is refused."""
    from hwnas.files import write_text
    from latency_luts import LatencyLut, LutFormatError
    from latency_luts.exchange import to_csv, to_ofa

    content, chosen = LatencyLut.load(lut), _format(layout, out)
    if out.resolve() == lut.resolve():
        raise LutFormatError(f"--out {out} is the table itself; choose another file")
    if chosen == "csv":
        text = to_csv(content)
    elif chosen == "ofa":
        text = to_ofa(content)
    else:
        from hwnas.families.seq2seq.hat_csv import to_hat
        from hwnas.spaces import load_space

        text = to_hat(content, None if space is None else load_space(space), split_by_table)
    write_text(out, text)
    lost = {"ofa": "the device, the workload and whole models", "hat": "the device, the workload and the operators"}
    document = {
        "table": str(lut),
        "out": str(out),
        "format": chosen,
        "source": content.source,
        "left_out": lost.get(chosen),
    }
    told = f"; it cannot say {lost[chosen]}" if chosen in lost else ""
    emit(document, json, f"{out}: {FORMATS[chosen]} of {content.target}, {content.origin}{told}")


@guarded
def import_table(
    file: Annotated[Path, typer.Argument(help="A CSV of lut export, a YAML of latencies, or HAT's CSV.")],
    out: Annotated[Path, typer.Option("--out", help="The table to write.")],
    layout: FormatOption = None,
    device: Annotated[
        str | None, typer.Option("--device", help="What it was measured on, where it does not say.")
    ] = None,
    runtime: Annotated[str, typer.Option("--runtime", help="What ran the models there.")] = "unknown",
    threads: Annotated[int, typer.Option("--threads", min=1, help="With how many threads.")] = 1,
    clock: Annotated[str, typer.Option("--clock", help="wall or thread_cpu.")] = "wall",
    space: Annotated[
        str | None, typer.Option("--space", help="Its operators are those of this space, for its own workload.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a table of a file in another format. Nothing in it was compared with PyTorch here."""
    from latency_luts import LutFormatError
    from latency_luts.exchange import from_csv, from_ofa

    chosen = _format(layout, file)
    if layout is None and chosen == "csv" and _is_hat(file):
        chosen = "hat"
    origin = None if device is None else _origin(device, runtime, threads, clock, space)
    if chosen == "csv":
        content = from_csv(file, origin)
    elif chosen == "ofa":
        content = from_ofa(file, origin)
    else:
        from hwnas.families.seq2seq.hat_csv import from_hat

        if origin is None:
            raise LutFormatError(f"{file} does not say what it was measured on; say so (--device, --runtime)")
        content = from_hat(file, origin)
    content.save(out)
    emit(summary(content) | {"table": str(out), "format": chosen}, json, f"{describe(content)}\n{out}")


def _format(given: str | None, file: Path) -> str:
    from latency_luts import LutFormatError

    chosen = given or {".csv": "csv", ".yaml": "ofa", ".yml": "ofa"}.get(file.suffix.lower())
    if chosen not in FORMATS:
        what = f"--format {given!r} is unknown" if given else f"{file} does not show its format by its name"
        raise LutFormatError(f"{what}; known: {', '.join(FORMATS)} (--format)")
    return chosen


def _is_hat(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return "latency_mean_encoder" in stream.readline(2000)
    except OSError:
        return False  # whoever reads it says why


def _origin(device: str, runtime: str, threads: int, clock: str, space: str | None) -> Origin:
    from hwnas.spaces import load_space
    from latency_luts import LutFormatError, Subject
    from latency_luts.exchange import Origin
    from profiler.target import Target

    if clock not in ("wall", "thread_cpu"):
        raise LutFormatError(f"--clock {clock!r} is unknown; known: wall, thread_cpu")
    target = Target(device, runtime, threads, cast("Clock", clock))
    if space is None:
        return Origin(target, {}, Subject("", ""))
    loaded = load_space(space)
    return Origin(target, loaded.workload.as_dict(), Subject(loaded.name, loaded.fingerprint))
