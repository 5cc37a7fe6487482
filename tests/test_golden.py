"""Files of every schema version that was ever written are read, and say what they said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hwnas.search.journal import SearchJournal
from latency_luts import DISPATCH, LatencyLut, OperatorSpec
from profiler import read_journal
from tests.contracts.searcher import SPACE, loss_of

GOLDEN = Path(__file__).parent / "golden"
SCHEMA_1 = GOLDEN / "schema1"
SCHEMA_2 = GOLDEN / "schema2"


def test_a_table_of_schema_1() -> None:
    table = LatencyLut.load(SCHEMA_1 / "table.lut.jsonl")
    assert str(table.target) == "here/onnxruntime-1.32.0/threads=1/thread_cpu"
    assert (table.source, table.rounds, table.incomplete) == ("measured", 8, None)
    assert table.workload == {"batch": 1, "source_tokens": 9}
    assert (table.subject.space, table.subject.fingerprint) == ("g2p", "abc")
    ffn, head = OperatorSpec.of("ffn", embed=32, ffn=64), OperatorSpec.of("head", embed=32)
    assert table.latencies_ms == {DISPATCH: 0.002, ffn: 0.012, head: 0.032}
    assert (table.rows[ffn].metrics, table.rows[ffn].streamed_bytes) == ({"wall_ms": 0.0131}, 8192)
    (held_out,) = table.models_of("check")
    assert len(table.models_of("calibration")) == 4
    assert table.calibration is not None
    assert table.calibration.predict(held_out.operators) == pytest.approx(held_out.latency_ms, rel=1e-3)
    assert table.calibration.held_out is not None
    assert table.calibration.held_out.models == 4


def test_a_table_of_schema_1_knows_no_intervals(tmp_path: Path) -> None:
    """Written again it is of today's schema, and says the same."""
    table = LatencyLut.load(SCHEMA_1 / "table.lut.jsonl")
    assert all((row.interval_ms, row.raw_ms, row.status) == (None, None, None) for row in table.rows.values())
    assert all((model.interval_ms, model.status) == (None, None) for model in table.models)
    assert (table.provenance, table.drift, table.fingerprint) == ({}, {}, "")
    table.save(tmp_path / "table")
    assert LatencyLut.load(tmp_path / "table") == table


def test_a_table_of_schema_2() -> None:
    table, older = LatencyLut.load(SCHEMA_2 / "table.lut.jsonl"), LatencyLut.load(SCHEMA_1 / "table.lut.jsonl")
    assert table.latencies_ms == older.latencies_ms
    assert table.calibration == older.calibration
    ffn = table.rows[OperatorSpec.of("ffn", embed=32, ffn=64)]
    assert (ffn.interval_ms, ffn.status) == ((0.01188, 0.01218), "budget")
    assert ffn.raw_ms == pytest.approx(0.01236)
    (held_out,) = table.models_of("check")
    assert held_out.status == "converged"
    assert held_out.interval_ms == pytest.approx((0.98 * held_out.latency_ms, 1.02 * held_out.latency_ms))
    assert held_out.metrics == {"wall_ms": pytest.approx(1.1 * held_out.latency_ms)}
    assert (table.source, table.provenance, table.fingerprint) == ("measured", {}, "0123456789abcdef")
    assert (table.drift, table.session_sd) == ({"rounds": 8, "quarantined": {}}, 0.004)


def test_a_table_is_written_as_it_was(tmp_path: Path) -> None:
    """Another format needs another schema version, and its own files here."""
    LatencyLut.load(SCHEMA_2 / "table.lut.jsonl").save(tmp_path / "table")
    assert (tmp_path / "table").read_bytes() == (SCHEMA_2 / "table.lut.jsonl").read_bytes()


def test_a_profiling_journal_of_schema_1() -> None:
    content = read_journal(SCHEMA_1 / "profile.journal.jsonl")
    assert content.complete
    assert content.header.created == "2026-01-01T00:00:00+00:00"
    assert [(item.name, item.role) for item in content.header.items] == [
        ("op4", "operator"), ("op8", "operator"), ("op16", "operator"), ("model", "model"),
    ]  # fmt: skip
    assert len(content.header.items[-1].artifacts) == 2
    assert {name for _, name in content.measurements} == {"op4", "op8", "op16", "model"}
    for measured in content.measurements.values():
        assert measured.latency_ms("wall") == pytest.approx(0.3)
        assert (len(measured.rounds), measured.calls) == (3, 8)
    assert len(content.parity) == 4
    assert all(parity.passed for parity in content.parity.values())
    assert [environment.at for environment in content.environment] == ["start", "round", "round", "round", "end"]


def test_a_search_journal_of_schema_1(tmp_path: Path) -> None:
    path = tmp_path / "search.journal.jsonl"
    shutil.copyfile(SCHEMA_1 / path.name, path)
    header = json.loads(path.read_text(encoding="utf-8").partition("\n")[0])
    with SearchJournal(path, SPACE, {name: header[name] for name in header if name not in ("kind", "schema")}) as found:
        assert found.losses == {candidate: loss_of(candidate) for candidate in found.losses}
        assert len(found.losses) == 12
    assert path.read_bytes() == (SCHEMA_1 / path.name).read_bytes()
