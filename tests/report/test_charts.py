"""Charts of what there may be: very many points, a single one, ticks of any range."""

import math
import random
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.report.charts import MOST_POINTS, Series, front_chart, points_drawn, progress_chart
from hwnas.report.page import TEMPLATES
from hwnas.report.predictions import Point, front_of
from hwnas.report.svg import Axis, apart


def series(number, name="evolution"):
    rng = random.Random(number)
    points = [Point("j", i + 1, (0, 1), 0.25 + rng.random() / 10, 0.1 + rng.random()) for i in range(number)]
    return Series(name, "search", points, [p.loss for p in points], None)


def test_random_search_beside_random_search_has_a_curve_of_its_own():
    ends = [Series("random search", "random", [], losses, None) for losses in ([3.0, 1.0], [3.0, 2.0])]
    curves = re.findall(r'class="curve random" d="([^"]+)"', progress_chart(ends, "x"))
    assert len(curves) == len(set(curves)) == 4  # on a desktop and on a phone


def test_of_very_many_points_some_are_drawn_and_all_of_the_front():
    many = series(30_000).points
    drawn = points_drawn(many)
    assert MOST_POINTS / 2 <= len(drawn) <= 1.1 * MOST_POINTS
    assert set(front_of(many)) <= set(drawn)
    assert points_drawn(many[:100]) == list(many[:100])


def test_a_page_of_very_many_points_stays_small():
    chart = front_chart([series(30_000)], None, None, "measured", "many")
    assert len(chart) < 1_000_000


@pytest.mark.parametrize("number", [1, 2, 3])
def test_few_points_make_a_chart_too(number):
    few = series(number)
    assert front_chart([few], None, None, "measured", "few").count("<circle") == 2 * number
    assert progress_chart([few], "few").count("<svg") == 2


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=30))
def test_the_front_is_what_nothing_betters(values):
    points = [Point("j", i, (), float(loss), float(ms)) for i, (loss, ms) in enumerate(values)]
    front = front_of(points)
    for point in points:
        bettered = any(
            (o.loss <= point.loss and o.latency_ms <= point.latency_ms)
            and (o.loss < point.loss or o.latency_ms < point.latency_ms)
            for o in points
        )
        same = any((p.loss, p.latency_ms) == (point.loss, point.latency_ms) for p in front)
        assert same is not bettered
    assert len({(p.loss, p.latency_ms) for p in front}) == len(front)


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e6), st.integers(2, 10))
def test_ticks_are_round_few_and_told_apart(spans_from_zero, span, about):
    low = spans_from_zero * span
    axis = Axis("", low, low + span)
    ticks = axis.ticks(about)
    assert len(ticks) <= 2 * about + 1
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    if len(ticks) > 1:
        step = ticks[1] - ticks[0]
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(mantissa - round_one) for round_one in (1, 2, 5, 10)) < 1e-3
        assert len({axis.label(tick, ticks) for tick in ticks}) == len(ticks)


@given(st.lists(st.floats(0, 300), min_size=1, max_size=5), st.floats(1, 40))
def test_labels_are_moved_apart_in_the_same_order(places, least):
    moved = apart(places, least)
    ordered = sorted(moved)
    assert all(b - a >= least - 1e-9 for a, b in pairwise(ordered))
    assert sorted(range(len(places)), key=lambda i: (places[i], i)) == sorted(
        range(len(moved)), key=lambda i: (moved[i], i)
    )


def contrast(one, two):
    """By WCAG 2.2, relative luminance."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(one), luminance(two)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_every_colour_of_text_can_be_read_on_its_paper():
    style = (TEMPLATES / "style.css").read_text()
    palettes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)]
    assert len(palettes) == 3  # light, dark, paper
    for palette in palettes:
        paper = palette.get("paper", "#ffffff")
        for name in ("ink", "muted", "search", "random", "limit", "good", "bad"):
            if name in palette:
                assert contrast(palette[name], paper) >= 4.5, (name, palette[name], paper)
