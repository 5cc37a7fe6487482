"""Latency lookup tables: operator keys, tables, calibration and prediction. Never imports torch."""

from latency_luts.calibration import Calibration
from latency_luts.errors import LutError, LutFormatError, LutMismatchError, MissingOperatorError
from latency_luts.operator import OperatorSpec
from latency_luts.report import CheckReport, check_report
from latency_luts.rows import DISPATCH, OperatorRow, WholeModel
from latency_luts.table import LatencyLut, Subject
from latency_luts.uncertainty import Coverage, Uncertainty

__all__ = [
    "DISPATCH",
    "Calibration",
    "CheckReport",
    "Coverage",
    "LatencyLut",
    "LutError",
    "LutFormatError",
    "LutMismatchError",
    "MissingOperatorError",
    "OperatorRow",
    "OperatorSpec",
    "Subject",
    "Uncertainty",
    "WholeModel",
    "check_report",
]
