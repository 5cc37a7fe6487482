"""What makes a search this search: digests of the latencies it is judged by, and of what it leaves out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection

from hwnas.best_runtime import BestRuntimeLatency
from hwnas.device_limits import DeviceLimits
from hwnas.finalists import SearchLatency
from hwnas.predictors.latency import PredictorLatency
from hwnas.space import Candidate
from latency_luts import LatencyLut

BEST_OF = "best of "
"""Begins the digest of the least of several tables, whose own follow."""


def fingerprint_of_limits(limits: DeviceLimits) -> str:
    """Of every latency model that the limits, as they are searched, are judged by."""
    found = []
    for its in limits.devices.values():
        assert isinstance(its.latency, SearchLatency)
        found.append(_fingerprint(its.latency, its.confidence is not None))
    return "/".join(found)


def excluded(candidates: Collection[Candidate]) -> dict[str, object]:
    """What a journal's settings say of candidates that are left out; nothing, if there are none."""
    return {"excluded": _digest(sorted(candidate.key for candidate in candidates))} if candidates else {}


def _fingerprint(latency: SearchLatency, bounded: bool) -> str:
    if isinstance(latency, BestRuntimeLatency):
        return BEST_OF + "+".join(fingerprint_of(model.lut, bounded) for model in latency.models.values())
    return latency.fingerprint if isinstance(latency, PredictorLatency) else fingerprint_of(latency.lut, bounded)


def fingerprint_of(table: LatencyLut, bounded: bool = False) -> str:
    """Digest of a table's latencies and calibration: what predictions follow from; ``bounded``, their bounds too."""
    calibration = None if table.calibration is None else table.calibration.as_dict()
    content: list[object] = [sorted((str(spec), ms) for spec, ms in table.latencies_ms.items()), calibration]
    if bounded:
        content += [
            sorted((str(spec), row.interval_ms) for spec, row in table.rows.items()),
            sorted((model.role, model.model, model.latency_ms) for model in table.models),
            table.session_sd,
        ]
    return _digest(content)


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
