"""The benchmark of intervals asks the right models and counts right; what it measures is not tested here."""

from __future__ import annotations

import importlib
import random
from dataclasses import replace

import numpy as np
import pytest

from hwnas.latency import TableLatency
from tests.latency.tiny import TINY, TinyFamily, bounded_lut

intervals = importlib.import_module("benchmarks.intervals")
FAMILY = TinyFamily()


@pytest.fixture(scope="module")
def latency() -> TableLatency:
    return TableLatency(TINY, FAMILY, bounded_lut(0.01))


def test_fresh_candidates_are_none_of_the_tables() -> None:
    lut = bounded_lut()
    first = TINY.sample(random.Random("fresh"))
    known = replace(lut, models=tuple(replace(model, candidate=first.as_dict()) for model in lut.models))
    fresh = intervals.fresh_candidates(TINY, known, 10)
    assert len(set(fresh)) == 10
    assert first not in fresh


def test_accepted_candidates_are_what_a_search_accepts_just_below_a_limit(latency: TableLatency) -> None:
    taken = [TINY.extreme(0)]
    accepted = intervals.accepted_candidates(TINY, FAMILY, latency, 12, taken)
    assert len(accepted) == len({entry.candidate for entry in accepted}) >= 8
    assert len({entry.limit_ms for entry in accepted}) > 1
    for entry in accepted:
        genes = TINY.encode_many([entry.candidate])
        assert latency.upper_ms(genes, 0.95)[0] <= entry.limit_ms
        assert latency.latency_ms(genes)[0] > 0.9 * entry.limit_ms
        assert entry.candidate not in taken


def test_the_verdict_counts_what_was_measured(latency: TableLatency) -> None:
    fresh = intervals.fresh_candidates(TINY, latency.lut, 20)
    factors = np.exp(0.01 * np.random.default_rng(0).normal(size=20))
    truth = {c: latency.of(c) * f for c, f in zip(fresh, factors, strict=True)}
    near = intervals.accepted_candidates(TINY, FAMILY, latency, 8, [])
    below = {entry: 0.99 * entry.limit_ms for entry in near}
    good = intervals.judge(latency, truth, below)
    assert good.coverage == good.inside / 20 >= 0.9
    assert (good.broken, good.broken_lower_bound) == (0, 0.0)
    assert good.worst_excess == pytest.approx(-0.01)
    assert good.mean_error == pytest.approx(float(np.mean(np.abs(1 / factors - 1))))
    above = {entry: 1.02 * entry.limit_ms for entry in near}
    bad = intervals.judge(latency, {c: 2 * ms for c, ms in truth.items()}, above)
    assert (bad.inside, bad.broken, bad.met["coverage"], bad.met["limit"]) == (0, len(near), False, False)
    assert "NOT MET" in intervals.told(bad)


def test_a_table_that_accepts_nothing_ends_in_a_sentence(latency: TableLatency) -> None:
    fresh = intervals.fresh_candidates(TINY, latency.lut, 3)
    with pytest.raises(SystemExit, match="accepts no candidate"):
        intervals.judge(latency, {c: latency.of(c) for c in fresh}, {})
