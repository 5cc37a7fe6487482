"""Whole models of a table as rows of HAT's latency data sets (latency_dataset.py), both ways."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwnas.errors import DataError
from hwnas.families.seq2seq.features import FEATURES, FeaturesOfGenes
from hwnas.predictors.dataset import LATENCIES, read_latency_set
from hwnas.space import SearchSpace
from latency_luts import LatencyLut, OperatorSpec, WholeModel
from latency_luts.exchange import Origin

_OF_THE_ENCODER = ("encoder_", "source_")
"""Kinds of operators that HAT times with its encoder; all others are its decoder's."""
_TWO_SIDED_95 = 1.959964
_MEDIAN_TO_SD = 1.2533


def from_hat(path: Path, origin: Origin) -> LatencyLut:
    """The rows of one of HAT's CSVs as whole models, of role ``extra``, their 14 columns as metrics.

    They name no operators (averages over layers do not tell them), so they calibrate nothing; whole-model
    predictors are what learns from them. Raises :class:`DataError` for another file.
    """
    rows = read_latency_set(path)
    columns = np.column_stack(
        [rows.features, rows.encoder_ms, rows.decoder_ms, rows.encoder_std_ms, rows.decoder_std_ms]
    )
    names, digits = (*FEATURES, *LATENCIES), len(str(len(rows)))
    models = tuple(
        WholeModel(
            model=f"row{number:0{digits}}",
            role="extra",
            candidate={},
            operators={},
            latency_ms=float(latency_ms),
            halves_ms=None,
            rounds=0,
            samples=0,
            artifact_sha256="",
            parity_error=None,
            metrics=dict(zip(names, (float(value) for value in values), strict=True)),
        )
        for number, (values, latency_ms) in enumerate(zip(columns, rows.latency_ms, strict=True), start=1)
    )
    return LatencyLut(
        target=origin.target,
        workload=dict(origin.workload),
        subject=origin.subject,
        rows={},
        models=models,
        environment={"imported": {"file": path.name, "sha256": rows.sha256}},
        functional="HAT's: mean of the runs without the fastest and the slowest tenth, encoder and decoder apart",
    )


def to_hat(lut: LatencyLut, space: SearchSpace | None, split: bool) -> str:
    """The whole models of a table as HAT's CSV; those taken over from one give it back.

    HAT times encoder and decoder apart, we the whole: with ``split`` the measured whole is shared out as the
    table's operators share it, and the standard deviations are those of the rounds. Raises
    :class:`DataError` if that is not allowed, if ``space`` is needed and not given, or for a table that is not
    measured, which this format could not say.
    """
    if lut.source != "measured":
        raise DataError(f"the table of {lut.target} is {lut.source}, which HAT's CSV cannot say; export it as CSV")
    if not lut.models:
        raise DataError(f"the table of {lut.target} has no whole model, and HAT's CSV nothing else; profile with some")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FEATURES, *LATENCIES])
    for model in lut.models:
        if all(name in model.metrics for name in (*FEATURES, *LATENCIES)):
            writer.writerow([model.metrics[name] for name in (*FEATURES, *LATENCIES)])
            continue
        if not split:
            raise DataError(
                f"HAT's CSV wants encoder and decoder apart, but {model.model} was measured as a whole;"
                " --split-by-table shares it out as its operators do"
            )
        if space is None:
            raise DataError("HAT's CSV wants sizes, which follow from the search space; name it with --space")
        writer.writerow([*_features(space, model), *_shared_out(lut, model)])
    return text.getvalue()


def _features(space: SearchSpace, model: WholeModel) -> Sequence[float]:
    candidate = space.candidate(model.candidate)
    return [float(value) for value in FeaturesOfGenes(space)(space.encode_many([candidate]))[0]]


def _shared_out(lut: LatencyLut, model: WholeModel) -> list[float]:
    """Mean of encoder and of decoder, and the standard deviation of each over the rounds."""
    if model.interval_ms is None:
        raise DataError(f"{model.model} tells no interval, so HAT's CSV cannot tell its deviation; profile again")
    paid = {operator: count * lut.latency_ms(operator) for operator, count in model.operators.items()}
    share = sum(ms for operator, ms in paid.items() if _of_the_encoder(operator)) / sum(paid.values())
    error_ms = (model.interval_ms[1] - model.interval_ms[0]) / 2 / _TWO_SIDED_95
    spread_ms = error_ms * max(1, model.rounds) ** 0.5 / _MEDIAN_TO_SD  # the latency is a median over rounds
    parts = (share, 1 - share)
    return [*(part * model.latency_ms for part in parts), *(part * spread_ms for part in parts)]


def _of_the_encoder(operator: OperatorSpec) -> bool:
    return operator.kind.startswith(_OF_THE_ENCODER)
