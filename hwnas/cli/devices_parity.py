"""``hwnas devices parity``: are a space's operators right on a device? Nothing is timed."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, progress_bar, table
from hwnas.cli.options import CacheOption, DevicesOption, FamilyOption, JsonOption, SpaceOption, cache_folder, load


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: hwnas devices parity pi4 --space g2p --operators 20")(parity)


@guarded
def parity(
    name: Annotated[str, typer.Argument(help="A device of devices.yaml.")],
    space: SpaceOption,
    operators: Annotated[
        int | None, typer.Option("--operators", min=1, help="How many, of every kind alike; all by default.")
    ] = None,
    devices: DevicesOption = None,
    cache: CacheOption = None,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Compare a space's operators there with PyTorch.

    Nothing is timed, so it is what an emulated device is for. Ends with 3 if an operator is not right there.
    """
    from hwnas.operator_parity import compare_operators
    from profiler import load_devices
    from profiler.devices import require_runs

    device = load_devices(devices).get(name)
    require_runs(device)
    loaded, kind = load(space, family)
    with progress_bar("exporting") as exporting, progress_bar("comparing") as comparing:
        target, found = compare_operators(
            loaded, kind, loaded.workload, device, cache_folder(cache),
            number=operators, exporting=exporting.update, comparing=comparing.update,
        )  # fmt: skip
    wrong = [each for each in found if not each.parity.passed]
    documents = [
        {
            "operator": each.operator,
            "max_abs_error": each.parity.max_abs_error,
            "tolerance": each.parity.tolerance,
            "passed": each.parity.passed,
        }
        for each in found
    ]

    def text() -> str:
        shown = [
            [d["operator"], f"{d['max_abs_error']:.1e}", f"{d['tolerance']:.1e}", "equal" if d["passed"] else "WRONG"]
            for d in documents
        ]
        counted = f"{len(found) - len(wrong)} of {len(found)} operators are right on {target}"
        return f"{table(['operator', 'difference', 'allowed', 'found'], shown)}\n{counted}"

    emit({"target": target, "operators": documents}, json, text)
    if wrong:
        raise SystemExit(3)
