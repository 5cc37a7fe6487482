"""Arrays of numbers inside JSON, exactly as they are."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def as_json(values: npt.NDArray[Any]) -> dict[str, object]:
    """Shape, type and the bytes of the numbers, little-endian, in base64."""
    content = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return {
        "shape": list(content.shape),
        "dtype": content.dtype.str,
        "base64": base64.b64encode(content.tobytes()).decode("ascii"),
    }


def from_json(document: Mapping[str, Any], kind: str = "f") -> npt.NDArray[Any]:
    """The inverse of :func:`as_json`; ``kind`` is what NumPy calls it (``f`` real, ``i`` whole numbers).

    Raises :class:`ValueError`, :class:`KeyError` or :class:`TypeError` for what is no such array.
    """
    dtype = np.dtype(document["dtype"])
    if dtype.kind != kind:
        raise ValueError(f"numbers of type {dtype} where {kind!r} is needed")
    content = base64.b64decode(document["base64"], validate=True)
    values = np.frombuffer(content, dtype).reshape(document["shape"]).astype(dtype.newbyteorder("="))
    if not np.isfinite(values).all():
        raise ValueError("numbers that are not finite")
    return values
