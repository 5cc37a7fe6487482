"""From the sum of a table to the latency of a whole model: an affine, non-negative correction.

    latency = a + b * calls + g * streamed + sum over classes c of s_c * sum(count * max(0, table - overhead))

A table entry is timed in a session of its own, so it contains one call of the runtime that the
whole model pays once, not once per operator. That overhead is between 1 and 1.5 times the time of
an empty graph measured in the same rounds (``dispatch``): the empty graph has one input and one
output, operators have more. ``s_c`` is what caches do: near 1 where all weights fit, above it
where they stream from memory in the whole model only; ``b`` what an operator costs a running graph
beyond its kernels. ``streamed`` is the MiB of weights that an operator timed alone finds in the
cache and a model larger than the cache has to fetch from memory, so ``g`` is an inverse bandwidth;
on models of 30 to 110 M parameters it halved the error that scaling alone left. Fitted on relative
error by non-negative least squares; with more than one class a weak ridge pulls the ``s_c`` towards a
common scale, so that five models are enough.

One class is the default because more did not help: on 0.15 to 0.5 ms models (60 of them, two
runs, 10 to calibrate and 50 held out, means over splits) nothing taken off gave 4.7 % error in the
first, the empty graph's time 3.0 and 2.0 %, the fitted overhead 2.1 and 1.7 %; two classes
(attention and the rest), or one per kind, then changed that by at most 0.1 points. Where a table has
several precisions each has a class, for their weights differ in size and caches serve them differently:
in three tables of fp32 and int8-dynamic that took the mean error on 58 fresh models from 3.3 to 2.8 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from latency_luts.errors import LutError, LutFormatError, MissingOperatorError
from latency_luts.operator import OperatorSpec
from latency_luts.report import CheckReport, check_report
from latency_luts.rows import WholeModel

Array = npt.NDArray[np.float64]

LEAST_MODELS = 3
_OVERHEADS = (1.0, 1.25, 1.5)
"""Overheads that are tried, in dispatches; larger ones fitted some splits to noise."""
_RIDGE = 0.03
"""Relative error per model that an ``s_c`` off the common scale by 1 is worth."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """``constant_ms`` is a, ``per_call_ms`` b, ``scales`` s by class; ``latencies_ms`` is the table.

    ``overhead_ms`` is what is taken off each table entry; ``per_streamed_mib_ms`` is g, and
    ``streamed_mib`` what a call of an operator streams in a whole model only (nothing, if it is
    not named).

    ``classes`` maps operator kinds, or precisions, to classes; what it does not name is of class ``"all"``.
    ``held_out`` is the leave-one-out report over the models it was fitted on (``None`` for an
    uncalibrated sum).
    """

    latencies_ms: Mapping[OperatorSpec, float] = field(repr=False)
    overhead_ms: float
    constant_ms: float
    per_call_ms: float
    scales: Mapping[str, float]
    classes: Mapping[str, str]
    models: int
    held_out: CheckReport | None
    per_streamed_mib_ms: float = 0.0
    streamed_mib: Mapping[OperatorSpec, float] = field(default_factory=dict, repr=False)

    @classmethod
    def identity(cls, latencies_ms: Mapping[OperatorSpec, float]) -> Calibration:
        """The plain sum of the table, nothing taken off and nothing added."""
        return cls(dict(latencies_ms), 0.0, 0.0, 0.0, {"all": 1.0}, {}, 0, None)

    @staticmethod
    def require_enough(models: int) -> None:
        """Raise :class:`LutError` if so many whole models are too few to fit on."""
        if models < LEAST_MODELS:
            raise LutError(
                f"{models} whole models to calibrate on are too few: at least {LEAST_MODELS} are needed"
                " (5 to 10 are better), or none for a plain sum; profile with more calibration models"
            )

    @classmethod
    def fit(
        cls,
        latencies_ms: Mapping[OperatorSpec, float],
        dispatch_ms: float,
        models: Sequence[WholeModel],
        *,
        classes: Mapping[str, str] | None = None,
        streamed_mib: Mapping[OperatorSpec, float] | None = None,
    ) -> Calibration:
        """Fit on ``models`` and carry the leave-one-out error.

        Raises :class:`LutError` for fewer than three models, and
        :class:`MissingOperatorError` if one of them pays an operator the table lacks.
        """
        cls.require_enough(len(models))
        classes, streamed_mib = dict(classes or {}), dict(streamed_mib or {})
        names = tuple(sorted({_class_of(op, classes) for model in models for op in model.operators}))
        overheads = [factor * dispatch_ms for factor in _OVERHEADS] if dispatch_ms else [0.0]
        rows = np.array(
            [
                [_features(model.operators, latencies_ms, overhead, streamed_mib, classes, names) for model in models]
                for overhead in overheads
            ]
        )
        truth = np.array([model.latency_ms for model in models])
        which, coefficients = _fit(rows, truth)
        held_out = None
        if len(models) > LEAST_MODELS:
            predicted = np.empty(len(models))
            for left_out in range(len(models)):
                keep = np.arange(len(models)) != left_out
                chosen, fitted = _fit(rows[:, keep], truth[keep])
                predicted[left_out] = rows[chosen, left_out] @ fitted
            held_out = check_report(models, predicted)
        constant, per_call, per_streamed, *scales = (float(value) for value in coefficients)
        return cls(
            latencies_ms=dict(latencies_ms),
            overhead_ms=overheads[which],
            constant_ms=constant,
            per_call_ms=per_call,
            scales=dict(zip(names, scales, strict=True)),
            classes=classes,
            models=len(models),
            held_out=held_out,
            per_streamed_mib_ms=per_streamed,
            streamed_mib=streamed_mib,
        )

    @property
    def coefficients(self) -> Array:
        """a, b, g and the scales in the order of their names, shape (3 + classes,)."""
        scales = [scale for _, scale in sorted(self.scales.items())]
        return np.array([self.constant_ms, self.per_call_ms, self.per_streamed_mib_ms, *scales])

    def features(self, operator: OperatorSpec) -> Array:
        """What one call of ``operator`` adds to the features that :attr:`coefficients` weigh, same shape.

        Raises :class:`MissingOperatorError` if the table lacks it.
        """
        if operator not in self.latencies_ms:
            raise MissingOperatorError(f"the table has no row for {operator}; profile it first")
        names = tuple(sorted(self.scales))
        return _parts(operator, self.latencies_ms, self.overhead_ms, self.streamed_mib, self.classes, names)

    def contribution_ms(self, operator: OperatorSpec) -> float:
        """What one call of ``operator`` adds to a prediction: predictions are constant_ms + a sum.

        Raises :class:`MissingOperatorError` if the table lacks it.
        """
        return _exact_sum(self.features(operator), self.coefficients)

    def predict(self, operators: Mapping[OperatorSpec, int]) -> float:
        """Milliseconds of a model that pays each operator so often."""
        return self.constant_ms + sum(n * self.contribution_ms(op) for op, n in operators.items())

    def evaluate(self, models: Sequence[WholeModel]) -> CheckReport:
        """How well it predicts ``models``, which should not be those it was fitted on."""
        return check_report(models, np.array([self.predict(model.operators) for model in models]))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], latencies_ms: Mapping[OperatorSpec, float]) -> Calibration:
        """The inverse of :meth:`as_dict`; raises :class:`LutFormatError` for what is none."""
        try:
            held_out = document["held_out"]
            return cls(
                latencies_ms=dict(latencies_ms),
                overhead_ms=float(document["overhead_ms"]),
                constant_ms=float(document["constant_ms"]),
                per_call_ms=float(document["per_call_ms"]),
                scales={str(name): float(scale) for name, scale in document["scales"].items()},
                classes={str(kind): str(name) for kind, name in document["classes"].items()},
                models=int(document["models"]),
                held_out=None if held_out is None else CheckReport.from_dict(held_out),
                per_streamed_mib_ms=float(document["per_streamed_mib_ms"]),
                streamed_mib={OperatorSpec.parse(op): float(mib) for op, mib in document["streamed_mib"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise LutFormatError(f"the table's calibration cannot be read ({exc!r})") from exc

    def as_dict(self) -> dict[str, object]:
        """The coefficients and the held-out error, as they stand in a table's header."""
        return {
            "overhead_ms": self.overhead_ms,
            "constant_ms": self.constant_ms,
            "per_call_ms": self.per_call_ms,
            "per_streamed_mib_ms": self.per_streamed_mib_ms,
            "streamed_mib": {str(operator): mib for operator, mib in sorted(self.streamed_mib.items())},
            "scales": dict(self.scales),
            "classes": dict(self.classes),
            "models": self.models,
            "held_out": None if self.held_out is None else self.held_out.as_dict(),
        }


def _exact_sum(values: Array, weights: Array) -> float:
    """Their product, summed exactly: a matrix product's last digit differs from one process to the next."""
    return math.fsum(value * weight for value, weight in zip(values.tolist(), weights.tolist(), strict=True))


def _features(
    operators: Mapping[OperatorSpec, int],
    latencies_ms: Mapping[OperatorSpec, float],
    overhead_ms: float,
    streamed_mib: Mapping[OperatorSpec, float],
    classes: Mapping[str, str],
    names: Sequence[str],
) -> Array:
    """Of a whole model, shape (3 + classes,): 1, number of calls, MiB streamed, sum of the table by class."""
    total = np.zeros(3 + len(names))
    total[0] = 1.0
    for operator, count in operators.items():
        if operator not in latencies_ms:
            raise MissingOperatorError(f"a calibration model pays {operator}, which the table lacks; profile it")
        total += count * _parts(operator, latencies_ms, overhead_ms, streamed_mib, classes, names)
    return total


def _class_of(operator: OperatorSpec, classes: Mapping[str, str]) -> str:
    return classes.get(operator.kind) or classes.get(operator.precision, "all")


def _parts(
    operator: OperatorSpec,
    latencies_ms: Mapping[OperatorSpec, float],
    overhead_ms: float,
    streamed_mib: Mapping[OperatorSpec, float],
    classes: Mapping[str, str],
    names: Sequence[str],
) -> Array:
    """Of one call, shape (3 + classes,); a class that no calibration model had weighs as the others' mean."""
    table_ms = max(0.0, latencies_ms[operator] - overhead_ms)
    name = _class_of(operator, classes)
    shares = [float(name == other) if name in names else 1 / len(names) for other in names]
    return np.array([0.0, 1.0, streamed_mib.get(operator, 0.0), *(share * table_ms for share in shares)])


def _fit(rows: Array, truth: Array) -> tuple[int, Array]:
    """Which overhead fits best, and its coefficients; rows of shape (overheads, models, 3 + classes)."""
    fits = [_solve(features, truth) for features in rows]
    errors = [np.mean((features @ fit / truth - 1) ** 2) for features, fit in zip(rows, fits, strict=True)]
    which = next(i for i, error in enumerate(errors) if error <= min(errors) + 1e-12)  # the least that fits
    return which, fits[which]


def _solve(features: Array, truth: Array) -> Array:
    """Non-negative coefficients of least relative error, the scales held near a common one."""
    from scipy.optimize import nnls  # type: ignore[import-untyped]  # predicting needs none of it

    models, columns = features.shape
    weighted = np.column_stack([features / truth[:, None], np.zeros(models)])  # last column: the common scale
    target = np.ones(models)
    if columns > 4:
        ridge = np.zeros((columns - 3, columns + 1))
        ridge[:, 3:columns] = np.eye(columns - 3)
        ridge[:, columns] = -1.0
        weighted = np.vstack([weighted, _RIDGE * np.sqrt(models) * ridge])
        target = np.concatenate([target, np.zeros(columns - 3)])
    size = np.linalg.norm(weighted, axis=0)
    size[size == 0] = 1.0
    solution, _ = nnls(weighted / size, target)
    coefficients: Array = (solution / size)[:columns]
    return coefficients
