from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="draws the pictures")

from explain.test_costs import CANDIDATES, ScopedFamily, model, node

from hwnas.cross_check import cross_check
from hwnas.errors import HwnasError
from hwnas.explain import explain
from hwnas.explain_picture import draw

FOUND = explain(model(), CANDIDATES[-1])
CHECK = cross_check(FOUND, model(), ScopedFamily(), [node("/block.0/Gemm", 0.3), node("/stem/Add", 0.1)], 1.0)


@pytest.mark.parametrize(("name", "start"), [("a/b.png", b"\x89PNG"), ("b.SVG", b"<?xml")])
def test_it_is_drawn_whole(tmp_path: Path, name: str, start: bytes) -> None:
    for check in (None, CHECK):
        draw(FOUND, check, tmp_path / name, "title")
        assert (tmp_path / name).read_bytes().startswith(start)
    assert not list(tmp_path.rglob("*.partial*"))


def test_every_operator_and_number_is_in_it_and_the_same_each_time(tmp_path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        for name in ("a.svg", "b.svg"):
            draw(FOUND, CHECK, tmp_path / name, "0.5 ms on here")
    text = (tmp_path / "a.svg").read_text()
    for cost in FOUND.costs:
        assert f"{cost.label}  ×{cost.count}" in text
        assert f"{cost.share:.1%}" in text
    assert "0.5 ms on here" in text
    assert f"table, {FOUND.origin} (sums to the prediction)" in text
    assert "profile" in text
    assert text == (tmp_path / "b.svg").read_text()


def test_many_operators_end_in_one_bar(tmp_path: Path) -> None:
    import matplotlib

    many = replace(FOUND, costs=FOUND.costs * 20)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw(many, CHECK, tmp_path / "a.svg", "")
    assert f"{len(many.costs) - 24} cheaper operators" in (tmp_path / "a.svg").read_text()


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match=r"a.pdf cannot be drawn: give a name that ends in .png or .svg"):
        draw(FOUND, None, tmp_path / "a.pdf", "")
