"""Fits a GPU roofline to measured matrix products: its launch time and the two efficiencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from profiler.errors import SimulationError
from profiler.simulators.graph import MatrixProduct
from profiler.simulators.roofline import Calibration, Parameters, product_latency_s

FOLDS = 5
LEAST_POINTS = 10
_STARTS = (0.9, 0.4, 0.1)
"""Efficiencies to start from: the model has corners, and a start on the wrong side of one may stay there."""
_LEAST_EFFICIENCY, _MOST_LAUNCH_US, _LEAST_LAUNCH_US = 1e-4, 1e4, 1e-3


@dataclass(frozen=True, slots=True)
class MeasuredProduct:
    """A matrix product and how long it took on the real device."""

    product: MatrixProduct
    latency_ms: float


def fit(parameters: Parameters, points: Sequence[MeasuredProduct], source: str) -> Parameters:
    """``parameters`` with launch and efficiencies fitted to ``points``, and what that is worth.

    The sum of squared logarithms of predicted / measured is least. The error in ``calibration`` is
    of points left out of the fit, each once (:data:`FOLDS` folds, dealt in turn in the order given).
    Raises :class:`SimulationError` for fewer than :data:`LEAST_POINTS` points or one without time.
    """
    if len(points) < LEAST_POINTS:
        raise SimulationError(f"{len(points)} measured products are too few to fit; give {LEAST_POINTS} or more")
    for point in points:
        if not point.latency_ms > 0 or not math.isfinite(point.latency_ms):
            raise SimulationError(f"{point.product}: a latency of {point.latency_ms} ms cannot be; measure it again")
    errors = []
    for fold in range(FOLDS):
        fitted = _fitted(parameters, [point for at, point in enumerate(points) if at % FOLDS != fold])
        errors += [abs(_ratio(fitted, point) - 1) for point in points[fold::FOLDS]]
    calibration = Calibration(points=len(points), held_out_error=math.fsum(errors) / len(errors), source=source)
    return _fitted(parameters, points).model_copy(update={"calibration": calibration})


def _fitted(parameters: Parameters, points: Sequence[MeasuredProduct]) -> Parameters:
    from scipy.optimize import least_squares  # type: ignore[import-untyped]  # only fitting needs it

    def at(logarithms: Sequence[float]) -> Parameters:
        launch, compute, memory = (math.exp(value) for value in logarithms)
        return parameters.model_copy(
            update={"launch_us": launch, "compute_efficiency": compute, "memory_efficiency": memory}
        )

    def residuals(logarithms: Sequence[float]) -> list[float]:
        fitted = at(logarithms)
        return [math.log(_ratio(fitted, point)) for point in points]

    # the launch alone is at most what the fastest took
    fastest_us = min(max(min(point.latency_ms for point in points) * 1e3, 2 * _LEAST_LAUNCH_US), _MOST_LAUNCH_US)
    least = [math.log(_LEAST_LAUNCH_US), math.log(_LEAST_EFFICIENCY), math.log(_LEAST_EFFICIENCY)]
    most = [math.log(2 * fastest_us), 0.0, 0.0]
    found = [
        least_squares(residuals, [math.log(fastest_us / 2), math.log(compute), math.log(memory)], bounds=(least, most))
        for compute in _STARTS
        for memory in _STARTS
    ]
    return at(list(min(found, key=lambda one: float(one.cost)).x))


def _ratio(parameters: Parameters, point: MeasuredProduct) -> float:
    return product_latency_s(parameters, point.product) * 1e3 / point.latency_ms
