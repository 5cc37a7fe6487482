"""How far two lists of numbers agree on an order."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def spearman(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Rank correlation (Spearman 1904), ties sharing their mean rank; 0 where either knows no order."""
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    first, second = (rankdata(values) - (np.size(values) + 1) / 2 for values in (one, other))
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / norm if norm else 0.0


def spearman_interval(correlation: float, number: int) -> tuple[float, float]:
    """Where a rank correlation seen on ``number`` things (at least 4) is likely to lie, 95 %.

    Fisher's transformation with the standard error of Bonett and Wright (Psychometrika 65, 2000).
    """
    middle = math.atanh(max(-0.9999999, min(0.9999999, correlation)))
    reach = 1.96 * math.sqrt((1 + correlation**2 / 2) / (number - 3))
    return math.tanh(middle - reach), math.tanh(middle + reach)
