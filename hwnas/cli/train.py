"""``hwnas train``: a SuperTransformer whose every SubTransformer shares its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, progress_bar, say
from hwnas.cli.options import (
    DataOption,
    FamilyOption,
    JsonOption,
    SeedOption,
    SpaceOption,
    ThreadsOption,
    load,
)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas train --space g2p --data g2p --updates 5000 --out runs/supernet.pt")(train)


@guarded
def train(
    space: SpaceOption,
    out: Annotated[Path, typer.Option("--out", help="Checkpoint; also what a later run resumes from.")],
    updates: Annotated[int, typer.Option(min=1, help="Training steps, one random SubTransformer each.")] = 5000,
    data: DataOption = "g2p",
    batch: Annotated[int, typer.Option(min=1, help="Pairs a step.")] = 64,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1.5e-3,
    schedule: Annotated[str, typer.Option(help="constant, cosine or inverse_sqrt.")] = "constant",
    warmup: Annotated[int, typer.Option(min=0, help="Steps of linear warm-up.")] = 300,
    label_smoothing: Annotated[float, typer.Option(min=0.0, max=0.99)] = 0.0,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.99, help="Scaled by width, as HAT does.")] = 0.0,
    sandwich: Annotated[
        bool, typer.Option("--sandwich", help="Largest, smallest and random ones in every step.")
    ] = False,
    distil: Annotated[
        bool, typer.Option("--distil", help="In-place distillation from the largest; with --sandwich.")
    ] = False,
    threads: ThreadsOption = 1,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 200,
    seed: SeedOption = 0,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Train a SuperTransformer. Run it again to resume from its last checkpoint."""
    import torch

    from hwnas.data import load_task
    from hwnas.training import TrainingSettings, train_supernet

    torch.set_num_threads(threads)
    loaded, kind = load(space, family)
    settings = TrainingSettings(
        updates=updates,
        batch_size=batch,
        learning_rate=lr,
        schedule=schedule,  # type: ignore[arg-type]
        warmup=warmup,
        label_smoothing=label_smoothing,
        dropout=dropout,
        sandwich=sandwich,
        distil=distil,
        seed=seed,
        checkpoint_every=checkpoint_every,
    )
    task = load_task(data, say=say)
    with progress_bar("training") as bar:
        result = train_supernet(
            loaded,
            kind,
            task,
            settings,
            out,
            lambda p: bar.update(p.update, p.updates, f"loss {p.loss:.3f}, {p.tokens_per_s / 1000:.1f} k tokens/s"),
        )
    emit(
        {"checkpoint": str(out), "updates": updates, "loss": result.loss},
        json,
        f"{out}: {updates} updates, training loss {result.loss:.3f} nats per token",
    )
