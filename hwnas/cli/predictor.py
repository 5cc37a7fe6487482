"""``hwnas predictor``: latency of whole models, learnt from measurements of whole models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, progress_bar, table
from hwnas.cli.options import (
    BatchOption,
    BeamOption,
    FamilyOption,
    JsonOption,
    SeedOption,
    SourceTokensOption,
    TargetTokensOption,
    VocabularyOption,
    load,
    workload_of,
)

app = typer.Typer(help="Latency learnt from whole models alone, as HAT does.", no_args_is_help=True)

SetArgument = Annotated[Path, typer.Argument(help="A CSV with HAT's 14 columns, in the order it was measured.")]


@app.command(epilog="Example: hwnas predictor fit wmt14ende_cpu_raspberrypi_all.csv --train-rows 100")
@guarded
def fit(
    rows: SetArgument,
    model: Annotated[
        str, typer.Option(help="structured (additive, robust), mlp (HAT's), gbdt, gp or flops.")
    ] = "structured",
    train_rows: Annotated[
        int | None, typer.Option("--train-rows", help="Rows to train on; else 80 % of the set, as HAT does.")
    ] = None,
    splits: Annotated[int, typer.Option(min=1, help="Random splits to test on.")] = 10,
    drift_corrected: Annotated[
        bool, typer.Option("--drift-corrected", help="Take out the drift that rows measured nearby show.")
    ] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Do not train on rows that are outliers; see outliers.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="File for the model; else SET.MODEL.predictor.json, here.")
    ] = None,
    batch: BatchOption = None,
    beam: BeamOption = None,
    source_tokens: SourceTokensOption = None,
    target_tokens: TargetTokensOption = None,
    vocabulary: VocabularyOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Fit a predictor on a set of measured models.

    It is tested on rows it has not seen, and written to a file.
    Errors are fractions (0.02 is 2 %), means over the splits. The model that is written is the
    first split's. The set does not say for which workload it was measured; unless you do, it is HAT's.
    """
    from hwnas.predictors import FitRequest, FittedModel, evaluate, read_latency_set
    from hwnas.spaces import load_space

    content = read_latency_set(rows)
    workload = workload_of(
        load_space("hat_latency").workload,
        batch=batch,
        beam=beam,
        source_tokens=source_tokens,
        target_tokens=target_tokens,
        vocabulary=vocabulary,
    )
    request = FitRequest(model, train_rows, splits, seed, drift_corrected, quarantine)
    with progress_bar(f"fitting {model}") as fitting:
        evaluation = evaluate(content, request, workload, fitting.update)
    path = out or Path(f"{rows.stem}.{model}.predictor.json")
    FittedModel.of(content, evaluation, workload).save(path)

    def text() -> str:
        mean, sd = evaluation.mean, evaluation.sd
        return (
            f"{content.name}, {model} on {evaluation.train_rows} rows, {splits} splits:"
            f" mean error {mean.mape:.2%} (sd {sd.mape:.2%}), within 5 %: {mean.within_5:.0%},"
            f" within 10 %: {mean.within_10:.0%}, Spearman {mean.spearman:.3f}\nmodel: {path}"
        )

    emit({**evaluation.as_dict(), "set": content.name, "out": str(path)}, json, text)


@app.command(epilog="Example: hwnas predictor outliers wmt14ende_cpu_raspberrypi_all.csv")
@guarded
def outliers(rows: SetArgument, json: JsonOption = False) -> None:
    """Say which rows of a set took too long for their sizes. Each row is judged by the rows before it.

    Rows are counted from 0, without the header.
    """
    from hwnas.predictors import judge_rows, read_latency_set
    from hwnas.predictors.quarantine import WARM_UP

    content = read_latency_set(rows)
    verdicts = judge_rows(content)
    flagged = [verdict for verdict in verdicts if verdict.flagged]
    document = {
        "set": content.name,
        "rows": len(content),
        "warm_up": WARM_UP,
        "flagged": [verdict.row for verdict in flagged],
        "verdicts": [verdict.as_dict() for verdict in verdicts],
    }

    def text() -> str:
        lines = [f"{content.name}: {len(flagged)} of {len(content)} rows took too long"]
        if flagged:
            ratios = [[v.row, f"{v.encoder_ratio:.2f}", f"{v.decoder_ratio:.2f}"] for v in flagged]
            lines.append(table(["row", "encoder, measured / fitted", "decoder, measured / fitted"], ratios))
        return "\n".join(lines)

    emit(document, json, text)


@app.command(epilog="Example: hwnas predictor predict pi.structured.predictor.json winner.yml --space hat_wmt14_ende")
@guarded
def predict(
    model: Annotated[Path, typer.Argument(help="A predictor made by hwnas predictor fit.")],
    candidates: Annotated[
        list[Path], typer.Argument(help="Candidate files: ours, or HAT's YAML. Or sets, to test it on all their rows.")
    ],
    space: Annotated[str, typer.Option("--space", help="The search space the candidates are from.")] = "hat_latency",
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Predict candidates' latency by a predictor.

    It holds for the device and the workload that the predictor's set was measured with.
    """
    from hwnas.candidates import read_candidate
    from hwnas.predictors import FittedModel, PredictorLatency, Score, read_latency_set

    fitted = FittedModel.load(model)
    loaded, _ = load(space, family)
    documents: list[dict[str, object]] = []
    lines = []
    for path in candidates:
        common = {"set": fitted.source.name, "workload": fitted.workload.as_dict()}
        if path.suffix == ".csv":
            rows = read_latency_set(path)
            predicted_ms = fitted.predictor.predict_ms(rows.features)
            score = Score.of(predicted_ms, rows.latency_ms)
            documents.append({"rows": str(path), "latency_ms": predicted_ms.tolist(), **score.as_dict(), **common})
            lines.append(f"{len(rows)} rows of {path}: mean error {score.mape:.2%}, Spearman {score.spearman:.3f}")
        else:
            latency_ms = PredictorLatency(loaded, fitted).of(read_candidate(path, loaded))
            documents.append({"candidate": str(path), "latency_ms": latency_ms, "mape": fitted.score.mape, **common})
            lines.append(f"{latency_ms:.4f} ms  {path}  (mean error on its test rows {fitted.score.mape:.1%})")
    emit(documents, json, "\n".join(lines))
