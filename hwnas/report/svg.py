"""Charts as inline SVG: a frame, two axes, marks and labels; colours and type are the style sheet's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup, escape


@dataclass(frozen=True, slots=True)
class Frame:
    """Size and margins in px. A chart is drawn once for every frame, so that its type is never scaled."""

    name: str
    width: int
    height: int
    left: int = 52
    right: int = 16
    top: int = 34
    bottom: int = 44

    @property
    def narrow(self) -> bool:
        """Whether it is for a phone."""
        return self.width < 500


def frames(height: int, narrow_height: int, *, right: int = 16, narrow_right: int = 12) -> tuple[Frame, Frame]:
    """The two frames of a chart: for a desktop or print, and for a phone 360 px wide."""
    return (
        Frame("wide", 880, height, right=right),
        Frame("narrow", 328, narrow_height, left=44, right=narrow_right),
    )


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from ``low`` to ``high``; ``percent`` writes shares as per cent."""

    title: str
    low: float
    high: float
    percent: bool = False

    @classmethod
    def around(cls, title: str, values: Sequence[float], *, percent: bool = False, pad: float = 0.05) -> Axis:
        """With a little room on both sides of ``values``."""
        low, high = min(values), max(values)
        room = pad * (high - low) or abs(high) * pad or 1.0
        return cls(title, low - room, high + room, percent)

    def ticks(self, about: int) -> list[float]:
        """Round values on it, about so many."""
        step = _round_step((self.high - self.low) / max(1, about))
        first = math.ceil(self.low / step - 1e-9)
        return [step * number for number in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def label(self, value: float, ticks: Sequence[float]) -> str:
        """A tick as text, with as many decimals as tell its neighbours apart."""
        factor = 100 if self.percent else 1
        step = abs(ticks[1] - ticks[0]) * factor if len(ticks) > 1 else abs(value * factor) or 1.0
        text = f"{value * factor:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
        return (text + " %" if self.percent else text).replace("-", "−")


def _round_step(step: float) -> float:
    """The nearest of 1, 2 and 5 times a power of ten, by ratio."""
    power = 10.0 ** math.floor(math.log10(step))
    return power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(factor * power / step)))


@dataclass
class Plot:
    """Marks on two axes. ``panel`` is the share of the frame's height it takes, from top to bottom.

    ``x`` and ``y`` turn values into px.
    """

    frame: Frame
    across: Axis
    up: Axis
    panel: tuple[float, float] = (0.0, 1.0)
    parts: list[str] = field(default_factory=list)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of where marks may stand."""
        frame = self.frame
        inner = frame.height - frame.top - frame.bottom
        top, bottom = (frame.top + share * inner for share in self.panel)
        return frame.left, top, frame.width - frame.right, bottom

    def x(self, value: float) -> float:
        """px from the left."""
        left, _, right, _ = self.box
        return left + (value - self.across.low) / (self.across.high - self.across.low) * (right - left)

    def y(self, value: float) -> float:
        """px from the top."""
        _, top, _, bottom = self.box
        return bottom - (value - self.up.low) / (self.up.high - self.up.low) * (bottom - top)

    def axes(self, *, ticks_across: bool = True) -> None:
        """Grid lines, ticks and titles; the title of the upright axis lies, above it."""
        left, top, right, bottom = self.box
        parts = []
        rising = self.up.ticks(max(2, round((bottom - top) / 56)))
        for value in rising:
            y = self.y(value)
            parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
            parts.append(_text(left - 8, y + 4, self.up.label(value, rising), "end"))
        parts.append(_text(0, top - 14, self.up.title, "start", "title"))
        if ticks_across:
            along = self.across.ticks(max(2, round((right - left) / (64 if self.frame.narrow else 90))))
            parts.append(f'<path class="base" d="M{left} {bottom:.1f}H{right}"/>')
            for value in along:
                x = self.x(value)
                parts.append(f'<path class="tick" d="M{x:.1f} {bottom:.1f}v5"/>')
                parts.append(_text(x, bottom + 19, self.across.label(value, along), "middle"))
            parts.append(_text(right, bottom + 38, self.across.title, "end", "title"))
        self.parts.append(f'<g class="axis">{"".join(parts)}</g>')

    def add(self, mark: str) -> None:
        """Something drawn already."""
        self.parts.append(mark)

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """A line through points given by values."""
        path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<path class="{kind}" d="M{path}"/>')

    def steps(self, points: Sequence[tuple[float, float]], kind: str, until: float | None = None) -> None:
        """A line that keeps its height until the next point, and at last until ``until``."""
        path = f"M{self.x(points[0][0]):.1f} {self.y(points[0][1]):.1f}"
        for x, y in points[1:]:
            path += f"H{self.x(x):.1f}V{self.y(y):.1f}"
        if until is not None:
            path += f"H{self.x(until):.1f}"
        self.parts.append(f'<path class="{kind}" d="{path}"/>')

    def label(self, x: float, y: float, text: str | Markup, kind: str = "", anchor: str = "start") -> None:
        """Text at a place in px."""
        self.parts.append(_text(x, y, text, anchor, kind))


def drawn(plots: Sequence[Plot], title: str, description: str, identity: str) -> Markup:
    """One picture of some plots that share a frame, with a title and a description for those who cannot see it."""
    frame = plots[0].frame
    name = f"{identity}-{frame.name}"
    inside = "".join(part for plot in plots for part in plot.parts)
    return Markup(
        f'<svg class="{frame.name}" viewBox="0 0 {frame.width} {frame.height}" role="img"'
        f' aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{escape(title)}</title>'
        f'<desc id="{name}-d">{escape(description)}</desc>{inside}</svg>'
    )


def both(draw: Callable[[Frame], Markup], sizes: tuple[Frame, Frame]) -> Markup:
    """The chart for a desktop and for a phone; the style sheet shows one of them."""
    return Markup("").join(draw(frame) for frame in sizes)


def apart(places: Sequence[float], least: float) -> list[float]:
    """Places in px, moved as little as keeps labels at least so far from each other, in the same order."""
    order = sorted(range(len(places)), key=lambda number: places[number])
    moved = list(places)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + least)
    return moved


def _text(x: float, y: float, text: str | Markup, anchor: str, kind: str = "") -> str:
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text{of_kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
