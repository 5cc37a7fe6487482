from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predictors.generated_set import ENTRIES_MS, generated

from hwnas.families.seq2seq.features import count_parts
from hwnas.predictors.robust import fit_entries, fit_lowest_state


def test_entries_come_back_from_rows_without_noise() -> None:
    rows = generated(200, noise=0.0)
    np.testing.assert_allclose(fit_entries(count_parts(rows.features), rows.latency_ms), ENTRIES_MS, rtol=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_slow_rows_do_not_pull(share: float) -> None:
    factor = np.where(np.random.default_rng(0).random(400) < share, 1.3, 1.0)
    rows, clean = generated(400, factor=factor), generated(100, seed=9, noise=0.0)
    entries = fit_entries(count_parts(rows.features), rows.latency_ms)
    error = np.abs(count_parts(clean.features) @ entries / clean.latency_ms - 1)
    assert error.mean() < 0.006


def test_no_entry_is_negative_where_a_part_costs_nothing() -> None:
    rows = generated(60, noise=0.05, entries_ms=np.where(np.arange(12) % 2, ENTRIES_MS, 0.0))
    assert (fit_entries(count_parts(rows.features), rows.latency_ms) >= 0).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-4, 1e4))
def test_another_unit_of_time_scales_the_entries(seed: int, scale: float) -> None:
    rows = generated(50, seed=seed, noise=0.03)
    parts = count_parts(rows.features)
    plain, scaled = fit_entries(parts, rows.latency_ms), fit_entries(parts, scale * rows.latency_ms)
    np.testing.assert_allclose(parts @ scaled, scale * (parts @ plain), rtol=1e-4)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    rows = generated(50, seed=seed, noise=0.03)
    turned = rows.take(np.random.default_rng(seed).permutation(50))
    parts = count_parts(rows.features)
    first = parts @ fit_entries(parts, rows.latency_ms)
    second = parts @ fit_entries(count_parts(turned.features), turned.latency_ms)
    np.testing.assert_allclose(first, second, rtol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.85])
@pytest.mark.parametrize("slow", [1.6, 10.0])
def test_the_lowest_state_is_found_under_a_slow_majority(share: float, slow: float) -> None:
    rng = np.random.default_rng(1)
    factor = np.where(rng.random(120) < share, slow * np.exp(0.1 * rng.standard_normal(120)), 1.0)
    rows = generated(120, encoder_factor=factor, noise=0.02)
    parts = count_parts(rows.features)[:, :4]
    state = fit_lowest_state(parts, rows.encoder_ms)
    error = np.abs(parts @ state.entries / (rows.encoder_ms / factor) - 1)
    assert np.median(error) < 0.05


def test_a_few_rows_that_are_too_fast_are_no_state() -> None:
    rows = generated(300, encoder_factor=np.where(np.arange(300) % 100 == 7, 0.3, 1.0))
    parts = count_parts(rows.features)[:, :4]
    state = fit_lowest_state(parts, rows.encoder_ms)
    assert state.members == 297
    assert state.spread == pytest.approx(0.01, rel=0.2)
