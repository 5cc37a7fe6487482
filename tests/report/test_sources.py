"""Every number of the page is found in the run's files, and none stands there without saying where it is from."""

import re
from pathlib import Path

import numpy as np
import pytest
from report.generated_run import write_estimated_table, write_run
from report.reading import NUMBER, Page
from report.sources import Files

from hwnas.report.page import write_report

DEMO = Path(__file__).parents[2] / "runs" / "demo"
PROSE = {"95"}
"""The confidence of all intervals: of the method, and of no run."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("runs") / "search")
    estimated = write_estimated_table(folder / "npu.lut.jsonl")
    assert write_report([folder, estimated], folder / "report.html").missing == ()
    return folder


@pytest.fixture(
    scope="module",
    params=[
        "generated",
        pytest.param(
            "demo",
            marks=[
                pytest.mark.slow,
                pytest.mark.demo,
                pytest.mark.skipif(not (DEMO / "report.html").is_file(), reason="run `make demo` first"),
            ],
        ),
    ],
)
def folder(request):
    return request.getfixturevalue("written") if request.param == "generated" else DEMO


@pytest.fixture(scope="module")
def page(folder):
    return Page.of(folder / "report.html")


@pytest.fixture(scope="module")
def files(folder):
    return Files(folder)


def test_every_figure_follows_from_the_places_it_names(page, files):
    assert len(page.figures) > 150
    for figure in page.figures:
        expected = files.expected(figure)
        if figure.how == "architecture":
            told = re.findall(r"\d+", figure.text)
            assert sorted(map(int, told)) == sorted(expected.values()), figure
        elif isinstance(expected, str):
            assert figure.value == figure.text == expected, figure
        else:
            assert float(figure.value) == pytest.approx(expected, rel=1e-9, abs=1e-12), figure
            in_words = figure.how in ("change", "less-one")  # the sign is a word: below, above, faster, slower
            value = float(figure.value)
            assert shown_as(figure.text, value) or (in_words and shown_as(figure.text, -value)), figure


def shown_as(text, value):
    """Whether a text is this number, rounded to the digits it has; per cent and thousands allowed for."""
    plain = text.replace("−", "-").replace(",", "").lstrip("+")
    mantissa = plain.partition("e")[0]
    decimals = len(mantissa.partition(".")[2])
    power = int(plain.partition("e")[2] or 0)
    half = 0.5000001 * 10.0 ** (power - decimals)
    return any(abs(float(plain) - value * factor) <= half for factor in (1, 100))


def test_no_number_stands_there_without_a_source(page):
    loose = [found for text in page.prose for found in NUMBER.findall(text) if found not in PROSE]
    assert loose == []


def test_every_point_of_a_search_is_its_journals(page, files):
    told = page.points
    assert len(told["journals"]) >= 2
    for name, journal in told["journals"].items():
        records = files.document(name)
        table = files.table(next(p.name for p in sorted(files.folder.glob("x86*.lut.jsonl"))))
        candidates = [files.space.candidate(record["candidate"]) for record in records[1:]]
        latencies = table.latency_ms(files.space.encode_many(candidates))
        assert len(journal["points"]) == len(records) - 1
        for number, (loss, ms, gene) in journal["points"].items():
            assert loss == records[int(number)]["loss"]
            assert ms == pytest.approx(latencies[int(number) - 1], rel=1e-6)
            assert files.space.decode([ord(digit) - 48 for digit in gene]) == candidates[int(number) - 1]
    assert told["choices"] == [[c.name, list(c.values), c.when and list(c.when)] for c in files.space.choices]


def test_points_are_drawn_where_their_values_are(page):
    told = page.points["journals"]
    groups = {}
    for mark in page.marks:
        if "data-r" in mark.attributes:
            name = mark.group["data-points"]
            loss, ms, _ = told[name]["points"][mark.attributes["data-r"]]
            place = float(mark.attributes["cx"]), float(mark.attributes["cy"])
            groups.setdefault((mark.attributes["r"]), []).append((ms, loss, *place))
    assert len(groups) == 2  # a desktop's and a phone's
    for points in groups.values():
        assert len(points) == sum(len(journal["points"]) for journal in told.values())
        on_two_lines(np.array(points))


def test_models_are_drawn_where_prediction_and_measurement_are(page, files):
    marks = [mark.attributes for mark in page.marks if "data-measured" in mark.attributes]
    assert len(marks) >= 4 * 18  # two panels, on two screens
    for mark in marks:
        measured, *predicted = (source.replace("%20", " ") for source in mark["data-source"].split(" "))
        assert float(mark["data-measured"]) == files.one(measured)
        if len(predicted) == 1:
            told = files.one(predicted[0])
        else:
            told = files.table(predicted[0].partition("#")[0]).of(files.space.candidate(files.one(predicted[1])))
        height = float(mark["data-height"])
        assert height == pytest.approx(told, rel=1e-9) or height == pytest.approx(told / files.one(measured) - 1)


def on_two_lines(points):
    """Whether columns 2 and 3 are linear in columns 0 and 1, to the tenth of a pixel that is written."""
    for value, place in ((0, 2), (1, 3)):
        fitted = np.polyfit(points[:, value], points[:, place], 1)
        assert np.abs(np.polyval(fitted, points[:, value]) - points[:, place]).max() <= 0.11
    assert np.polyfit(points[:, 0], points[:, 2], 1)[0] > 0  # slower is further right
    assert np.polyfit(points[:, 1], points[:, 3], 1)[0] < 0  # worse is higher up


def test_bars_are_as_long_as_their_shares(page):
    widths = [given["style"] for tag, given in page.elements if tag == "span" and "width" in given.get("style", "")]
    shares = [float(f.value) for f in page.figures if f.how.startswith("share:")]
    longest = max(shares)
    assert [f"width:{100 * share / longest:.1f}%" for share in shares] == widths[: len(shares)]
