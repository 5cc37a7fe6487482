"""An explanation as a picture: a bar per operator, and beside it what the runtime's own profile says."""

from __future__ import annotations

from pathlib import Path

from hwnas.cross_check import CrossCheck
from hwnas.errors import HwnasError
from hwnas.explain import Explanation

FORMATS = (".png", ".svg")
_MOST = 24
"""Bars; what is cheaper than the dearest so many is drawn as one."""
_TABLE, _PROFILE = "#2a6f97", "#e9a23b"


def require_format(path: Path) -> None:
    """Raise :class:`HwnasError` unless ``path`` ends in one of :data:`FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        raise HwnasError(f"{path} cannot be drawn: give a name that ends in {' or '.join(FORMATS)}")


def draw(explanation: Explanation, check: CrossCheck | None, path: Path, title: str) -> None:
    """Write the picture (PNG or SVG, by the name) atomically: milliseconds of all calls, the dearest on top."""
    require_format(path)
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    bars = _bars(explanation, check)
    beside = check is not None and any(bar[3] is not None for bar in bars)
    figure = Figure(figsize=(9.6, 1.6 + (0.46 if beside else 0.3) * len(bars)), layout="constrained")
    axes = figure.subplots()
    places = range(len(bars))
    height = 0.38 if beside else 0.7
    above = [place - (height / 2 if beside else 0) for place in places]
    axes.barh(
        above,
        [bar[1] for bar in bars],
        height,
        color=_TABLE,
        label=f"table, {explanation.origin} (sums to the prediction)",
    )
    for place, (_, total_ms, interval, _) in zip(above, bars, strict=True):
        if interval is not None:
            errors = [[max(0.0, total_ms - interval[0])], [max(0.0, interval[1] - total_ms)]]
            axes.errorbar(total_ms, place, xerr=errors, color="black", capsize=2, linewidth=0.8)
    if beside:
        axes.barh(
            [place + height / 2 for place in places],
            [bar[3] or 0.0 for bar in bars],
            height,
            color=_PROFILE,
            label="runtime's profile, its own cost removed",
        )
    longest = max(max(bar[1], bar[3] or 0.0) for bar in bars) or 1.0
    for place, (_, total_ms, interval, _) in zip(above, bars, strict=True):
        end = max(total_ms, interval[1] if interval is not None else 0.0)
        share = total_ms / explanation.latency_ms if explanation.latency_ms else 0.0
        axes.text(end + 0.01 * longest, place, f"{share:.1%}", va="center", fontsize=7, color=_TABLE)
    axes.set_yticks(list(places), [bar[0] for bar in bars], fontsize=8)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlim(0, 1.1 * longest)
    axes.set_xlabel("ms for one workload (all calls)", fontsize=8)
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial{path.suffix}")
    try:
        with rc_context({"svg.hashsalt": "hwnas"}):  # the same explanation gives the same file
            figure.savefig(partial, dpi=144, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


Bar = tuple[str, float, tuple[float, float] | None, float | None]
"""Label, ms by the table, its interval, ms by the profile."""


def _bars(explanation: Explanation, check: CrossCheck | None) -> list[Bar]:
    profiled = {} if check is None else {row.operator: row.profile_ms for row in check.rows}
    bars: list[Bar] = [
        (f"{cost.label}  ×{cost.count}", cost.total_ms, cost.interval_ms, profiled.get(str(cost.operator)))
        for cost in explanation.costs[:_MOST]
    ]
    rest = explanation.costs[_MOST:]
    if rest:
        known = [profiled[str(cost.operator)] for cost in rest if str(cost.operator) in profiled]
        total_ms = sum(cost.total_ms for cost in rest)
        bars.append((f"{len(rest)} cheaper operators", total_ms, None, sum(known) if known else None))
    elsewhere = None if check is None or check.moved_share is None else check.elsewhere_ms
    bars.append(("per model, not per operator", explanation.constant_ms, None, elsewhere))
    return bars
