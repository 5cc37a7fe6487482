"""The tables that ship can be read, cover their spaces, and say how far off they are."""

from pathlib import Path

import pytest

import latency_luts
from hwnas.families import get_family
from hwnas.latency import TableLatency, operators_of
from hwnas.spaces import load_space
from latency_luts import LatencyLut

SHIPPED = sorted((Path(latency_luts.__file__).parent / "tables").glob("*.jsonl"))


def test_there_are_tables() -> None:
    assert {path.name.split("_epyc")[0] for path in SHIPPED} >= {"g2p", "hat_wmt14_ende"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_table_predicts_every_candidate_of_its_space(path: Path) -> None:
    table = LatencyLut.load(path)
    assert table.incomplete is None
    assert table.source == "measured"
    space = load_space(table.subject.space)
    family = get_family(space.family)
    assert table.missing(operators_of(space, family, space.workload)) == ()
    latency = TableLatency.from_lut(space, family, table)
    assert 0 < latency.of(space.extreme(0)) < latency.of(space.extreme(-1))
    assert table.calibration is not None
    report = table.calibration.evaluate(table.models_of("check"))
    assert report.mape <= max(0.06, 1.5 * report.split_half_floor)
