"""A latency table in words and as JSON: what it holds, where it is from, and how far it can be trusted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from latency_luts import CheckReport, Coverage, LatencyLut

NOISY = 0.1
"""Noise floor above which a table cannot be trusted: all rounds together are then about 5 % off."""


def summary(content: LatencyLut) -> dict[str, object]:
    """A table's header, JSON-able; ``check`` is its error on the models held out from the calibration."""
    fresh = content.models_of("check")
    check = content.calibration.evaluate(fresh).as_dict() if content.calibration is not None and fresh else None
    return {
        "target": str(content.target),
        "source": content.source,
        "provenance": dict(content.provenance),
        "space": content.subject.space,
        "workload": dict(content.workload),
        "operators": len(content.rows),
        "models": len(content.models),
        "rounds": content.rounds,
        "statuses": statuses(content),
        "calibration": None if content.calibration is None else content.calibration.as_dict(),
        "check": check,
        "uncertainty": _uncertainty(content),
        "fingerprint": content.fingerprint or None,
        "drift": dict(content.drift),
        "session_sd": content.session_sd,
        "incomplete": content.incomplete,
    }


def statuses(content: LatencyLut) -> dict[str, int]:
    """How many rows and models ended with each status; those of older code have none."""
    from latency_luts.rows import Status

    found = Counter([*(row.status for row in content.rows.values()), *(model.status for model in content.models)])
    return {status: found[status] for status in get_args(Status) if found[status]}


def _uncertainty(content: LatencyLut) -> dict[str, object] | None:
    from latency_luts import LutError

    try:
        found = content.uncertainty()
    except LutError:
        return None
    half_width = found.quantile(0.975) * found.least_sd
    return {"form": found.form, "session": found.session, "freedom": found.freedom, "half_width": half_width}


def describe(content: LatencyLut) -> str:
    """A table in a few lines."""
    workload = ", ".join(f"{name} {value}" for name, value in content.workload.items())
    lines = [
        f"{content.target}, {content.origin}: {len(content.rows)} operators of {content.subject.space or 'no space'},"
        f" {len(content.models)} whole models" + (f", {content.rounds} rounds" if content.rounds else ""),
        f"workload: {workload or 'not known'}",
    ]
    if content.source != "measured":
        lines.append(f"NOT MEASURED: every number here is {content.origin}")
    if content.target.on_gpu:
        lines.append("UNPROVEN: measured on a GPU, on which nothing of this was ever run by us")
    if ended := statuses(content):
        lines.append("ended " + ", ".join(f"{status}: {number}" for status, number in ended.items()))
    lines += _device(content)
    calibration, fresh = content.calibration, content.models_of("check")
    if calibration is not None and fresh:
        lines.append(f"{len(fresh)} held-out models: {phrase(calibration.evaluate(fresh))}")
    if calibration is not None and calibration.held_out is not None:
        lines.append(
            f"calibrated on {calibration.models} models, each left out in turn: {phrase(calibration.held_out)}"
        )
    if (told := _uncertainty(content)) is not None:
        at_level = " at this level of the device" if content.anchor is not None else ""
        lines.append(
            f"a fresh measurement{at_level} lies within {told['half_width']:.1%} of a prediction, or a little more,"
            f" at 95 % confidence ({told['freedom']} degrees of freedom)"
        )
    floor = 0.0 if calibration is None or calibration.held_out is None else calibration.held_out.split_half_floor
    if floor > NOISY:
        lines.append(
            f"NOISY: half the rounds differ by {floor:.0%} from the other half; measure again on a quieter machine,"
            " or with more --rounds"
        )
    if content.incomplete is not None:
        lines.append(f"INCOMPLETE: {content.incomplete}")
    return "\n".join(lines)


def _device(content: LatencyLut) -> list[str]:
    """The state of the device and what it did meanwhile, where that is known."""
    parts = [f"fingerprint {content.fingerprint}"] if content.fingerprint else []
    rounds, quarantined = content.drift.get("rounds"), content.drift.get("quarantined")
    if isinstance(rounds, dict) and rounds:
        for workload in ("compute", "memory"):
            ratios = [ratio[workload] for ratio in rounds.values() if workload in ratio]
            if ratios:
                parts.append(f"{workload} {min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%}")
        reasons: Counter[str] = Counter()
        for counted in quarantined.values() if isinstance(quarantined, dict) else ():
            reasons.update(counted)
        whole = ", ".join(f"{number} for {why}" for why, number in reasons.most_common(3))
        parts.append(
            f"{reasons.total()} of {content.drift.get('visits')} visits quarantined" + f" ({whole})" * bool(whole)
        )
    anchored, unanchored = content.drift.get("anchored"), content.drift.get("unanchored")
    if isinstance(anchored, float):
        parts.append(f"told at an earlier session's level (compute reference {1 / anchored - 1:+.1%} since)")
    if unanchored:
        parts.append(f"told at its own level, not the earlier session's: {unanchored}")
    if content.session_sd:
        parts.append(f"level between rounds +-{content.session_sd:.1%}")
    return ["device: " + ", ".join(parts)] if parts else []


def phrase(report: CheckReport) -> str:
    """An error with its noise floor, in one line."""
    return (
        f"mean error {report.mape:.1%}, worst {report.worst:.1%}, within 5 %: {report.within_5:.0%},"
        f" within 10 %: {report.within_10:.0%}, Spearman {report.spearman:.3f}"
        f" (noise floor of the truth {report.split_half_floor:.1%})"
    )


def covered(coverage: Coverage) -> str:
    """How often intervals held, in one line."""
    return (
        f"{coverage.inside} of {coverage.models} lie in their {100 * coverage.confidence:g} % interval"
        f" (mean half-width {coverage.half_width:.1%})"
    )
