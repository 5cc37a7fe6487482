"""``hwnas demo``: the whole chain on this machine, on real data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hwnas.cli.console import emit, guarded, progress_bar, say, table
from hwnas.cli.options import CacheOption, DevicesOption, JsonOption, SeedOption, cache_folder


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas demo --out runs/demo")(demo)


@guarded
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything the demo makes.")] = Path("runs/demo"),
    device: Annotated[str, typer.Option("--device", help="A device of devices.yaml.")] = "x86",
    updates: Annotated[int | None, typer.Option(min=1, help="Training steps; fewer for a quick look.")] = None,
    seed: SeedOption = 0,
    devices: DevicesOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Do the whole job on real data, in about ten minutes.

    Trains, measures, searches, exports and proves a grapheme-to-phoneme model for this machine, and writes a report.
    """
    from dataclasses import replace

    import torch

    from hwnas.demo import DemoSettings, run_demo
    from profiler import load_devices

    torch.set_num_threads(1)
    settings = replace(DemoSettings(), seed=seed)
    if updates is not None:
        settings = replace(settings, updates=updates)
    report = run_demo(load_devices(devices).get(device), out, cache_folder(cache), settings, say=say, bar=progress_bar)
    emit(report, json, lambda: describe(report))


def describe(report: dict[str, Any]) -> str:
    """The demo's figures for a person."""
    held_out, proof, seconds = report["held_out"], report["winner"]["proof"], report["seconds"]
    low_ms, high_ms = report["range_ms"]
    evolution, rival = report["evolution"], report["random"]
    rows = [
        [
            row["model"],
            f"{row['predicted_ms']:.4f}",
            f"{row['loss']:.4f}",
            f"{row['per']:.1%}",
            f"{row['wer']:.1%}",
        ]
        for row in report["models"]
    ]
    tuned = report["winner"]["quality"]
    rates = [f"{tuned['per']:.1%}", f"{tuned['wer']:.1%}"]
    rows.append(["winner, fine-tuned", f"{report['winner']['predicted_ms']:.4f}", f"{tuned['loss']:.4f}", *rates])
    measured_ms, predicted_ms = proof["measured_ms"], report["winner"]["predicted_ms"]
    interval = "-".join(f"{ms:.4f}" for ms in proof["interval_ms"])
    worst = max(entry["max_abs_error"] for entry in proof["parity"].values())
    decoding = proof["decoding"]
    architecture = ", ".join(f"{name} {value}" for name, value in report["winner"]["architecture"].items())
    kept = "held" if measured_ms <= report["limit_ms"] else "BROKEN"
    return f"""
Device        {report["target"]}
Table         {report["operators"]} operators measured in {seconds["measuring operators"]:.0f} s;
              on {held_out["models"]} held-out whole models: mean error {held_out["mape"]:.1%}, worst \
{held_out["worst"]:.1%}, Spearman {held_out["spearman"]:.3f}
              (noise floor of the truth, split half: {held_out["split_half_floor"]:.1%})
Limit         {report["limit_ms"]:.4f} ms (the space goes from {low_ms:.4f} to {high_ms:.4f} ms)
Search        {report["evaluations"]} SubTransformers scored on {report["validation_pairs"]} validation pairs; \
best loss {evolution["finalists"][0]["loss"]:.4f};
              random search on as many others {rival["finalists"][0]["loss"]:.4f}
{"Winner        " if report["winner_met_limit"] else "NO finalist met the limit as measured; the best: "}{architecture}
Latency       predicted {predicted_ms:.4f} ms, measured {measured_ms:.4f} ms ({interval}): \
{measured_ms / predicted_ms - 1:+.1%}, the limit is {kept}
Proof         largest difference from PyTorch {worst:.1e}; {decoding["inputs"]} words decoded: \
{decoding["equal"]} equal, {decoding["near_ties"]} near ties, {decoding["different"]} different

Quality on the test words (inherited weights where not said otherwise; stress-free, greedy, best reference):
{table(["model", "predicted ms", "loss", "PER", "WER"], rows)}

Bundle        {report["bundle"]}    try: hwnas run {report["bundle"]} transformer
Report        {report["report"]}    all of this and more, as a page: open it in a browser
Time          {sum(seconds.values()):.0f} s: {", ".join(f"{name} {s:.0f}" for name, s in seconds.items())}"""
