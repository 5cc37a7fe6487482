"""``hwnas runtimes``: the tables of several runtimes and precisions beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hwnas.cli.console import emit, guarded, table
from hwnas.cli.options import JsonOption

app = typer.Typer(no_args_is_help=True, help="Who wins where: runtimes and precisions of one device.")


@app.callback()
def runtimes() -> None:
    """Who wins where: runtimes and precisions of one device."""


@app.command(epilog="Example: hwnas runtimes compare runs/tables --bundles runs/bundles")
@guarded
def compare(
    folder: Annotated[Path, typer.Argument(help="Folder of tables made by hwnas profile --runtime.")],
    bundles: Annotated[
        Path | None, typer.Option(help="Folder of bundles made by hwnas export --format all, for quality.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare runtimes and precisions on one device.

    Latency of every kind of operator and of whole models, as ratios to the first.

    The first is ONNX Runtime in fp32 if it is there. Below 1 is faster. Nothing is measured.
    """
    from hwnas.errors import HwnasError
    from hwnas.runtimes import compare_tables
    from latency_luts import LatencyLut

    paths = sorted(folder.glob("*.lut.jsonl"), key=lambda path: (path.name != "onnxruntime.lut.jsonl", path.name))
    if len(paths) < 2:
        raise HwnasError(f"{folder} has {len(paths)} tables; run: hwnas profile --runtime all --out {folder}")
    tables = {path.name.removesuffix(".lut.jsonl"): LatencyLut.load(path) for path in paths}
    found = compare_tables(tables)
    quality = {} if bundles is None else _changes(bundles)
    document: dict[str, Any] = {
        "targets": {name: str(lut.target) for name, lut in tables.items()},
        "first": next(iter(tables)),
        "kinds": {each.kind: {"count": each.count, "ratios": each.ratios, "fastest": each.lowest} for each in found},
        "quality": quality,
    }

    def text() -> str:
        names = list(tables)
        rows = [
            [each.kind, str(each.count), *(f"{each.ratios[name]:.2f}" for name in names), each.lowest] for each in found
        ]
        lines = [table(["operator", "number", *names, "fastest"], rows), f"ratios of latency to {names[0]}"]
        lines += [f"{name}: {change}" for name, change in quality.items()]
        return "\n".join(lines)

    emit(document, json, text)


def _changes(bundles: Path) -> dict[str, str]:
    """What each bundle's precision costs in quality, by the name of its table."""
    import json

    from hwnas.cli.export_told import change_of
    from profiler.exporting import RUNTIMES

    found = {}
    for path in sorted(bundles.glob("*/manifest.json")):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        runtime = RUNTIMES[manifest["format"]]
        name = runtime if manifest["precision"] == "fp32" else f"{runtime}-{manifest['precision']}"
        found[name] = change_of(manifest) or "decodes as PyTorch does"
    return found
