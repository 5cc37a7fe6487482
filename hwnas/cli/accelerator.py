"""``hwnas accelerator``: what a matrix product costs on an array, and which accelerator suits a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, progress_bar, say, table
from hwnas.cli.options import CacheOption, DevicesOption, FamilyOption, JsonOption, cache_folder, load

app = typer.Typer(help="Simulated accelerators; every figure is an estimate.", no_args_is_help=True)


@app.command(epilog="Example: hwnas accelerator gemm --dataflow ws --rows 16 --cols 16 128 512 512")
@guarded
def gemm(
    m: Annotated[int | None, typer.Argument(metavar="M", help="Rows of the first operand.")] = None,
    k: Annotated[int | None, typer.Argument(metavar="K", help="Its columns, and rows of the second.")] = None,
    n: Annotated[int | None, typer.Argument(metavar="N", help="Columns of the second operand.")] = None,
    dataflow: Annotated[str, typer.Option("--dataflow", help="What stays in the array: os, ws or is.")] = "ws",
    rows: Annotated[int | None, typer.Option("--rows", help="Rows of the array.")] = None,
    cols: Annotated[int | None, typer.Option("--cols", help="Columns of the array.")] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Many questions: a file with columns dataflow,rows,cols,M,K,N.")
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="fp32, fp16, int8 or int4.")] = "int8",
    buffer_kib: Annotated[
        float | None, typer.Option("--buffer-kib", help="Each of three buffers; else 1024, or what a tile needs.")
    ] = None,
    bandwidth: Annotated[
        float | None, typer.Option("--bandwidth", help="Bytes a cycle to and from DRAM; else transfers take no time.")
    ] = None,
    overlap: Annotated[
        bool, typer.Option("--overlap", help="Load a fold while the one before runs; SCALE-Sim does not.")
    ] = False,
    accumulate: Annotated[
        bool, typer.Option("--accumulate", help="Add partial sums up on the chip; SCALE-Sim does not.")
    ] = False,
    scalesim: Annotated[
        bool,
        typer.Option(
            "--scalesim", help="Count surplus output writes for os, and no return of spilled sums, as SCALE-Sim."
        ),
    ] = False,
    energy: Annotated[str, typer.Option("--energy", help="Table of unit energies.")] = "horowitz2014-45nm/1",
    json: JsonOption = False,
) -> None:
    """Say what (M,K) x (K,N) costs on a systolic array.

    Told are cycles, SRAM accesses, DRAM traffic (words), utilisation and energy.
    Which of cycles and SRAM accesses are exactly SCALE-Sim 3.0.0's is told (its "total cycles" is one
    less). Traffic follows our own model of the buffers; energy is counts times unit energies.
    """
    from hwnas.accelerator import COLUMNS, GemmOptions, answers, read_questions

    options = GemmOptions(
        precision=precision,
        buffer_kib=buffer_kib,
        bandwidth=bandwidth,
        overlapped_folds=overlap,
        accumulates=accumulate,
        scalesim=scalesim,
        energy=energy,
    )
    if csv is not None:
        if m is not None or rows is not None or cols is not None:
            raise typer.BadParameter("--csv gives the arrays and products; leave out M K N, --rows and --cols")
        found = answers(read_questions(csv), options)
        emit(found, json, lambda: _as_csv(found))
        return
    values = (dataflow, rows, cols, m, k, n)
    missing = [
        name for name, value in zip(("", "--rows", "--cols", "M", "K", "N"), values, strict=True) if value is None
    ]
    if missing:
        raise typer.BadParameter(f"missing {', '.join(missing)}; or give many questions with --csv FILE")
    (answer,) = answers([{name: v for name, v in zip(COLUMNS, values, strict=True) if v is not None}], options)
    emit(answer, json, lambda: _told(answer))


def _told(answer: dict[str, object]) -> str:
    shown = [(name, _figure(value)) for name, value in answer.items() if name not in ("configuration", "version")]
    return table(["estimated", ""], shown)


def _figure(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _as_csv(rows: list[dict[str, object]]) -> str:
    import csv
    import io

    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue().rstrip("\n")


@app.command(
    epilog="Example: hwnas accelerator sweep winner.yml --space g2p --device edge-16x16"
    " --vary rows=8,16,32 --vary cols=8,16,32 --vary dataflow=os,ws,is"
)
@guarded
def sweep(
    candidates: Annotated[list[Path], typer.Argument(help="Models: candidate files of the space.")],
    space: Annotated[str, typer.Option("--space", help="The search space they are from.")],
    vary: Annotated[
        list[str], typer.Option("--vary", help="A parameter of the engine and its values: NAME=V1,V2,... (repeat).")
    ],
    device: Annotated[str, typer.Option("--device", help="The simulated device whose parameters vary.")] = "edge-16x16",
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write every point here.")] = None,
    devices: DevicesOption = None,
    cache: CacheOption = None,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Estimate models on a grid of accelerators.

    Told is the Pareto front of latency, energy and area.
    Latency and energy are the sums over the models given, on the space's workload. Points that cannot
    be built (a buffer smaller than a tile, ...) are left out and counted.
    """
    from hwnas.accelerator_sweep import parse_grid, sweep_device
    from hwnas.candidates import read_candidate
    from hwnas.errors import AcceleratorError
    from hwnas.files import write_text
    from profiler import load_devices
    from profiler.simulators.device import SimulatedDevice

    loaded, kind = load(space, family)
    chosen = load_devices(devices).get(device)
    if not isinstance(chosen, SimulatedDevice):
        raise AcceleratorError(f"{device!r} is {chosen.kind}: only a simulated device has parameters to vary")
    grid = parse_grid(vary)
    models = [read_candidate(path, loaded) for path in candidates]
    with progress_bar("exporting") as exporting, progress_bar("estimating") as estimating:
        result = sweep_device(
            loaded,
            kind,
            loaded.workload,
            models,
            chosen,
            grid,
            cache=cache_folder(cache),
            exporting=exporting.update,
            estimating=estimating.update,
        )
    rows = [point.as_dict() for point in result.points]
    if csv is not None:
        write_text(csv, _as_csv(rows) + "\n")
    for reason in result.refused[:3]:
        say(f"left out: {reason}")
    front = [row for row in rows if row["pareto"]]

    def text() -> str:
        columns = [*grid, "latency_ms", "energy_mj", "area_mm2"]
        shown = [[_figure(row[name]) for name in columns] for row in front]
        count = f"{len(rows)} accelerators estimated by {chosen.engine}, {len(result.refused)} impossible"
        return f"{count}; not bettered in latency, energy and area:\n" + table(columns, shown)

    document = {
        "source": "estimated",
        "engine": chosen.engine,
        "models": [str(path) for path in candidates],
        "points": rows,
        "refused": list(result.refused),
    }
    emit(document, json, text)
