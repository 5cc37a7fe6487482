"""``hwnas export``: the winner as a bundle that runs without torch, proven on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hwnas.cli.console import emit, guarded, progress_bar, say
from hwnas.cli.options import (
    BatchOption,
    BeamOption,
    CacheOption,
    CacheTokensOption,
    DevicesOption,
    FamilyOption,
    JsonOption,
    SeedOption,
    SourceTokensOption,
    SpaceOption,
    TargetTokensOption,
    ThreadsOption,
    VocabularyOption,
    WaitOption,
    cache_folder,
    load,
    note_losses,
    workload_of,
)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(
        epilog="Example: hwnas export runs/search/winner.yml --space g2p --supernet runs/supernet.pt"
        " --table runs/x86.lut.jsonl --latency-ms 0.5 --out runs/bundle"
    )(export)


@guarded
def export(
    candidate: Annotated[Path, typer.Argument(help="Candidate file: winner.yml, or HAT's YAML.")],
    space: SpaceOption,
    supernet: Annotated[Path, typer.Option("--supernet", help="Checkpoint made by hwnas train.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the bundle.")],
    lut: Annotated[Path | None, typer.Option("--table", help="Table whose prediction the bundle is held to.")] = None,
    latency_ms: Annotated[float | None, typer.Option(help="The limit the bundle is held to.")] = None,
    data: Annotated[str, typer.Option("--data", help="g2p, or a folder made by hwnas data.")] = "g2p",
    finetune_updates: Annotated[int, typer.Option(min=0, help="Training steps of the winner alone first.")] = 0,
    device: Annotated[str, typer.Option("--device", help="Device to prove it on.")] = "x86",
    decoded: Annotated[int, typer.Option(min=1, help="Test inputs to decode beside PyTorch.")] = 500,
    batch: BatchOption = None,
    beam: BeamOption = None,
    source_tokens: SourceTokensOption = None,
    target_tokens: TargetTokensOption = None,
    vocabulary: VocabularyOption = None,
    cache_tokens: CacheTokensOption = None,
    threads: ThreadsOption = 1,
    seed: SeedOption = 0,
    devices: DevicesOption = None,
    cache: CacheOption = None,
    family: FamilyOption = None,
    wait: WaitOption = False,
    json: JsonOption = False,
) -> None:
    """Make a bundle of a candidate. The weights are the SuperTransformer's; it is compared with PyTorch, then timed.

    Ends with 3 if the bundle, made all the same, does not hold --latency-ms.
    """
    from functools import partial

    import torch

    from hwnas.candidates import read_candidate
    from hwnas.changed import changed_since, note_of
    from hwnas.data import load_task
    from hwnas.data.task import require_vocabulary
    from hwnas.deploy.bundle import Promise, refuse_what_is_no_bundle
    from hwnas.deploy.export import export_bundle
    from hwnas.errors import HwnasError
    from hwnas.latency import TableLatency
    from hwnas.profiling import require_target
    from hwnas.training import FinetuneSettings, finetune, load_supernet
    from hwnas.workload import Workload
    from latency_luts import LatencyLut
    from profiler import load_devices
    from profiler.devices import require_times

    torch.set_num_threads(threads)
    asked = partial(
        workload_of,
        batch=batch,
        beam=beam,
        source_tokens=source_tokens,
        target_tokens=target_tokens,
        cache=cache_tokens,
    )
    refuse_what_is_no_bundle(out)
    loaded, kind = load(space, family)
    chosen = read_candidate(candidate, loaded)
    if latency_ms is not None and not latency_ms > 0:
        raise HwnasError(f"--latency-ms is {latency_ms}; it must be a number above 0")
    promise = Promise(latency_ms)
    target = load_devices(devices).get(device)
    require_times(target)
    if lut is not None:
        content = LatencyLut.load(lut)
        require_target(content.target, target)
        workload = asked(Workload.from_dict(content.workload), vocabulary=vocabulary)
        latency = TableLatency(loaded, kind, content, workload=workload)
        note_losses(content)
        promise = Promise(latency_ms, latency.of(chosen), str(content.target))
    task = load_task(data, say=say)
    if lut is None:
        symbols = len(task.target_vocabulary) if vocabulary is None else vocabulary
        workload = asked(loaded.workload, vocabulary=symbols)
    require_vocabulary(workload, task)
    model = load_supernet(supernet, loaded, kind, task).extract(chosen)
    if finetune_updates:
        with progress_bar("fine-tuning") as bar:
            model = finetune(
                model,
                kind,
                task,
                FinetuneSettings(updates=finetune_updates, seed=seed),
                out.with_name(out.name + ".finetuned.pt"),
                lambda p: bar.update(p.update, p.updates, f"loss {p.loss:.3f}"),
            )
    with progress_bar("measuring") as bar:
        manifest: dict[str, Any] = export_bundle(
            loaded, kind, chosen, model, task, workload, target, promise, out,
            cache=cache_folder(cache), decoded=decoded, say=say, measuring=bar.update,
            waiting=say if wait else None,
        )  # fmt: skip
    if lut is not None:
        for change in changed_since(content, manifest["proof"]["environment"]):
            say(note_of(change))
    emit(manifest, json, lambda: describe(manifest, out))
    if latency_ms is not None and manifest["proof"]["measured_ms"] > latency_ms:
        raise SystemExit(3)


def describe(manifest: dict[str, Any], out: Path) -> str:
    """What was promised and what was proven, in a few lines."""
    proof = manifest["proof"]
    interval = "-".join(f"{ms:.4f}" for ms in proof["interval_ms"])
    unstable = " (UNSTABLE: its rounds did not agree)" if proof.get("status") == "unstable" else ""
    lines = [f"{out}: measured {proof['measured_ms']:.4f} ms ({interval}) on {proof['target']}{unstable}"]
    if manifest["predicted_ms"] is not None:
        off = proof["measured_ms"] / manifest["predicted_ms"] - 1
        lines.append(f"predicted {manifest['predicted_ms']:.4f} ms: off by {off:+.1%}")
    if manifest["limit_ms"] is not None:
        kept = "held" if proof["measured_ms"] <= manifest["limit_ms"] else "BROKEN"
        lines.append(f"limit {manifest['limit_ms']:.4f} ms: {kept}")
    for graph, parity in proof["parity"].items():
        lines.append(
            f"{graph}: largest difference from PyTorch {parity['max_abs_error']:.1e}"
            f" ({parity['tolerance']:.1e} allowed)"
        )
    decoding = proof["decoding"]
    lines.append(
        f"decoding of {decoding['inputs']} test inputs: {decoding['equal']} equal to PyTorch's,"
        f" {decoding['near_ties']} near ties, {decoding['different']} different"
    )
    if manifest["quality"] is not None:
        quality = dict(manifest["quality"])
        how = f"{quality.pop('split')} split, {quality.pop('decoder')}, by {quality.pop('by')}"
        shown = (
            f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}" for name, value in quality.items()
        )
        lines.append(f"{how}: {', '.join(shown)}")
    return "\n".join(lines)
