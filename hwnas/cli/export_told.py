"""What ``hwnas export`` tells of the bundles it made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.cli.console import emit, table

if TYPE_CHECKING:
    from hwnas.deploy.forms import Made


def tell(made: Made, out: Path, json: bool) -> None:
    """The one bundle's manifest, or every bundle's and what could not be made."""
    if made.only is not None:
        only = made.only
        emit(only, json, lambda: describe(only, out))
        return
    emit({"bundles": made.manifests, "failed": made.failed, "best": made.best}, json, lambda: describe_all(made, out))


def describe_all(made: Made, out: Path) -> str:
    """Every bundle in a few lines, then all beside each other, then what could not be made."""
    manifests = made.manifests
    places = {name: out if made.kept_best else out / name for name in manifests}
    told = [describe(manifest, places[name]) for name, manifest in manifests.items()]
    first_ms = next((manifest["proof"]["measured_ms"] for manifest in manifests.values()), 0.0)
    rows = [
        [
            name,
            f"{manifest['proof']['measured_ms']:.4f}",
            f"{manifest['proof']['measured_ms'] / first_ms:.2f}",
            f"{max(entry['max_abs_error'] for entry in manifest['proof']['parity'].values()):.1e}",
            change_of(manifest) or "none",
        ]
        for name, manifest in manifests.items()
    ]
    if rows:
        told.append(table(["bundle", "ms", "of the first", "parity error", "change of quality"], rows))
    if made.best is not None:
        kept = f"; it is {out}" if made.kept_best else ""
        told.append(f"the fastest that keeps its quality: {made.best}{kept}")
    return "\n\n".join([*told, *(f"{name} could not be made: {why}" for name, why in made.failed.items())])


def change_of(manifest: dict[str, Any]) -> str | None:
    """What a precision cost in the task's metric, on the same inputs; None in fp32."""
    change = manifest["quality_change"]
    if change is None:
        return None
    before, after = change["by_pytorch"], change["by_bundle"]
    metrics = [name for name, value in before.items() if isinstance(value, float)]
    return ", ".join(f"{name} {before[name]:.4f} -> {after[name]:.4f}" for name in metrics)


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
    if (changed := change_of(manifest)) is not None:
        lines.append(
            f"{manifest['precision']} instead of fp32: {changed} on these {manifest['quality_change']['inputs']} inputs"
        )
    if manifest["quality"] is not None:
        quality = dict(manifest["quality"])
        how = f"{quality.pop('split')} split, {quality.pop('decoder')}, by {quality.pop('by')}"
        shown = (
            f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}" for name, value in quality.items()
        )
        lines.append(f"{how}: {', '.join(shown)}")
    return "\n".join(lines)
