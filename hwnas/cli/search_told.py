"""What ``hwnas search`` says of what it found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.cli.console import table, with_interval

if TYPE_CHECKING:
    from hwnas.finalists import Finalist
    from hwnas.search.outcome import SearchOutcome


def told(outcome: SearchOutcome, out: Path) -> str:
    """In a table and some lines; ``out`` is where it was written."""
    from hwnas.searching import FRONT, WINNER

    several = any(found.runtime is not None for found in outcome.finalists)
    energies = any(found.energy_mj is not None for found in outcome.finalists)
    rows = [
        [
            "*" if outcome.winner is not None and found.candidate == outcome.winner.candidate else "",
            found.candidate.key,
            *([] if found.runtime is None else [found.runtime]),
            f"{found.loss:.4f}",
            with_interval(found.predicted_ms, found.predicted_interval_ms),
            _measured(found),
            *(f"{(found.elsewhere_ms or {})[device]:.4g}" for device in outcome.elsewhere),
            *(["-" if found.energy_mj is None else f"{found.energy_mj:.4g}"] if energies else []),
            "-" if found.peak_memory_mib is None else f"{found.peak_memory_mib:.3g}",
        ]
        for found in outcome.finalists
    ]
    lines = [
        f"{outcome.evaluations} candidates evaluated ({outcome.method}{_worth(outcome)}), limit: {outcome.limits}"
        + ("" if outcome.searched == outcome.limits else f" (searched: {outcome.searched})"),
        table(
            [
                *("", "candidate", *(["runtime"] if several else []), "loss", "predicted ms", "measured ms"),
                *(f"predicted ms on {device}" for device in outcome.elsewhere),
                *(["energy mJ"] if energies else []),
                "peak memory MiB (fp32)",
            ],
            rows,
        ),
    ]
    if outcome.predictions != "measured":
        lines.append(f"predicted latencies{' and energies' if energies else ''}: {outcome.predictions}")
    lines += [
        f"predicted latencies on {device}: {origin}"
        for device, origin in outcome.elsewhere.items()
        if origin != "measured"
    ]
    if outcome.record is not None and outcome.baseline is not None:
        lines.append(_beside(outcome))
    if outcome.drift is not None:
        lines.append(f"device now against the table's rounds: {outcome.drift - 1:+.1%}")
    lines += [f"not measured: {found.failed}" for found in outcome.finalists if found.failed is not None]
    lines.append(f"front of {', '.join(outcome.objectives)}: {out / FRONT}")
    if outcome.winner is None:
        lines.append("no finalist meets the limit as measured: raise --confidence or --margin, or profile anew")
    else:
        on = "" if outcome.winner.runtime is None else f", for {outcome.winner.runtime}"
        lines.append(f"winner: {out / WINNER}{on}")
    return "\n".join(lines)


def _worth(outcome: SearchOutcome) -> str:
    if outcome.cost == outcome.evaluations:
        return ""
    return f"; with its gradients it cost as much as {outcome.cost} evaluations"


def _beside(outcome: SearchOutcome) -> str:
    """The search and random search of equal cost, by the medians over the seeds where there are several."""
    from statistics import median

    from hwnas.search.methods import METHODS

    assert outcome.record is not None
    assert outcome.baseline is not None
    (loss, volume), (rival, rival_volume) = (
        (median(its.best_loss for its in record.seeds), median(its.hypervolume for its in record.seeds))
        for record in (outcome.record, outcome.baseline)
    )
    seeds = len(outcome.record.seeds)
    over = f" (medians of {seeds} seeds)" if seeds > 1 else ""
    volumes = f", hypervolume {rival_volume:.4f} against {volume:.4f}" if METHODS[outcome.method].front else ""
    return f"random search at equal cost{over}: best loss {rival:.4f} against {loss:.4f}{volumes}"


def _measured(found: Finalist) -> str:
    if found.measured_ms is None:
        return "-" if found.failed is None else "not measured"
    return with_interval(found.measured_ms, found.interval_ms) + (" UNSTABLE" if found.status == "unstable" else "")
