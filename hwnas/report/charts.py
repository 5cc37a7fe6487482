"""The charts of a search: what it evaluated with its Pareto front, and how fast it got better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from hwnas.report.documents import Figure, Interval
from hwnas.report.numbers import in_chart, ms_in_chart
from hwnas.report.predictions import Point, front_of
from hwnas.report.svg import Axis, Frame, Plot, apart, both, drawn, frames

MOST_POINTS = 4000
"""Points of a search that are drawn; of more every n-th, and all of the front."""


@dataclass(frozen=True)
class Series:
    """A search in a chart: ``kind`` is its colour in the style sheet, ``losses`` are those of its first seed.

    ``end`` is the best of them.
    """

    name: str
    kind: str
    points: Sequence[Point]
    losses: Sequence[float]
    end: Figure | None


@dataclass(frozen=True)
class Chosen:
    """The winner in a chart: predicted, and measured with its interval if it was; ``name`` is what it is called."""

    name: str
    loss: Figure
    predicted: Figure
    measured: Figure | None
    interval: Interval | None


def points_drawn(points: Sequence[Point]) -> list[Point]:
    """All of them; of more than :data:`MOST_POINTS` every n-th and the whole front."""
    front = {(point.journal, point.record) for point in front_of(points)}
    every = max(1, -(-len(points) // MOST_POINTS))
    return [p for number, p in enumerate(points) if number % every == 0 or (p.journal, p.record) in front]


def front_chart(
    series: Sequence[Series], limit: Figure | None, winner: Chosen | None, origin: str, identity: str
) -> Markup:
    """Loss against predicted latency of all that was evaluated, the fronts, the limit and the winner."""
    short = "predicted latency, ms" if origin == "measured" else "estimated latency, ms"
    where = short if origin == "measured" else f"latency, ms, {origin}"

    def draw(frame: Frame) -> Markup:
        latencies_ms = [point.latency_ms for one in series for point in one.points]
        latencies_ms += [] if limit is None else [limit.number]
        latencies_ms += [] if winner is None or winner.interval is None else [winner.interval[1].number]
        losses = [point.loss for one in series for point in one.points]
        plot = Plot(
            frame,
            Axis.around(short if frame.narrow else where, latencies_ms, pad=0.04),
            _with_room_below(Axis.around("validation loss, nats per token", losses)),
        )
        plot.axes()
        _limit(plot, limit)
        for one in series[::-1]:
            plot.add(_dots(plot, one))
        for one in series[::-1]:
            front = front_of(one.points)
            if front:
                plot.steps([(p.latency_ms, p.loss) for p in front], f"front {one.kind}")
        if winner is not None:
            _winner(plot, winner)
        return drawn(
            [plot],
            "Loss against latency",
            "Every candidate that was evaluated, the Pareto front of each search, the limit and the winner;"
            " the front is also in the table below the chart.",
            identity,
        )

    return both(draw, frames(440, 380))


def _with_room_below(axis: Axis) -> Axis:
    """For the winner's label."""
    return Axis(axis.title, axis.low - 0.07 * (axis.high - axis.low), axis.high)


def _dots(plot: Plot, series: Series) -> str:
    """Circles, in a group for every journal."""
    radius = 2.4 if plot.frame.narrow else 3
    groups: dict[str, list[str]] = {}
    for p in points_drawn(series.points):
        place = f'cx="{plot.x(p.latency_ms):.1f}" cy="{plot.y(p.loss):.1f}"'
        groups.setdefault(p.journal, []).append(f'<circle {place} r="{radius}" data-r="{p.record}"/>')
    return "".join(
        f'<g class="dots {series.kind}" data-points="{escape(journal)}">{"".join(circles)}</g>'
        for journal, circles in groups.items()
    )


def _limit(plot: Plot, limit: Figure | None) -> None:
    if limit is None:
        return
    x, (left, top, right, bottom) = plot.x(limit.number), plot.box
    plot.add(f'<path class="limit" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
    anchor = "end" if x - left > (right - left) * 0.5 else "start"
    text = Markup("limit {} ms").format(ms_in_chart(limit))
    plot.label(x + (-6 if anchor == "end" else 6), top + 12, text, "of-limit", anchor)


def _winner(plot: Plot, winner: Chosen) -> None:
    y, x = plot.y(winner.loss.number), plot.x(winner.predicted.number)
    left, _, right, bottom = plot.box
    if winner.measured is not None:
        if winner.interval is not None:
            low, high = (plot.x(end.number) for end in winner.interval)
            ends = "".join(f"M{end:.1f} {y - 4:.1f}v8" for end in (low, high))
            plot.add(f'<path class="whisker" d="M{low:.1f} {y:.1f}H{high:.1f}{ends}"/>')
        plot.add(f'<circle class="measured" cx="{plot.x(winner.measured.number):.1f}" cy="{y:.1f}" r="4"/>')
    plot.add(f'<path class="winner" d="M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z"/>')
    anchor = "end" if x > (left + right) / 2 else "start"
    text = Markup("{}, loss {}").format(winner.name, in_chart(winner.loss, f"{winner.loss.number:.4f}"))
    plot.label(x + (8 if anchor == "end" else -8), y + 24 if y + 30 < bottom else y - 14, text, "of-winner", anchor)


def progress_chart(series: Sequence[Series], identity: str) -> Markup:
    """The best loss so far against the number of evaluations, for each search at the same cost.

    The axis starts where all have left their first random draws.
    """

    def draw(frame: Frame) -> Markup:
        curves = [_best_so_far(one.losses) for one in series]
        longest = max(len(one.losses) for one in series)
        settled = max(1, longest // 100)
        seen = [loss for curve in curves for number, loss in curve if number >= settled]
        starts = [_at(curve, settled) for curve in curves]
        plot = Plot(
            frame,
            Axis("candidates evaluated", 0, longest),
            Axis.around("best loss so far, nats per token", seen + starts),
        )
        plot.axes()
        _, _, right, bottom = plot.box
        for one, curve in [*zip(series, curves, strict=True)][::-1]:
            shown = [(number, loss) for number, loss in curve if loss <= plot.up.high]
            plot.steps(shown, f"curve {one.kind}", until=len(one.losses))
        heights = apart([plot.y(curve[-1][1]) for curve in curves], 34 if frame.narrow else 32)
        over = max(0.0, max(heights) + 16 - bottom)
        for one, y in zip(series, (height - over for height in heights), strict=True):
            plot.label(right + 8, y + 1, one.name, f"of-{one.kind}")
            if one.end is not None:
                plot.label(right + 8, y + 16, in_chart(one.end, f"{one.end.number:.4f}"), f"of-{one.kind} small")
        return drawn(
            [plot],
            "Progress of the search",
            "Best loss so far after every evaluation, for the search and for random search at equal cost.",
            identity,
        )

    return both(draw, frames(300, 290, right=128, narrow_right=96))


def _best_so_far(losses: Sequence[float]) -> list[tuple[int, float]]:
    """Number of evaluations and best loss, wherever it falls."""
    found: list[tuple[int, float]] = []
    for number, loss in enumerate(losses, start=1):
        if not found or loss < found[-1][1]:
            found.append((number, loss))
    return found


def _at(curve: Sequence[tuple[int, float]], number: int) -> float:
    return [loss for seen, loss in curve if seen <= number][-1]
