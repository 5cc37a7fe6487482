"""How far two lists of numbers agree on an order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def spearman(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Rank correlation (Spearman 1904), ties sharing their mean rank; 0 where either knows no order."""
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    first, second = (rankdata(values) - (np.size(values) + 1) / 2 for values in (one, other))
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / norm if norm else 0.0
