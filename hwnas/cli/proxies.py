"""``hwnas proxies``: how far zero-cost proxies and loss predictors may be trusted in a space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import emit, guarded, progress_bar, say, table
from hwnas.cli.options import (
    DataOption,
    FamilyOption,
    JsonOption,
    SeedOption,
    SpaceOption,
    SupernetOption,
    ThreadsOption,
    WorkersOption,
    load,
)

if TYPE_CHECKING:
    from hwnas.evaluators.trust import Trust


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas proxies --space g2p --supernet runs/supernet.pt --sample 40")(proxies)


@guarded
def proxies(
    space: SpaceOption,
    supernet: SupernetOption,
    data: DataOption = "g2p",
    sample: Annotated[int, typer.Option(help="Random candidates to rank.")] = 40,
    proxy: Annotated[
        list[str] | None,
        typer.Option(help="parameters, decoder_parameters, gradient_norm, synflow or dss; repeatable, else all."),
    ] = None,
    validation_pairs: Annotated[
        int | None, typer.Option(min=1, help="Take the loss from this many validation pairs; else from all.")
    ] = None,
    subset: Annotated[Path | None, typer.Option("--subset", help="Instead: from those hwnas subset chose.")] = None,
    workers: WorkersOption = 1,
    threads: ThreadsOption = 1,
    seed: SeedOption = 0,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Tell how far zero-cost proxies may be trusted.

    Random candidates are ranked by what costs no training, or was learnt from a few, and by their inherited loss.

    The rank correlations say which stand-in may be trusted in this space, and how surely. The losses are kept
    beside the checkpoint: run it again to resume.
    """
    import torch

    from hwnas.data import load_task
    from hwnas.evaluators.subset_file import ChosenSubset
    from hwnas.evaluators.trust import TrustRequest, judge
    from hwnas.training import load_supernet

    torch.set_num_threads(threads)
    loaded, kind = load(space, family)
    request = TrustRequest(
        sample,
        None if proxy is None else tuple(proxy),
        validation_pairs,
        None if subset is None else ChosenSubset.load(subset),
        seed,
    )
    task = load_task(data, say=say)
    with progress_bar("ranking") as bar:
        rows = judge(
            loaded,
            kind,
            load_supernet(supernet, loaded, kind, task),
            task,
            request,
            supernet.with_suffix(".losses"),
            workers=workers,
            progress=bar.update,
            say=say,
        )
    emit({"sample": sample, "proxies": [row.as_dict() for row in rows]}, json, lambda: _told(sample, rows))


def _told(sample: int, rows: Sequence[Trust]) -> str:
    shown = [
        [
            row.name,
            row.weights,
            "-" if row.spearman is None else f"{row.spearman:.2f}",
            "-" if row.interval is None else f"{row.interval[0]:.2f} to {row.interval[1]:.2f}",
            f"{1000 * row.seconds:.1f}",
        ]
        for row in rows
    ]
    return "\n".join(
        [
            f"rank correlation with the inherited loss of {sample} random candidates (1: the same order, 0: none):",
            table(["stand-in", "weights", "Spearman", "95 % interval", "ms each"], shown),
            "learnt ones rank candidates that they were not fitted on",
        ]
    )
