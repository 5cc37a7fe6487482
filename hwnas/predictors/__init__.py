"""Latency of whole models, learnt from measurements of whole models: for who has no table."""

from hwnas.predictors.dataset import LatencySet, read_latency_set
from hwnas.predictors.evaluate import MODELS, Evaluation, FitRequest, Score, evaluate
from hwnas.predictors.latency import PredictorLatency
from hwnas.predictors.model_file import FittedModel
from hwnas.predictors.quarantine import Quarantine, Verdict, judge_rows

__all__ = [
    "MODELS",
    "Evaluation",
    "FitRequest",
    "FittedModel",
    "LatencySet",
    "PredictorLatency",
    "Quarantine",
    "Score",
    "Verdict",
    "evaluate",
    "judge_rows",
    "read_latency_set",
]
