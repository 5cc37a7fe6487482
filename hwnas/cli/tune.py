"""``hwnas tune``: let TVM's products of a space be tried in several tiles, and keep what wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import emit, guarded, progress_bar, say, table
from hwnas.cli.options import CacheOption, FamilyOption, JsonOption, SpaceOption, WaitOption, cache_folder, load

if TYPE_CHECKING:
    from hwnas.tuning import Tuning


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas tune --space hat_wmt14_ende --minutes 30")(tune)


@guarded
def tune(
    space: SpaceOption,
    minutes: Annotated[float, typer.Option(min=0, help="Nothing new is begun after so long.")] = 30.0,
    cache: CacheOption = None,
    wait: WaitOption = False,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Tune the runtime tvm for a space on this machine.

    Whatever is compiled from then on uses the winners; tables taken before are of other kernels.
    """
    from hwnas.tuning import tune_space

    loaded, kind = load(space, family)
    with progress_bar("exporting") as exporting, progress_bar("tuning") as trying:
        found = tune_space(
            loaded, kind, loaded.workload, cache_folder(cache), 60 * minutes,
            exporting=exporting.update, trying=trying.update, waiting=say if wait else None,
        )  # fmt: skip
    document = {"products": [each.as_dict() for each in found.tuned], "left": found.left, "records": str(found.records)}
    emit(document, json, lambda: _told(found))
    if found.left:
        say(f"{found.left} products were not reached; run the same command again to go on")
        raise typer.Exit(3)


def _told(found: Tuning) -> str:
    rows = [
        [f"{p.rows} x {p.columns} x {p.inner}", "{} x {}".format(*p.tile), "{} x {}".format(*p.rule), f"{p.ratio:.2f}"]
        for p in found.tuned
    ]
    better = sum(each.tile != each.rule for each in found.tuned)
    return "\n".join(
        [
            table(["rows x columns x inner", "tile", "rule's", "time ratio"], rows),
            f"{better} of {len(rows)} products are faster than by the rule; kept in {found.records}",
        ]
    )
