"""Latency lookup tables: operator keys, tables, calibration and prediction. Never imports torch."""

from latency_luts.errors import LutError, LutFormatError, LutMismatchError, MissingOperatorError
from latency_luts.operator import OperatorSpec

__all__ = ["LutError", "LutFormatError", "LutMismatchError", "MissingOperatorError", "OperatorSpec"]
