"""``hwnas export``: the winner as a bundle that runs without torch, proven on the device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.console import guarded, progress_bar, say
from hwnas.cli.export_told import tell
from hwnas.cli.options import (
    BatchOption,
    BeamOption,
    CacheTokensOption,
    DataOption,
    DevicesOption,
    FamilyOption,
    JsonOption,
    SeedOption,
    SourceTokensOption,
    SpaceOption,
    SupernetOption,
    TargetTokensOption,
    ThreadsOption,
    VocabularyOption,
    WaitOption,
    load,
    note_losses,
    workload_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from hwnas.data.task import Task
    from hwnas.deploy.bundle import Promise
    from hwnas.deploy.forms import Form, Made
    from hwnas.families.base import Family
    from hwnas.space import Candidate, SearchSpace
    from hwnas.workload import Workload
    from latency_luts import LatencyLut
    from profiler.hardware import LocalDevice, SshDevice


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
    supernet: SupernetOption,
    out: Annotated[Path, typer.Option("--out", help="Folder of the bundle.")],
    lut: Annotated[
        Path | None, typer.Option("--table", help="Table whose prediction the bundle is held to, or a folder of them.")
    ] = None,
    latency_ms: Annotated[float | None, typer.Option(help="The limit the bundle is held to.")] = None,
    data: DataOption = "g2p",
    finetune_updates: Annotated[int, typer.Option(min=0, help="Training steps of the winner alone first.")] = 0,
    device: Annotated[str, typer.Option("--device", help="Device to prove it on.")] = "x86",
    form: Annotated[
        str | None, typer.Option("--format", help="onnx, tflite, tvm, all, or best; else what the device runs.")
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", help="fp32, fp16, int8, int8-dynamic, as the format has it, or all.")
    ] = "fp32",
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
    family: FamilyOption = None,
    wait: WaitOption = False,
    json: JsonOption = False,
) -> None:
    """Make a bundle of a candidate. The weights are the SuperTransformer's; it is compared with PyTorch, then timed.

    Of several formats or precisions each has its folder in --out; of --format best the fastest is kept that costs
    at most 0.01 of PER and WER, or 0.5 BLEU. Ends with 3 if a bundle, made all the same, does not hold --latency-ms,
    or if one of several could not be made.
    """
    from functools import partial

    import torch

    from hwnas.candidates import read_candidate
    from hwnas.data import load_task
    from hwnas.data.task import require_vocabulary
    from hwnas.deploy.bundle import Promise
    from hwnas.deploy.export import export_bundle
    from hwnas.deploy.forms import BEST, forms, make, refuse_places
    from hwnas.errors import HwnasError
    from hwnas.families.deployed import as_in_table, precision_in
    from hwnas.training import load_supernet

    torch.set_num_threads(threads)
    asked = partial(
        workload_of,
        batch=batch,
        beam=beam,
        source_tokens=source_tokens,
        target_tokens=target_tokens,
        cache=cache_tokens,
    )
    loaded, kind = load(space, family)
    chosen = read_candidate(candidate, loaded)
    if latency_ms is not None and not latency_ms > 0:
        raise HwnasError(f"--latency-ms is {latency_ms}; it must be a number above 0")
    promise = Promise(latency_ms)
    target = _proving(device, devices, candidate, form)
    wanted = forms(target, form, precision)
    refuse_places(wanted, out, best=form == BEST)
    target = wanted[0].device if len(wanted) == 1 else target
    if lut is not None:
        content, workload, promise = _of_table(
            lut, loaded, kind, chosen, target, latency_ms, partial(asked, vocabulary=vocabulary)
        )
        measured_in = precision_in(as_in_table(kind, content))
        others = [one.name for one in wanted if (one.device, one.precision) != (target, measured_in)]
        if others:
            say(f"{lut} holds {target.runtime} in {measured_in}: it predicts nothing of {', '.join(others)}")
    task = load_task(data, say=say)
    if lut is None:
        symbols = len(task.target_vocabulary) if vocabulary is None else vocabulary
        workload = asked(loaded.workload, vocabulary=symbols)
    require_vocabulary(workload, task)
    model = load_supernet(supernet, loaded, kind, task).extract(chosen)
    if finetune_updates:
        model = _finetuned(model, kind, task, finetune_updates, seed, out.with_name(out.name + ".finetuned.pt"))

    quality: dict[str, object] = {}

    def build(one: Form, place: Path) -> dict[str, Any]:
        held = promise if lut is None or (one.device, one.precision) == (target, measured_in) else Promise(latency_ms)
        with progress_bar("measuring") as bar:
            return export_bundle(
                loaded, kind, chosen, model, task, workload, one.device, held, place,
                precision=one.precision, decoded=decoded, say=say,
                measuring=bar.update, waiting=say if wait else None, quality=quality,
            )  # fmt: skip

    made = make(wanted, out, build, best=form == BEST)
    if lut is not None:
        _note_changes(content, made)
    tell(made, out, json)
    broken = latency_ms is not None and any(m["proof"]["measured_ms"] > latency_ms for m in made.manifests.values())
    if broken or made.failed:
        raise SystemExit(3 if made.manifests else 1)


def _proving(device: str, devices: Path | None, candidate: Path, form: str | None) -> LocalDevice | SshDevice:
    """The device to prove it on, with the runtime that the candidate was chosen for unless a format is given."""
    from hwnas.candidates import runtime_named_in
    from hwnas.deploy.forms import on_runtime
    from profiler import load_devices
    from profiler.devices import require_measures
    from profiler.simulators.device import SimulatedDevice

    target = load_devices(devices).get(device)
    require_measures(target)
    assert not isinstance(target, SimulatedDevice)
    runtime = runtime_named_in(candidate) if form is None else None
    if runtime is None:
        return target
    say(f"for {runtime}, which {candidate} was chosen for; --format says otherwise")
    return on_runtime(target, runtime)


def _of_table(
    lut: Path,
    space: SearchSpace,
    family: Family,
    candidate: Candidate,
    device: LocalDevice | SshDevice,
    latency_ms: float | None,
    asked: Callable[..., Workload],
) -> tuple[LatencyLut, Workload, Promise]:
    """The table, the workload it was measured for as far as no other is ``asked`` for, and what it predicts."""
    from hwnas.deploy.bundle import Promise
    from hwnas.latency import TableLatency
    from hwnas.profiling import require_target
    from hwnas.workload import Workload
    from latency_luts import LatencyLut

    content = LatencyLut.load(lut / f"{device.runtime}.lut.jsonl" if lut.is_dir() else lut)
    require_target(content.target, device)
    workload = asked(Workload.from_dict(content.workload))
    latency = TableLatency(space, family, content, workload=workload)
    note_losses(content)
    return content, workload, Promise(latency_ms, latency.of(candidate), str(content.target))


def _finetuned(model: nn.Module, family: Family, task: Task, updates: int, seed: int, kept: Path) -> nn.Module:
    """The model trained on by itself; what was trained stays in ``kept``."""
    from hwnas.training import FinetuneSettings, finetune

    settings = FinetuneSettings(updates=updates, seed=seed)
    with progress_bar("fine-tuning") as bar:
        return finetune(
            model, family, task, settings, kept, lambda p: bar.update(p.update, p.updates, f"loss {p.loss:.3f}")
        )


def _note_changes(table: LatencyLut, made: Made) -> None:
    """Say what has changed since the table was measured."""
    from hwnas.changed import changed_since, note_of

    for manifest in made.manifests.values():
        for change in changed_since(table, manifest["proof"]["environment"]):
            say(note_of(change))
