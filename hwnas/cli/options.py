"""The options several commands share, and what they stand for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hwnas.families.base import Family
    from hwnas.space import SearchSpace
    from hwnas.workload import Workload
    from latency_luts import LatencyLut

SpaceOption = Annotated[str, typer.Option("--space", help="A shipped search space or a YAML file of yours.")]
SupernetOption = Annotated[Path, typer.Option("--supernet", help="Checkpoint made by hwnas train.")]
DataOption = Annotated[str, typer.Option("--data", help="g2p, or a folder made by hwnas data.")]
FamilyOption = Annotated[
    str | None,
    typer.Option("--family", help="Family of your own, as package.module:Class, instead of the space's."),
]
DevicesOption = Annotated[
    Path | None,
    typer.Option("--devices", help="Registry of devices; else ./devices.yaml, else the shipped one."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Everything random follows from it.")]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=1, help="Threads of torch; a resumed run needs the same to be identical.")
]
WorkersOption = Annotated[
    int,
    typer.Option("--workers", min=1, help="Processes that evaluate side by side; the result does not depend on it."),
]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", help="Folder of exported graphs; else the user's cache folder.")
]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="Wait while another process measures on the device, instead of failing.")
]
BatchOption = Annotated[int | None, typer.Option("--batch", help="Sentences at a time; else the space's.")]
BeamOption = Annotated[int | None, typer.Option("--beam", help="Beams a sentence; else the space's.")]
SourceTokensOption = Annotated[int | None, typer.Option("--source-tokens", help="Source length; else the space's.")]
TargetTokensOption = Annotated[int | None, typer.Option("--target-tokens", help="Decoder steps; else the space's.")]
VocabularyOption = Annotated[int | None, typer.Option("--vocabulary", help="Output symbols; else the space's.")]
CacheTokensOption = Annotated[
    int | None,
    typer.Option(
        "--cache-tokens",
        help="Past tokens in the key-value cache of a timed decoder step; else the loop's mean.",
    ),
]


def load(space: str, family: str | None) -> tuple[SearchSpace, Family]:
    """The space and its family; ``family`` replaces the one the space names."""
    from hwnas.families import get_family
    from hwnas.spaces import load_space

    loaded = load_space(space, family=family)
    return loaded, get_family(loaded.family)


def note_losses(table: LatencyLut) -> None:
    """Say on stderr that a table lost lines, where what is left is enough."""
    from hwnas.cli.console import say

    if table.incomplete is not None:
        say(f"note: {table.incomplete}")


def workload_of(default: Workload, **given: int | None) -> Workload:
    """The default workload with what was given on the command line put in its place."""
    changes = {name: value for name, value in given.items() if value is not None}
    if "target_tokens" in changes and "cache" not in changes:
        changes["cache"] = -1
    return replace(default, **changes)


def cache_folder(given: Path | None) -> Path:
    """Where exported graphs are kept between runs."""
    from hwnas.files import artifact_cache

    return given if given is not None else artifact_cache()
