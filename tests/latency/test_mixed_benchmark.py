"""The benchmark of mixed precision: what it counts, fits and chooses, on tables whose truth is known."""

from __future__ import annotations

import importlib
import itertools
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from hwnas import spaces
from hwnas.families import get_family
from hwnas.latency import TableLatency, decompose, operators_of
from hwnas.spaces import load_space
from latency_luts import DISPATCH, Calibration, LatencyLut, OperatorRow, Subject
from profiler.target import Target

benchmark = importlib.import_module("benchmarks.mixed_precision")
FAMILY = get_family("seq2seq")
SPACE = load_space("g2p_mixed")


def made_up(space, seed=0):
    """A table of random latencies."""
    rng = np.random.default_rng(seed)
    operators = (DISPATCH, *operators_of(space, FAMILY, space.workload))
    rows = {o: OperatorRow(o, float(rng.uniform(0.01, 0.02)), 10, 50, f"sha-{o}", 1e-7) for o in sorted(operators)}
    target, subject = Target("here", "onnxruntime-1", 1, "thread_cpu"), Subject(space.name, space.fingerprint)
    plain = LatencyLut(target=target, workload=space.workload.as_dict(), subject=subject, rows=rows, rounds=10)
    return replace(plain, calibration=Calibration.identity(plain.latencies_ms))


def test_borders_are_where_precision_changes_on_the_way_as_often_as_it_is_gone() -> None:
    assert benchmark.borders(SPACE, SPACE.extreme(-1)) == 0
    steps = SPACE.workload.target_tokens
    assert benchmark.borders(SPACE, benchmark.in_bits(SPACE, SPACE.extreme(-1), 8)) == 1 + steps
    largest = SPACE.extreme(-1).as_dict()
    assert benchmark.borders(SPACE, SPACE.candidate(largest | {"encoder_ffn_bits.1": 8})) == 2
    assert benchmark.borders(SPACE, SPACE.candidate(largest | {"encoder_ffn_bits.2": 8})) == 1
    assert benchmark.borders(SPACE, SPACE.candidate(largest | {"output_bits": 8})) == steps
    assert benchmark.borders(SPACE, SPACE.candidate(largest | {"decoder_cross_bits.0": 8})) == 2 * steps


def test_two_arrangements_pay_the_same_operators_and_differ_in_borders() -> None:
    for name in ("g2p_mixed", "benchmarks/mixed_medium.yaml", "benchmarks/hat_mixed.yaml"):
        space = load_space(Path(benchmark.__file__).parent.parent / name if "/" in name else name)
        few, many = benchmark.arranged(space, space.sample(random.Random(1)))
        paid = [decompose(space, FAMILY, space.workload, candidate) for candidate in (few, many)]
        assert paid[0] == paid[1]
        assert {operator.precision for operator in paid[0]} == {"fp32", "int8-dynamic"}
        more = benchmark.borders(space, many) - benchmark.borders(space, few)
        beyond_the_second = any(choice.name == "encoder_ffn.2" for choice in space.choices)
        assert more == 4 * space.workload.target_tokens + 1 + beyond_the_second


@pytest.mark.parametrize("border_ms", [0.0, 0.004])
def test_the_cost_of_a_border_is_found_by_pairs(border_ms: float) -> None:
    pairs = [benchmark.arranged(SPACE, SPACE.sample(random.Random(seed))) for seed in range(4)]
    known = {c: 0.1 + 0.002 * number for number, pair in enumerate(pairs) for c in pair}
    known = {c: ms + border_ms * benchmark.borders(SPACE, c) for c, ms in known.items()}
    found = benchmark.border_cost(SPACE, pairs, known)
    assert found.cost_us == pytest.approx(1000 * border_ms, abs=1e-6)
    assert found.standard_error_us == pytest.approx(0, abs=1e-6)
    assert (found.share > 0.1) == (border_ms > 0)
    assert found.pairs == 4


def test_the_fastest_precisions_are_those_of_all_there_are(tmp_path: Path) -> None:
    document = yaml.safe_load((Path(spaces.__file__).parent / "g2p.yaml").read_text())
    document["choices"] |= {"encoder_layers": [1], "decoder_layers": [1], "decoder_attended": [1]}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(document))
    space = benchmark.mixed_space(str(tmp_path / "small.yaml"))
    names = [choice.name for choice in space.choices if choice.precisions]
    assert len(names) == 6
    for seed in range(3):
        latency = TableLatency(space, FAMILY, made_up(space, seed))
        candidate = space.sample(random.Random(seed))
        every = [
            benchmark.in_bits(space, candidate, dict(zip(names, bits, strict=True)))
            for bits in itertools.product((8, 32), repeat=6)
        ]
        assert benchmark.fastest(space, latency, candidate) == min(every, key=latency.of)


def test_kinds_are_compared_size_by_size() -> None:
    lut = made_up(SPACE)
    rows = {o: replace(row, latency_ms=3.0 if o.precision == "fp32" else 2.0) for o, row in lut.rows.items()}
    found = benchmark.ratios(replace(lut, rows=rows))
    assert set(found) == {o.kind for o in lut.rows if o.precision != "fp32"}
    assert all(ratio == pytest.approx(2 / 3) for ratio in found.values())
