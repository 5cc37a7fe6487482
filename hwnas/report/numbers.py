"""How figures are written on the page: rounded, with their unit, and with the places they are from."""

from __future__ import annotations

import math

from markupsafe import Markup

from hwnas.report.documents import Figure, Interval

NONE = Markup('<span class="none">–</span>')


def ms(figure: Figure | None, unit: str = " ms") -> Markup:
    """A latency with four significant digits."""
    return NONE if figure is None else written(figure, f"{figure.number:.{_decimals(figure.number)}f}", unit)


def as_fine(figure: Figure | None, coarsest: Figure) -> Markup:
    """A latency with as many decimals as another, so that a column of them lines up."""
    return number(figure, _decimals(coarsest.number))


def fact(figure: Figure | None) -> Markup:
    """What a device told of itself: a fraction with two decimals."""
    fraction = figure is not None and isinstance(figure.value, float)
    return number(figure, 2) if fraction else text(figure)


def number(figure: Figure | None, decimals: int = 4, unit: str = "") -> Markup:
    """A number with so many decimals."""
    return NONE if figure is None else written(figure, f"{figure.number:.{decimals}f}", unit)


def whole(figure: Figure | None, unit: str = "") -> Markup:
    """A count, its thousands apart."""
    return NONE if figure is None else written(figure, f"{figure.number:,.0f}", unit)


def percent(figure: Figure | None, decimals: int = 1) -> Markup:
    """A share."""
    return NONE if figure is None else written(figure, f"{100 * figure.number:.{decimals}f}", " %")


def signed(figure: Figure | None, decimals: int = 1) -> Markup:
    """A change, as a share with its sign."""
    if figure is None:
        return NONE
    shown = f"{100 * figure.number:+.{decimals}f}"
    return written(figure, shown if float(shown) else shown.lstrip("+-"), " %")


def away(figure: Figure | None, above: str = "above", below: str = "below") -> Markup:
    """A change in words: ``9.7 % below``."""
    if figure is None:
        return NONE
    words = below if figure.number < 0 else above
    return written(figure, f"{100 * abs(figure.number):.1f}", " % ") + words


def short(figure: Figure | None, unit: str = "") -> Markup:
    """A number with three significant digits, or in powers of ten where it is tiny."""
    return NONE if figure is None else written(figure, f"{figure.number:.3g}", unit)


def text(figure: Figure | None) -> Markup:
    """Words, or a number as it stands in the file."""
    return NONE if figure is None else written(figure, str(figure.value))


def interval(ends: Interval | None) -> Markup:
    """``[0.2859, 0.2909]``; nothing where there is none."""
    if ends is None:
        return Markup("")
    decimals = _decimals(ends[1].number)
    low, high = (written(end, f"{end.number:.{decimals}f}") for end in ends)
    return Markup('<span class="interval">[{}, {}]</span>').format(low, high)


def in_chart(figure: Figure, shown: str) -> Markup:
    """A figure within an SVG text."""
    return Markup("<tspan {}>{}</tspan>").format(_told(figure), shown.replace("-", "−"))


def ms_in_chart(figure: Figure) -> Markup:
    """A latency within an SVG text, without its unit."""
    return in_chart(figure, f"{figure.number:.{_decimals(figure.number)}f}")


def written(figure: Figure, shown: str, unit: str = "") -> Markup:
    """A figure that tells its value and where that is from."""
    minus = shown.replace("-", "−") if not isinstance(figure.value, str) else shown
    return Markup("<data {}>{}</data>{}").format(_told(figure), minus, unit.replace(" ", "\u00a0"))


def _told(figure: Figure) -> Markup:
    value = figure.value if isinstance(figure.value, str) else repr(figure.value)
    sources = " ".join(source.replace(" ", "%20") for source in figure.sources)
    how = "" if figure.how == "value" else Markup(' data-how="{}"').format(figure.how)
    return Markup('value="{}" data-source="{}"{}').format(value, sources, how)


def _decimals(value: float) -> int:
    """So many that four significant digits are shown."""
    return max(0, min(9, 3 - math.floor(math.log10(abs(value))))) if value else 1


FILTERS = {
    "ms": ms,
    "as_fine": as_fine,
    "fact": fact,
    "number": number,
    "whole": whole,
    "percent": percent,
    "signed": signed,
    "away": away,
    "short": short,
    "words": text,
    "interval": interval,
}
