"""HAT's latency data sets as whole models of a table, and the whole models of a table as one of HAT's data sets."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import DataError
from hwnas.families import get_family
from hwnas.families.seq2seq.features import FEATURES, FeaturesOfGenes
from hwnas.families.seq2seq.hat_csv import from_hat, to_hat
from hwnas.latency import decompose
from hwnas.predictors.dataset import LATENCIES, read_latency_set
from hwnas.spaces import load_space
from latency_luts import LatencyLut, LutError, OperatorRow, Subject, WholeModel
from latency_luts.exchange import Origin
from profiler.target import Target

SPACE = load_space("hat_wmt14_ende")
FAMILY = get_family(SPACE.family)
ORIGIN = Origin(Target("titanxp", "pytorch", 1, "wall"), {}, Subject("", ""))


def hat_set(path: Path, rows: int = 25) -> Path:
    """A made-up data set of HAT's form."""
    rng = np.random.default_rng(0)
    lines = [",".join([*FEATURES, *LATENCIES])]
    for _ in range(rows):
        values = [640, 6, 2048 + 1024 * rng.random(), 6.5, 512, int(rng.integers(1, 7)), 1920.0, 2.5, 5.5, 1.5]
        lines.append(",".join(repr(float(v)) for v in [*values, *(5 * rng.random(2) + 1), *rng.random(2)]))
    path.write_text("\n".join(lines) + "\n")
    return path


def measured_table() -> LatencyLut:
    """Whole models of the space, with the latencies their operators sum to."""
    rng = random.Random(0)
    models = []
    for number in range(22):
        candidate = SPACE.sample(rng)
        operators = decompose(SPACE, FAMILY, SPACE.workload, candidate)
        latency_ms = 10.0 + number
        models.append(
            WholeModel(
                f"m{number:02}", "calibration", candidate.as_dict(), operators, latency_ms, (latency_ms,) * 2,
                16, 80, "sha", 0.0, interval_ms=(0.98 * latency_ms, 1.02 * latency_ms),
            )
        )  # fmt: skip
    operators = sorted({operator for model in models for operator in model.operators})
    rows = {op: OperatorRow(op, 0.1 + 0.01 * n, 16, 80, "sha", 0.0) for n, op in enumerate(operators)}
    subject = Subject(SPACE.name, SPACE.fingerprint)
    return LatencyLut(ORIGIN.target, SPACE.workload.as_dict(), subject, rows, tuple(models))


def test_a_set_of_hats_goes_in_and_comes_out_unchanged(tmp_path: Path) -> None:
    path = hat_set(tmp_path / "set.csv")
    from_hat(path, ORIGIN).save(tmp_path / "t.lut.jsonl")
    table = LatencyLut.load(tmp_path / "t.lut.jsonl")
    assert len(table.models) == 25
    assert not table.rows
    assert table.target == ORIGIN.target
    before = read_latency_set(path)
    np.testing.assert_array_equal([model.latency_ms for model in table.models], before.latency_ms)
    (tmp_path / "again.csv").write_text(to_hat(table, None, split=False))
    after = read_latency_set(tmp_path / "again.csv")
    for name in ("features", "encoder_ms", "decoder_ms", "encoder_std_ms", "decoder_std_ms"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_its_rows_calibrate_and_check_nothing(tmp_path: Path) -> None:
    table = from_hat(hat_set(tmp_path / "set.csv"), ORIGIN)
    with pytest.raises(LutError, match="0 whole models to calibrate on are too few"):
        table.calibrated()
    with pytest.raises(LutError, match="is a plain sum"):
        table.uncertainty()


def test_our_models_become_rows_whose_sum_is_what_was_measured(tmp_path: Path) -> None:
    table = measured_table()
    path = tmp_path / "ours.csv"
    path.write_text(to_hat(table, SPACE, split=True))
    rows = read_latency_set(path)
    np.testing.assert_allclose(rows.latency_ms, [model.latency_ms for model in table.models])
    genes = SPACE.encode_many(SPACE.candidate(model.candidate) for model in table.models)
    np.testing.assert_allclose(rows.features, FeaturesOfGenes(SPACE)(genes))
    shares = rows.encoder_ms / rows.latency_ms
    for share, model in zip(shares, table.models, strict=True):
        paid = {op: n * table.latency_ms(op) for op, n in model.operators.items()}
        encoder = sum(ms for op, ms in paid.items() if op.kind.startswith(("encoder", "source")))
        assert share == pytest.approx(encoder / sum(paid.values()))
    spread = 0.02 * rows.latency_ms / 1.959964 * 16**0.5 / 1.2533
    np.testing.assert_allclose(rows.encoder_std_ms + rows.decoder_std_ms, spread)


def test_what_hats_csv_cannot_say_is_refused() -> None:
    table = measured_table()
    with pytest.raises(DataError, match="wants encoder and decoder apart, but m00 was measured as a whole; --split"):
        to_hat(table, SPACE, split=False)
    with pytest.raises(DataError, match="name it with --space"):
        to_hat(table, None, split=True)
    with pytest.raises(DataError, match="has no whole model"):
        to_hat(replace(table, models=()), SPACE, split=True)
    bare = replace(table, models=tuple(replace(model, interval_ms=None) for model in table.models))
    with pytest.raises(DataError, match="tells no interval"):
        to_hat(bare, SPACE, split=True)
    engine = {"engine": "systolic", "version": "1", "configuration": "ab", "fidelity": "exact"}
    with pytest.raises(DataError, match="is estimated, which HAT's CSV cannot say"):
        to_hat(replace(table, source="estimated", provenance=engine), SPACE, split=True)
