"""``hwnas subset``: the few validation pairs on which candidates rank as on all of them."""

from __future__ import annotations

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
    from hwnas.evaluators.subset_file import ChosenSubset

_HAT_EVALUATIONS = 3125
"""What HAT's settings evaluate, if none is evaluated twice."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    example = "hwnas subset --space g2p --supernet runs/supernet.pt --out runs/subset.json"
    app.command(epilog=f"Example: {example}")(subset)


@guarded
def subset(
    space: SpaceOption,
    supernet: SupernetOption,
    out: Annotated[Path, typer.Option("--out", help="The subset; beside it a folder of what it was chosen by.")],
    data: DataOption = "g2p",
    candidates: Annotated[
        int, typer.Option(help="Random candidates to evaluate on all pairs; the subset is chosen by them.")
    ] = 32,
    spearman: Annotated[
        float,
        typer.Option(
            help="Take the smallest subset that ranks held-out random candidates so well. Those near a limit"
            " are harder to rank: ask for more than you want there."
        ),
    ] = 0.98,
    pairs: Annotated[int | None, typer.Option(help="Instead: this many pairs.")] = None,
    workers: WorkersOption = 1,
    threads: ThreadsOption = 1,
    seed: SeedOption = 0,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Choose validation pairs that rank as all of them do.

    Run it again to resume.

    hwnas search --subset OUT then evaluates every candidate on it.
    """
    import torch

    from hwnas.data import load_task
    from hwnas.evaluators.choosing import SubsetRequest, choose_subset
    from hwnas.training import load_supernet

    torch.set_num_threads(threads)
    loaded, kind = load(space, family)
    request = SubsetRequest(candidates, pairs, spearman, seed)
    task = load_task(data, say=say)
    with progress_bar("evaluating") as bar:
        chosen, tried = choose_subset(
            loaded,
            kind,
            load_supernet(supernet, loaded, kind, task),
            task,
            request,
            out.with_suffix(".losses"),
            workers=workers,
            progress=bar.update,
            say=say,
        )
    chosen.save(out)
    document = chosen.summary() | {"tried": [each.summary() for each in tried], "subset": str(out)}
    emit(document, json, lambda: _told(chosen, tried, out))


def _told(chosen: ChosenSubset, tried: tuple[ChosenSubset, ...], out: Path) -> str:
    rows = [
        [
            "*" if each is chosen else "",
            len(each.subset.chosen),
            f"{each.share:.1%}",
            f"{each.spearman:.3f}",
            f"{each.error:.4f}",
            f"{_HAT_EVALUATIONS / (each.candidates + each.share * _HAT_EVALUATIONS):.1f} x",
        ]
        for each in tried
    ]
    fewer = f"fewer tokens in {_HAT_EVALUATIONS:,} candidates"
    return "\n".join(
        [
            f"chosen by {chosen.candidates} random candidates on all {chosen.of.pairs:,} validation pairs",
            table(["", "pairs", "of all tokens", "Spearman, held out", "error, nats", fewer], rows),
            f"the last counts what choosing it costs, which is earned back after {chosen.break_even:.0f} candidates",
            f"subset: {out} (for hwnas search --subset)",
        ]
    )
