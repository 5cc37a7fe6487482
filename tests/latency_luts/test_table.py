from __future__ import annotations

import json
import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_luts import (
    DISPATCH,
    LatencyLut,
    LutError,
    LutFormatError,
    LutMismatchError,
    MissingOperatorError,
    OperatorRow,
    OperatorSpec,
    Subject,
    WholeModel,
)
from profiler.target import Target

FFN = OperatorSpec.of("ffn", embed=32, ffn=64)
HEAD = OperatorSpec.of("head", embed=32)


def model(name: str, role: str, calls: int, latency_ms: float) -> WholeModel:
    halves = (latency_ms * 0.99, latency_ms * 1.01)
    return WholeModel(
        name,
        role,
        {"layers": calls},
        {FFN: calls, HEAD: 1},
        latency_ms,
        halves,
        8,
        40,
        "sha",
        1e-6,  # type: ignore[arg-type]
    )


@pytest.fixture
def table() -> LatencyLut:
    rows = {
        DISPATCH: OperatorRow(DISPATCH, 0.002, 8, 40, "sha-0", 0.0),
        FFN: OperatorRow(FFN, 0.012, 8, 40, "sha-1", 1e-7, {"wall_ms": 0.0131}),
        HEAD: OperatorRow(HEAD, 0.032, 8, 40, "sha-2", 2e-7),
    }
    models = tuple(model(f"m{n}", "calibration", n, 0.05 + n * 0.0105) for n in (1, 2, 3, 4))
    return LatencyLut(
        target=Target("here", "onnxruntime-1.32.0", 1, "thread_cpu"),
        workload={"batch": 1, "source_tokens": 9},
        subject=Subject("g2p", "abc"),
        rows=rows,
        models=(*models, model("m7", "check", 7, 0.1235)),
        environment={"cpu": "a processor", "load": [1.5, 2.0]},
        created="2026-01-01T00:00:00+00:00",
        rounds=8,
    )


def test_a_saved_table_is_read_back(table: LatencyLut, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "t.lut.jsonl"
    for stored in (table, table.calibrated({"head": "projection"})):
        stored.save(path)
        assert LatencyLut.load(path) == stored
        assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_saving_twice_writes_the_same_bytes(table: LatencyLut, tmp_path: Path) -> None:
    table.calibrated().save(tmp_path / "a")
    LatencyLut.load(tmp_path / "a").save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_torn_last_line_is_dropped_and_told(table: LatencyLut, tmp_path: Path) -> None:
    path = tmp_path / "t"
    table.save(path)
    path.write_bytes(path.read_bytes()[:-7])
    torn = LatencyLut.load(path)
    assert torn.incomplete is not None
    assert "last line is torn" in torn.incomplete
    assert torn.rows == table.rows
    assert len(torn.models) == len(table.models) - 1


def test_lines_lost_at_the_end_are_told(table: LatencyLut, tmp_path: Path) -> None:
    path = tmp_path / "t"
    table.save(path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    assert LatencyLut.load(path).incomplete == f"{path}: 6 of 8 rows are missing at the end"


def test_every_truncation_is_a_table_that_says_so_or_one_clear_error(table: LatencyLut, tmp_path: Path) -> None:
    path = tmp_path / "t"
    table.calibrated().save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        try:
            assert LatencyLut.load(path).incomplete is not None
        except LutFormatError as exc:
            assert str(path) in str(exc)
            assert "\n" not in str(exc)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\x93NUMPY\x01\x00\xff\n", "not a latency table"),
        (b'{"kind": "header", "schema": 1}\n', "not a latency table"),
        (b"[1, 2]\n", "not a latency table"),
        (b'{"kind": "lut", "schema": 99}\n', "has schema 99, this hwnas reads up to 2; upgrade"),
        (b'{"kind": "lut", "schema": 1}\n', "is missing"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(LutFormatError, match=message) as caught:
        LatencyLut.load(path)
    assert "\n" not in str(caught.value)


def test_damage_in_the_middle_names_the_line(table: LatencyLut, tmp_path: Path) -> None:
    path = tmp_path / "t"
    table.save(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], lines[2][:20] + "\n", *lines[3:]]))
    with pytest.raises(LutFormatError, match="damaged in line 3"):
        LatencyLut.load(path)
    path.write_text("".join([*lines[:2], '{"operator": "ffn[embed=1]"}\n', *lines[3:]]))
    with pytest.raises(LutFormatError, match="names no precision"):
        LatencyLut.load(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(LutFormatError, match="cannot read the table"):
        LatencyLut.load(tmp_path / "none")


def test_a_place_that_cannot_be_written_is_told(table: LatencyLut, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LutError, match="cannot write the table"):
        table.save(tmp_path / "file" / "t")


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"space: g2p\n", b'{"kind":"header","targets":[]}\n'])
def test_a_file_that_is_no_table_is_not_replaced(table: LatencyLut, content: bytes, tmp_path: Path) -> None:
    other = tmp_path / "supernet.pt"
    other.write_bytes(content)
    with pytest.raises(LutFormatError, match=r"supernet\.pt exists and is not a latency table; choose another file"):
        table.save(other)
    assert other.read_bytes() == content


def test_a_table_or_an_empty_file_is_replaced(table: LatencyLut, tmp_path: Path) -> None:
    path = tmp_path / "t.lut.jsonl"
    path.touch()
    for _ in range(2):
        table.save(path)
        assert LatencyLut.load(path) == table


def test_keys_of_newer_code_are_ignored(table: LatencyLut, tmp_path: Path) -> None:
    path = tmp_path / "t"
    table.calibrated().save(path)
    documents = [json.loads(line) | {"new": 1} for line in path.read_text().splitlines()]
    documents[0]["target"]["new"] = documents[0]["calibration"]["new"] = "x"
    path.write_text("".join(json.dumps(d) + "\n" for d in [*documents, {"unheard_of": 1}]))
    assert LatencyLut.load(path) == table.calibrated()


def test_what_it_lacks(table: LatencyLut) -> None:
    absent = OperatorSpec.of("absent")
    assert table.missing([HEAD, absent, FFN, absent]) == (absent,)
    assert table.latency_ms(FFN) == 0.012
    with pytest.raises(MissingOperatorError, match=r"absent\[precision=fp32\]"):
        table.latency_ms(absent)


def test_requirements(table: LatencyLut) -> None:
    table.require({"batch": 1, "source_tokens": 9}, Subject("another name", "abc"))
    with pytest.raises(LutMismatchError, match="batch is 1 there, 2 asked"):
        table.require({"batch": 2, "source_tokens": 9})
    with pytest.raises(LutMismatchError, match="beam is None there, 5 asked"):
        table.require({"batch": 1, "source_tokens": 9, "beam": 5})
    with pytest.raises(LutMismatchError, match="profile that space"):
        table.require({"batch": 1, "source_tokens": 9}, Subject("g2p", "other"))


ENGINE = {"engine": "systolic", "version": "1", "configuration": "ab12", "fidelity": "exact-to-reference"}


def test_an_estimated_table_names_its_engine_and_keeps_saying_so(table: LatencyLut, tmp_path: Path) -> None:
    estimated = replace(table, source="estimated", provenance=ENGINE)
    estimated.save(tmp_path / "t")
    assert LatencyLut.load(tmp_path / "t") == estimated
    with pytest.raises(LutError, match="whose source is 'estimated' must name its fidelity"):
        replace(table, source="estimated", provenance={**ENGINE, "fidelity": ""})
    with pytest.raises(LutError, match="a measured table names no engine"):
        replace(table, provenance=ENGINE)
    with pytest.raises(LutError, match="'guessed' of a table is unknown"):
        replace(table, source="guessed", provenance=ENGINE)


def test_intervals_and_statuses_are_read_back(table: LatencyLut, tmp_path: Path) -> None:
    row = replace(table.rows[FFN], interval_ms=(0.011, 0.013), raw_ms=0.0125, status="unstable")
    known = replace(table, rows={**table.rows, FFN: row}, drift={"rounds": 8}, fingerprint="ab12")
    known.save(tmp_path / "t")
    assert LatencyLut.load(tmp_path / "t") == known
    (tmp_path / "t").write_text((tmp_path / "t").read_text().replace('"unstable"', '"guessed"'))
    with pytest.raises(LutFormatError, match="'guessed' is no status"):
        LatencyLut.load(tmp_path / "t")


def test_roles_and_dispatch(table: LatencyLut) -> None:
    assert [m.model for m in table.models_of("check")] == ["m7"]
    assert table.dispatch_ms == 0.002
    without = replace(table, rows={FFN: table.rows[FFN]})
    assert without.dispatch_ms == 0


@given(
    st.text(string.ascii_lowercase, min_size=1, max_size=8),
    st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=5), st.integers(0, 10**6), max_size=4),
    st.sampled_from(["fp32", "int8", "fp16"]),
)
def test_operators_print_and_parse(kind: str, sizes: dict[str, int], precision: str) -> None:
    sizes.pop("precision", None)
    operator = OperatorSpec(kind, tuple(sorted(sizes.items())), precision)
    assert OperatorSpec.parse(str(operator)) == operator


@pytest.mark.parametrize("text", ["ffn", "ffn[embed=1]", "ffn[embed=x,precision=fp32]", "Ffn[precision=fp32]", ""])
def test_what_is_no_operator_is_refused(text: str) -> None:
    with pytest.raises(LutFormatError):
        OperatorSpec.parse(text)
