"""The charts of latencies: the winner's against its limit, predicted against measured, and drift while profiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from hwnas.report.documents import Document, Figure, Interval
from hwnas.report.numbers import ms_in_chart
from hwnas.report.svg import Axis, Frame, Plot, both, drawn, frames


@dataclass(frozen=True)
class Seen:
    """A latency with its interval; ``kind`` is ``predicted`` or ``measured``."""

    name: str
    kind: str
    latency: Figure
    interval: Interval | None


def limit_chart(rows: Sequence[Seen], limit: Figure | None, identity: str) -> Markup:
    """A row for every time the winner's latency was told: predicted, measured in the search, as shipped."""

    def draw(frame: Frame) -> Markup:
        values = [row.latency.number for row in rows]
        values += [end.number for row in rows for end in row.interval or ()]
        values += [] if limit is None else [limit.number]
        plot = Plot(frame, Axis.around("ms", values, pad=0.08), Axis("", 0, len(rows)))
        left, top, right, bottom = plot.box
        ticks = plot.across.ticks(3 if frame.narrow else 6)
        marks = [f'<path class="base" d="M{left} {bottom}H{right}"/>']
        for value in ticks:
            x = plot.x(value)
            text = plot.across.label(value, ticks) + (" ms" if value == ticks[-1] else "")
            marks.append(f'<path class="tick" d="M{x:.1f} {bottom}v5"/>')
            marks.append(f'<text x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{text}</text>')
        plot.add(f'<g class="axis">{"".join(marks)}</g>')
        if limit is not None:
            x = plot.x(limit.number)
            plot.add(f'<path class="limit" d="M{x:.1f} {top}V{bottom}"/>')
            plot.label(x, top - 6, Markup("limit {}").format(ms_in_chart(limit)), "of-limit", "middle")
        for number, row in enumerate(rows):
            y = plot.y(len(rows) - number - 0.5)
            x = plot.x(row.latency.number)
            if row.interval is not None:
                low, high = (plot.x(end.number) for end in row.interval)
                plot.add(f'<path class="whisker {row.kind}" d="M{low:.1f} {y:.1f}H{high:.1f}"/>')
            plot.add(f'<circle class="mark {row.kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
            plot.label(0, y + (-27 if frame.narrow else 4), row.name, f"row of-{row.kind}")
            plot.label(x, y - 10, ms_in_chart(row.latency), "value", "middle")
        return drawn(
            [plot],
            "The winner's latency against its limit",
            "Predicted and measured latency of the winner with their intervals, and the limit.",
            identity,
        )

    height = 54 * len(rows) + 60
    wide = Frame("wide", 880, height, left=250, right=40, top=26, bottom=30)
    narrow = Frame("narrow", 328, 70 * len(rows) + 60, left=8, right=20, top=26, bottom=30)
    return both(draw, (wide, narrow))


@dataclass(frozen=True)
class Compared:
    """A whole model that was predicted and measured, with both intervals; ``kind`` says how they were chosen."""

    name: str
    kind: str
    predicted: Figure
    predicted_interval: Interval | None
    measured: Figure
    measured_interval: Interval | None


def prediction_chart(models: Sequence[Compared], identity: str) -> Markup:
    """Predicted against measured, and below it the error of every prediction as a share."""

    def draw(frame: Frame) -> Markup:
        measured = [model.measured.number for model in models]
        predicted = [model.predicted.number for model in models]
        errors = [one / other - 1 for one, other in zip(predicted, measured, strict=True)]
        ends = [end.number / model.measured.number - 1 for model in models for end in model.predicted_interval or ()]
        reach = 1.08 * max(0.02, *(abs(error) for error in [*errors, *ends]))
        across = Axis.around("measured latency, ms", measured)
        above = Plot(frame, across, Axis.around("predicted latency, ms", [*measured, *predicted]), (0.0, 0.5))
        below = Plot(frame, across, Axis("error of the prediction", -reach, reach, percent=True), (0.62, 1.0))
        above.axes(ticks_across=False)
        below.axes()
        low, high = max(across.low, above.up.low), min(across.high, above.up.high)
        above.line([(low, low), (high, high)], "equal")
        below.line([(across.low, 0.0), (across.high, 0.0)], "equal")
        for model, error in zip(models, errors, strict=True):
            told = _tip(model, error)
            above.add(_mark(above, model, model.predicted.number, told))
            below.add(_whiskers(below, model))
            below.add(_mark(below, model, error, told))
        return drawn(
            [above, below],
            "Predicted against measured latency",
            "Whole models that were measured: the prediction against the measurement, and the error as a share,"
            " with the intervals of both.",
            identity,
        )

    return both(draw, frames(520, 480))


def _mark(plot: Plot, model: Compared, height: float, told: str) -> str:
    radius = 4.5 if model.kind in ("winner", "finalist") else 3.5
    places = " ".join(source.replace(" ", "%20") for source in (*model.measured.sources, *model.predicted.sources))
    return (
        f'<circle class="model {model.kind}" cx="{plot.x(model.measured.number):.1f}" cy="{plot.y(height):.1f}"'
        f' r="{radius}" data-tip="{escape(told)}" data-measured="{model.measured.value!r}" data-height="{height!r}"'
        f' data-source="{places}"/>'
    )


def _whiskers(plot: Plot, model: Compared) -> str:
    """The predicted interval upright and the measured one across, both against the measurement."""
    path, error = "", model.predicted.number / model.measured.number - 1
    x, y = plot.x(model.measured.number), plot.y(error)
    if model.predicted_interval is not None:
        below, above = (plot.y(end.number / model.measured.number - 1) for end in model.predicted_interval)
        path += f"M{x:.1f} {below:.1f}V{above:.1f}"
    if model.measured_interval is not None:
        low, high = (plot.x(end.number) for end in model.measured_interval)
        path += f"M{low:.1f} {y:.1f}H{high:.1f}"
    return f'<path class="whisker thin" d="{path}"/>' if path else ""


def _tip(model: Compared, error: float) -> str:
    return (
        f"{model.name}|measured {model.measured.number:.4g} ms|predicted {model.predicted.number:.4g} ms|{error:+.1%}"
    )


def drift_chart(table: Document, identity: str) -> Markup | None:
    """How much slower the reference workloads were than at their best, round by round; ``None`` if they never were."""
    rounds = [int(number) for number in table.mapping("/0/drift/rounds")]
    curves = {
        workload: [
            (number, ratio - 1)
            for number in rounds
            if (ratio := table.number(f"/0/drift/rounds/{number}/{workload}")) is not None
        ]
        for workload in ("compute", "memory")
    }
    if len(rounds) < 2 or not all(curves.values()) or not any(value for curve in curves.values() for _, value in curve):
        return None

    def draw(frame: Frame) -> Markup:
        values = [value for curve in curves.values() for _, value in curve]
        plot = Plot(
            frame,
            Axis("round", rounds[0], rounds[-1]),
            Axis("reference workloads, slower than at their best", min(0.0, *values), max(0.01, *values), percent=True),
        )
        plot.axes()
        for workload, curve in curves.items():
            plot.line(curve, f"curve {workload}")
        return drawn(
            [plot],
            "Drift while profiling",
            "How much slower a compute-bound and a memory-bound reference workload ran in each round.",
            identity,
        )

    return both(draw, frames(190, 200))
