"""Tables of several runtimes and precisions, measured in the same rounds, and put beside each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hwnas.errors import HwnasError
from hwnas.families import get_family
from hwnas.families.deployed import as_in_table, precision_in
from hwnas.latency import TableLatency
from hwnas.profiling import journal_of
from hwnas.runtimes import JOINT, compare_tables, profile_runtimes, strands_of
from hwnas.sampling import Sampling
from latency_luts import LatencyLut
from profiler import LocalDevice, SshDevice, read_journal
from tests.contracts.toolchains import need

HERE = LocalDevice(name="here", kind="local")
FAMILY = get_family("seq2seq")
SPACE = FAMILY.space(
    {
        "name": "few",
        "family": "seq2seq",
        "workload": {"source_tokens": 4, "target_tokens": 3, "vocabulary": 9},
        "choices": {
            "encoder_embed": [8, 16],
            "encoder_layers": [1],
            "encoder_ffn": [8],
            "encoder_heads": [1],
            "decoder_embed": [8],
            "decoder_layers": [1],
            "decoder_ffn": [8],
            "decoder_self_heads": [1],
            "decoder_cross_heads": [1],
            "decoder_attended": [1],
        },
        "fixed": {"qkv": 8, "positions": 16},
    }
)
SAMPLING = Sampling(rounds=2, min_rounds=2, samples=2, min_sample_ms=0.2, calibration=0, check=1)


def names(*asked: str) -> list[str]:
    return [strand.name for strand in strands_of(HERE, *asked)]


def test_what_is_asked_for() -> None:
    assert names("all", "fp32") == ["onnxruntime", "litert", "tvm"]
    assert names("litert,tflite", "int8-dynamic") == ["litert-int8-dynamic", "tflite-int8-dynamic"]
    assert len(names("onnxruntime", "all")) == 4


@pytest.mark.parametrize(
    ("runtimes", "precision", "message"),
    [
        ("zip", "fp32", "no runtime 'zip'; known: onnxruntime"),
        ("litert", "int3", "none of litert has precision 'int3'"),
    ],
)
def test_what_there_is_not(runtimes: str, precision: str, message: str) -> None:
    with pytest.raises(HwnasError, match=message):
        strands_of(HERE, runtimes, precision)
    with pytest.raises(HwnasError, match="is ssh: profile one runtime at a time"):
        strands_of(SshDevice(name="pi", kind="ssh", host="pi"), "all", "fp32")


def prove(folder: Path, strands, tables: dict[str, LatencyLut]) -> None:
    """Each table is whole, of its own precision and runtime, and derived again from the journal beside it."""
    joint = read_journal(folder / JOINT)
    for strand in strands:
        table = tables[strand.name]
        path = folder / f"{strand.name}.lut.jsonl"
        assert table.target.runtime.startswith(f"{strand.device.runtime}-")
        assert precision_in(as_in_table(FAMILY, table)) == strand.precision
        assert LatencyLut.load(path).rows == table.rows
        own = read_journal(journal_of(path))
        assert own.complete
        assert LatencyLut.derive(own, table.target).rows.keys() == table.rows.keys()
        for item in own.header.items:
            taken = joint.measurements[str(table.target), f"{strand.name}/{item.name}"]
            assert [r.wall_ns for r in own.measured(table.target, item.name).rounds] == [
                r.wall_ns for r in taken.rounds
            ]
        assert TableLatency(SPACE, FAMILY, table, workload=SPACE.workload).of(SPACE.extreme(0)) > 0


def test_precisions_of_one_runtime_in_the_same_rounds(tmp_path: Path) -> None:
    strands = [s for s in strands_of(HERE, "onnxruntime", "all") if s.precision in ("fp32", "int8-dynamic")]
    tables = profile_runtimes(SPACE, FAMILY, SPACE.workload, strands, tmp_path, SAMPLING, cache=tmp_path / "cache")
    prove(tmp_path, strands, tables)
    before = (tmp_path / JOINT).read_bytes()
    again = profile_runtimes(SPACE, FAMILY, SPACE.workload, strands, tmp_path, SAMPLING, cache=tmp_path / "cache")
    assert (tmp_path / JOINT).read_bytes() == before, "nothing is measured twice"
    assert again.keys() == tables.keys()
    rounds = [r["round"] for r in map(json.loads, before.splitlines()) if r["kind"] == "sample"]
    assert rounds == sorted(rounds)

    found = {each.kind: each for each in compare_tables(tables)}
    assert list(found)[-1] == "whole models"
    first, other = tables.values()
    wanted = other.models[0].latency_ms / first.models[0].latency_ms
    assert found["whole models"].ratios == {"onnxruntime": 1.0, "onnxruntime-int8-dynamic": pytest.approx(wanted)}
    assert found["source_embedding"].count == 2
    assert found["whole models"].lowest == ("onnxruntime" if wanted > 1 else "onnxruntime-int8-dynamic")
    foreign = replace(other, workload={**other.workload, "batch": 7})
    with pytest.raises(HwnasError, match="not comparable"):
        compare_tables({"a": first, "b": foreign})


@pytest.mark.slow
def test_all_runtimes_in_the_same_rounds(tmp_path: Path) -> None:
    for toolchain in ("litert-torch", "tflite-runtime", "tvm"):
        need(toolchain)
    strands = strands_of(HERE, "onnxruntime,litert,tflite,tvm", "fp32")
    tables = profile_runtimes(SPACE, FAMILY, SPACE.workload, strands, tmp_path, SAMPLING, cache=tmp_path / "cache")
    prove(tmp_path, strands, tables)
    assert {each.count for each in compare_tables(tables)} == {1, 2}
