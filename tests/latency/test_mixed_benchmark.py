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
from latency_luts import DISPATCH, Calibration, LatencyLut, OperatorRow, Subject, WholeModel
from profiler.target import Target

benchmark = importlib.import_module("benchmarks.mixed_precision")
FAMILY = get_family("seq2seq")
SPACE = load_space("g2p_mixed")


def made_up(space, seed=0, border_ms=0.0):
    """A table of random latencies, with fresh models that take what their operators say and more.

    That is 0.1 ms, 0.003 ms for every call in int8-dynamic, and ``border_ms`` for every border.
    """
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    operators = (DISPATCH, *operators_of(space, FAMILY, space.workload))
    rows = {o: OperatorRow(o, float(rng.uniform(0.01, 0.02)), 10, 50, f"sha-{o}", 1e-7) for o in sorted(operators)}
    target, subject = Target("here", "onnxruntime-1", 1, "thread_cpu"), Subject(space.name, space.fingerprint)
    plain = LatencyLut(target=target, workload=space.workload.as_dict(), subject=subject, rows=rows, rounds=10)
    models = []
    for number in range(12):
        candidate = space.sample(draw)
        paid = decompose(space, FAMILY, space.workload, candidate)
        latency_ms = sum(n * plain.latencies_ms[o] for o, n in paid.items()) + 0.1
        latency_ms += border_ms * benchmark.borders(space, candidate)
        latency_ms += 0.003 * sum(n for o, n in paid.items() if o.precision != "fp32")
        halves = (latency_ms, latency_ms)
        models.append(
            WholeModel(f"m{number}", "check", candidate.as_dict(), paid, latency_ms, halves, 10, 50, "sha", 0.0)
        )
    return replace(plain, models=tuple(models), calibration=Calibration.identity(plain.latencies_ms))


def test_borders_are_where_precision_changes_on_the_way_as_often_as_it_is_gone() -> None:
    assert benchmark.borders(SPACE, SPACE.extreme(-1)) == 0
    steps = SPACE.workload.target_tokens
    assert benchmark.borders(SPACE, benchmark.in_bits(SPACE, SPACE.extreme(-1), 8)) == 1 + steps
    largest = SPACE.extreme(-1).as_dict()
    assert benchmark.borders(SPACE, SPACE.candidate(largest | {"encoder_ffn_bits.1": 8})) == 2
    assert benchmark.borders(SPACE, SPACE.candidate(largest | {"encoder_ffn_bits.2": 8})) == 1
    assert benchmark.borders(SPACE, SPACE.candidate(largest | {"output_bits": 8})) == steps
    assert benchmark.borders(SPACE, SPACE.candidate(largest | {"decoder_cross_bits.0": 8})) == 2 * steps


@pytest.mark.parametrize("border_ms", [0.0, 0.004])
def test_the_cost_of_a_border_is_found_whatever_else_predictions_miss(border_ms: float) -> None:
    found = benchmark.border_cost(SPACE, made_up(SPACE, border_ms=border_ms))
    assert found.cost_us == pytest.approx(1000 * border_ms, abs=1e-6)
    assert found.standard_error_us < 1e-6


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
