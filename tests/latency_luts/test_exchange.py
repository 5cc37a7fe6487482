"""Tables in other formats and back: the same table, or one line that says what a format cannot."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from latency_luts import LatencyLut, LutFormatError, OperatorSpec, Subject
from latency_luts.exchange import Origin, from_csv, from_ofa, to_csv, to_ofa
from profiler.target import Target

ROOT = Path(__file__).parents[2]
TABLES = [
    *sorted((ROOT / "latency_luts" / "tables").glob("*.jsonl")),
    *sorted((ROOT / "tests" / "golden").glob("schema*/table.lut.jsonl")),
]
ORIGIN = Origin(Target("note10", "tflite", 1, "wall"), {"batch": 1}, Subject("", ""))
ENGINE = {"engine": "systolic", "version": "1", "configuration": "ab", "fidelity": "exact"}

FOREIGN = """\
Conv-input:224x224x3-output:112x112x32:
  count: 1000
  mean: 4.031
  var: 0.04
expanded_conv-input:112x112x16-output:56x56x24-expand:3-kernel:5-stride:2-idskip:0:
  count: 50
  mean: 3.25
  var: 0.005
expanded_conv-input:28x28x40-output:28x28x40-expand:240-kernel:7-stride:1-idskip:1-se:1-hs:0:
  count: 50
  mean: 1.5
  var: 0.0
Logits-input:7x7x1280-output:1000:
  count: 50
  mean: 0.75
  var: 0.001
"""


@pytest.fixture(params=TABLES, ids=lambda path: path.name if path.parent.name == "tables" else path.parent.name)
def table(request: pytest.FixtureRequest) -> LatencyLut:
    return LatencyLut.load(request.param)


def test_a_csv_gives_the_table_back(table: LatencyLut, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(to_csv(table))
    assert from_csv(path) == table


def test_an_estimated_table_keeps_its_provenance_in_a_csv(table: LatencyLut, tmp_path: Path) -> None:
    estimated = replace(table, source="estimated", provenance=ENGINE)
    (tmp_path / "t.csv").write_text(to_csv(estimated))
    assert from_csv(tmp_path / "t.csv") == estimated


def test_estimates_without_their_comment_are_not_taken_for_measured(table: LatencyLut, tmp_path: Path) -> None:
    estimated = replace(table, source="estimated", provenance=ENGINE)
    path = tmp_path / "t.csv"
    for lut, source in ((table, "measured"), (estimated, "estimated")):
        lines = to_csv(lut).splitlines(keepends=True)
        assert {record["source"] for record in csv.DictReader(lines[1:])} == {source}
        path.write_text("".join(lines[1:]))
        if source == "measured":
            assert from_csv(path, ORIGIN).rows.keys() == table.rows.keys()
        else:
            with pytest.raises(LutFormatError, match=r"t\.csv has rows that are estimated"):
                from_csv(path, ORIGIN)


def test_a_csv_is_one_for_any_reader_that_knows_comments(table: LatencyLut) -> None:
    lines = to_csv(table).splitlines()
    records = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    told = {record["operator"]: float(record["latency_ms"]) for record in records if record["operator"]}
    assert told == {str(operator): latency_ms for operator, latency_ms in table.latencies_ms.items()}
    assert sum(bool(record["model"]) for record in records) == len(table.models)


def test_a_csv_of_elsewhere_needs_two_columns_and_an_origin(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('operator,latency_ms,metrics.energy_mj\n"ffn[embed=8,precision=fp32]",0.5,1.25\n')
    table = from_csv(path, ORIGIN)
    (row,) = table.rows.values()
    assert (row.operator, row.latency_ms, row.metrics) == (OperatorSpec.of("ffn", embed=8), 0.5, {"energy_mj": 1.25})
    assert (row.parity_error, row.interval_ms, table.target) == (None, None, ORIGIN.target)
    assert table.origin == "measured elsewhere (mine.csv)"
    with pytest.raises(LutFormatError, match="does not say what it was measured on"):
        from_csv(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "needs the columns operator and latency_ms"),
        ("a,b\n1,2\n", "needs the columns operator and latency_ms"),
        ("operator,latency_ms\nffn[embed=8],0.5\n", "names no precision"),
        ("operator,latency_ms\nffn[precision=fp32],fast\n", ":2: latency_ms is 'fast', which is no number"),
        ("operator,latency_ms\nffn[precision=fp32],-1\n", ":2: latency_ms is '-1'; it must be"),
        ("operator,latency_ms\nffn[precision=fp32],NaN\n", ":2: latency_ms is 'NaN'; it must be"),
        ("operator,latency_ms\nffn[precision=fp32],1,2\n", ":2 has more or fewer fields"),
        ("operator,latency_ms\na[precision=fp32],1\na[precision=fp32],2\n", "1 operators more than once"),
        ("# hwnas latency table: {\noperator,latency_ms\n", ":1: the comment that describes the table is damaged"),
        ("# hwnas latency table: {}\noperator,latency_ms\n", "is missing"),
    ],
)
def test_what_is_no_such_csv_is_refused_in_one_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(LutFormatError, match=message) as caught:
        from_csv(path, ORIGIN)
    assert "\n" not in str(caught.value)
    assert "bad.csv" in str(caught.value) or "precision" in str(caught.value)


def test_a_yaml_keeps_operators_latencies_and_intervals(table: LatencyLut, tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(to_ofa(table))
    again = from_ofa(path, ORIGIN)
    assert again.latencies_ms == table.latencies_ms
    for operator, row in table.rows.items():
        found = again.rows[operator]
        assert found.samples == row.samples
        assert (found.interval_ms is None) == (row.interval_ms is None)
        if row.interval_ms is not None and found.interval_ms is not None:
            width = row.interval_ms[1] - row.interval_ms[0]
            assert found.interval_ms[1] - found.interval_ms[0] == pytest.approx(width)
    once, twice = yaml.safe_load(to_ofa(table)), yaml.safe_load(to_ofa(again))
    assert list(once) == list(twice)
    assert all(twice[key] == pytest.approx(entry) for key, entry in once.items())


def test_a_table_of_theirs_goes_in_and_comes_out_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "mobile.yaml"
    path.write_text(FOREIGN)
    table = from_ofa(path, ORIGIN)
    table.save(tmp_path / "t.lut.jsonl")
    loaded = LatencyLut.load(tmp_path / "t.lut.jsonl")
    assert loaded == table
    again, before = yaml.safe_load(to_ofa(loaded)), yaml.safe_load(FOREIGN)
    assert set(again) == set(before)
    for key, entry in before.items():
        assert again[key] == pytest.approx(entry)
    conv = OperatorSpec.of("conv", input_x0=224, input_x1=224, input_x2=3, output_x0=112, output_x1=112, output_x2=32)
    assert loaded.latency_ms(conv) == 4.031
    half = 1.959964 * math.sqrt(0.04 / 1000)
    assert loaded.rows[conv].interval_ms == pytest.approx((4.031 - half, 4.031 + half))


@given(
    st.dictionaries(st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True), st.integers(0, 10**6), max_size=4),
    st.sampled_from(["fp32", "int8"]),
    st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True),
)
def test_any_operator_of_ours_survives_the_yaml(sizes: dict[str, int], precision: str, kind: str) -> None:
    from latency_luts.exchange import _key, _operator

    sizes.pop("precision", None)
    operator = OperatorSpec.of(kind, precision=precision, **sizes)
    assert _operator(Path("t"), _key(operator)) == operator


def test_a_yaml_cannot_say_that_numbers_are_estimates(table: LatencyLut) -> None:
    with pytest.raises(LutFormatError, match="is estimated, which this YAML cannot say; export it as CSV"):
        to_ofa(replace(table, source="estimated", provenance=ENGINE))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no latency table of ProxylessNAS"),
        ("- 1\n", "is no latency table of ProxylessNAS"),
        ("a: [", "is not YAML"),
        ("a: 2024-13-45\n", "is not YAML"),
        ("!!python/object/apply:os.system ['true']: 1\n", "is not YAML"),
        ("Conv-input:1: 5\n", "has no mean"),
        ("Conv-input:1: {count: 1, var: 0}\n", "has no mean"),
        ("Conv-input:1: {mean: -1}\n", "mean is -1; it must be"),
        ("Conv-input:1: {mean: .nan}\n", "mean is nan; it must be"),
        ("Conv-input:1: {mean: fast}\n", "mean is 'fast'; it must be"),
        ("Strange-input:1: {mean: 1}\n", "is no operator like"),
        ("conv-input:axb: {mean: 1}\n", "is not a size"),
    ],
)
def test_what_is_no_such_yaml_is_refused_in_one_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(LutFormatError, match=message) as caught:
        from_ofa(path, ORIGIN)
    assert "\n" not in str(caught.value)
    assert "bad.yaml" in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    for read in (from_csv, from_ofa):
        with pytest.raises(LutFormatError, match="cannot read"):
            read(tmp_path / "none", ORIGIN)
