"""Latency sets whose truth is known: HAT's space, known entries, and what is done to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwnas.families.seq2seq.features import ENCODER_PARTS, FEATURES, FeaturesOfGenes, count_parts
from hwnas.predictors.dataset import LATENCIES, LatencySet
from hwnas.spaces import load_space

Array = npt.NDArray[np.float64]

ENTRIES_MS = np.array([50.0, 12, 7, 1, 2000, 380, 70, 140, 11, 18, 20, 14])
"""About a Raspberry Pi's, in the order of PARTS."""


def random_features(rows: int, seed: int) -> Array:
    """Features (rows, 10) of random candidates of the space HAT's sets were drawn from."""
    space = load_space("hat_latency")
    rng = np.random.default_rng(seed)
    genes = np.column_stack([rng.integers(len(choice.values), size=rows) for choice in space.choices])
    return FeaturesOfGenes(space)(genes)


def generated(
    rows: int,
    seed: int = 0,
    *,
    noise: float = 0.01,
    encoder_factor: Array | float = 1.0,
    factor: Array | float = 1.0,
    entries_ms: Array = ENTRIES_MS,
) -> LatencySet:
    """Rows with Gaussian relative ``noise``; ``factor`` (rows,) is on all latencies, ``encoder_factor`` on its own."""
    rng = np.random.default_rng((seed, 1))
    features = random_features(rows, seed)
    parts, own = count_parts(features), len(ENCODER_PARTS)
    sides = [parts[:, :own] @ entries_ms[:own], parts[:, own:] @ entries_ms[own:]]
    encoder, decoder = (side * factor * np.exp(noise * rng.standard_normal(rows)) for side in sides)
    encoder = encoder * encoder_factor
    return LatencySet("generated", "0" * 64, features, encoder, decoder, 0.01 * encoder, 0.01 * decoder)


def write_set(path: Path, rows: LatencySet) -> Path:
    """As HAT writes it."""
    columns = (rows.features, rows.encoder_ms, rows.decoder_ms, rows.encoder_std_ms, rows.decoder_std_ms)
    lines = [",".join(map(repr, row)) for row in np.column_stack(columns).tolist()]
    path.write_text("\n".join([",".join(FEATURES + LATENCIES), *lines]) + "\n", encoding="utf-8")
    return path
