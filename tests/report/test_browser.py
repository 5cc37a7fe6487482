"""The page in a real browser, on a phone, a desktop and paper: nothing is loaded, logged, or wider than the screen."""

import os
from pathlib import Path

import pytest
from report.browser import browser, chromium
from report.generated_run import write_estimated_table, write_run

from hwnas.report.page import write_report

DEMO = Path(__file__).parents[2] / "runs" / "demo"
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
PHONE, DESKTOP = (360, 740), (1100, 900)
LARGEST_PAGE, LARGEST_PICTURE = 3_000_000, 300_000

pytestmark = pytest.mark.skipif(
    chromium() is None and not os.environ.get("CI"), reason="there is no Chromium: apt-get install chromium"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with everything a page can have: two runs, two devices."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "search")
    other = write_run(folder.parent / "again")
    estimated = write_estimated_table(folder.parent / "npu.lut.jsonl")
    path = folder.parent / "report.html"
    write_report([folder, other, estimated], path)
    return path


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    assert chromium() is not None, "CI has no Chromium"
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_loads_nothing_logs_nothing_and_fits_the_screen(page, shown, size, dark):
    shown.show(page, *size, dark=dark)
    assert shown.complaints() == []
    assert [url for url in shown.requests() if not url.startswith("data:")] == [page.as_uri()]
    assert shown.value("document.documentElement.scrollWidth") <= size[0]
    assert page.stat().st_size < LARGEST_PAGE
    wider = "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && e.getClientRects().length"
    assert shown.value(f"{wider} && e.getBoundingClientRect().right > {size[0]} + 1).map(e => e.outerHTML)") == []


def test_type_is_never_scaled_down(page, shown):
    for size in (PHONE, DESKTOP):
        shown.show(page, *size)
        smallest = (
            "Math.min(...[...document.querySelectorAll('svg text')].filter(t => t.getClientRects().length)"
            ".map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a))"
        )
        assert shown.value(smallest) >= 11


def test_labels_of_a_chart_do_not_cover_one_another(page, shown):
    covered = """
        [...document.querySelectorAll('svg')].filter(s => s.getClientRects().length).flatMap(svg => {
          const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
          return boxes.flatMap(([one, a], i) => boxes.slice(i + 1)
            .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
                            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4)
            .map(([other]) => one + ' / ' + other));
        })"""
    for size in (PHONE, DESKTOP):
        shown.show(page, *size)
        assert shown.value(covered) == []


def test_hovering_tells_the_architecture_and_where_a_number_is_from(page, shown):
    shown.show(page, *DESKTOP)
    hover = """
        (() => {
          const circle = document.querySelector('svg.wide circle[data-r]');
          circle.scrollIntoView({block: 'center'});
          const at = circle.getBoundingClientRect();
          circle.ownerSVGElement.dispatchEvent(new PointerEvent('pointermove',
            {clientX: at.x + at.width / 2, clientY: at.y + at.height / 2, bubbles: true}));
          return document.getElementById('tip').innerText;
        })()"""
    told = shown.value(hover)
    assert "encoder layers" in told
    assert "loss" in told
    number = """
        (() => {
          const figure = document.querySelector('.facts data');
          figure.dispatchEvent(new PointerEvent('pointerover', {clientX: 9, clientY: 9, bubbles: true}));
          return document.getElementById('tip').innerText;
        })()"""
    assert "search.json#/winner/loss" in shown.value(number)


def test_it_prints(page, shown, tmp_path):
    shown.show(page, *DESKTOP)
    shown.pdf(tmp_path / "page.pdf")
    content = (tmp_path / "page.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= content.count(b"/Type /Page\n") <= 20


@pytest.mark.slow
@pytest.mark.demo
@pytest.mark.skipif(not (DEMO / "report.html").is_file(), reason="run `make demo` first")
@pytest.mark.parametrize(("name", "size"), [("phone", PHONE), ("desktop", DESKTOP)])
def test_the_demos_page_makes_the_pictures(shown, tmp_path, name, size):
    """From the top to below the front; ``HWNAS_PICTURES=1`` keeps them as the ones that the README shows."""
    page = DEMO / "report.html"
    shown.show(page, *size)
    assert shown.complaints() == []
    assert page.stat().st_size < LARGEST_PAGE
    assert shown.value("document.documentElement.scrollWidth") <= size[0]
    picture = (PICTURES if os.environ.get("HWNAS_PICTURES") else tmp_path) / f"report-{name}.png"
    below = (
        "[...document.querySelectorAll('figure')].find(f => f.querySelector('.dots')).getBoundingClientRect().bottom"
    )
    shown.picture(picture, height=shown.value(f"Math.ceil({below}) + 24"))
    assert picture.stat().st_size < LARGEST_PICTURE
