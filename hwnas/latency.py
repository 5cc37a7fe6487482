"""Latency of candidates from a table: calibrated, vectorised, with what a fresh measurement may show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property, partial

import numpy as np

from hwnas.factors import Array, Factor, GatherCounts, GatherSum, compile_factors, minimise
from hwnas.families.base import Family, Term
from hwnas.families.deployed import as_in_table
from hwnas.space import Candidate, Genes, SearchSpace
from hwnas.workload import Workload
from latency_luts import OperatorSpec, Uncertainty
from latency_luts.calibration import Calibration
from latency_luts.errors import LutError, MissingOperatorError
from latency_luts.table import LatencyLut, Subject


def operators_of(space: SearchSpace, family: Family, workload: Workload) -> tuple[OperatorSpec, ...]:
    """Every operator that any candidate of the space pays, once each, sorted: what to profile."""
    return tuple(sorted({term.operator for term in family.terms(space, workload)}))


def decompose(space: SearchSpace, family: Family, workload: Workload, candidate: Candidate) -> dict[OperatorSpec, int]:
    """How often a candidate pays each operator for one ``workload``."""
    return decompose_terms(space, family.terms(space, workload), candidate)


def decompose_terms(space: SearchSpace, terms: tuple[Term, ...], candidate: Candidate) -> dict[OperatorSpec, int]:
    """As :func:`decompose`, for terms already at hand."""
    gene = space.encode(candidate)
    paid: Counter[OperatorSpec] = Counter()
    for term in terms:
        if all(gene[space.index[name]] == index for name, index in term.when.items()):
            paid[term.operator] += term.count
    return {operator: paid[operator] for operator in sorted(paid) if paid[operator]}


class TableSum:
    """A sum over the operators that candidates pay, for many candidates at once; exact minimum and maximum.

    ``factors`` and ``constant`` are the compiled form: sum = constant + the factors at the gene.
    """

    def __init__(
        self,
        space: SearchSpace,
        terms: tuple[Term, ...],
        weight: Callable[[OperatorSpec], float],
        constant: float = 0.0,
    ) -> None:
        """``weight`` is what one call of an operator adds."""
        self.space, self.constant = space, constant
        self.factors: tuple[Factor, ...] = compile_factors(space, terms, weight)
        self._sum = GatherSum(space, self.factors, constant)

    def __call__(self, genes: Genes) -> Array:
        """For genes of shape (candidates, choices), any integer type; shape (candidates,)."""
        return self._sum(genes)

    def of(self, candidate: Candidate) -> float:
        """Of one candidate."""
        return float(self._sum(self.space.encode(candidate)[None])[0])

    def least(self) -> tuple[float, Candidate] | None:
        """The exact minimum over the whole space and who has it; ``None`` if terms are too entangled."""
        return self._extreme(1.0)

    def most(self) -> tuple[float, Candidate] | None:
        """The exact maximum over the whole space and who has it; ``None`` if terms are too entangled."""
        return self._extreme(-1.0)

    def _extreme(self, sign: float) -> tuple[float, Candidate] | None:
        found = minimise(self.space, [Factor(f.choices, sign * f.table) for f in self.factors])
        if found is None:
            return None
        value, gene = found
        return self.constant + sign * value, self.space.decode(gene)


class TableLatency:
    """The calibrated sum of a table, for many candidates at once (a ``BoundedLatency``).

    ``latency_ms`` of a candidate is exactly what ``calibration.predict(decompose(...))`` gives.
    """

    def __init__(
        self,
        space: SearchSpace,
        family: Family,
        lut: LatencyLut,
        calibration: Calibration | None = None,
        workload: Workload | None = None,
    ) -> None:
        """``calibration`` defaults to the table's own, else to its plain sum; ``workload`` to the space's.

        Raises :class:`latency_luts.LutMismatchError` if the table is for another space or
        workload, and :class:`latency_luts.MissingOperatorError` if it lacks operators of the space.
        """
        self.space, self.lut = space, lut
        self.workload = workload or space.workload
        lut.require(self.workload.as_dict(), Subject(space.name, space.fingerprint))
        self._calibration = calibration or lut.calibration
        self.calibration = self._calibration or Calibration.identity(lut.latencies_ms)
        self.terms = as_in_table(family, lut).terms(space, self.workload)
        _refuse_missing(lut, space, self.terms)
        self.sum = TableSum(space, self.terms, self.calibration.contribution_ms, self.calibration.constant_ms)

    @classmethod
    def from_lut(cls, space: SearchSpace, family: Family, lut: LatencyLut) -> TableLatency:
        """For the table's own workload, with the table's own calibration; raises as the constructor."""
        return cls(space, family, lut, workload=Workload.from_dict(lut.workload))

    def latency_ms(self, genes: Genes) -> Array:
        """Milliseconds for genes of shape (candidates, choices), any integer type; shape (candidates,)."""
        return self.sum(genes)

    def of(self, candidate: Candidate) -> float:
        """Milliseconds of one candidate."""
        return self.sum.of(candidate)

    @cached_property
    def uncertainty(self) -> Uncertainty:
        """How far predictions may be off; raises :class:`latency_luts.LutError` if the table cannot say."""
        return self.lut.uncertainty(self._calibration)

    @property
    def origin(self) -> str:
        """Where the numbers are from, to be shown with them."""
        return self.lut.origin

    @property
    def bounded(self) -> bool:
        """Whether there are intervals at all: for want of whole models, or of measurements, there are none."""
        try:
            return self.uncertainty is not None
        except LutError:
            return False

    @cached_property
    def _counts(self) -> GatherCounts:
        return GatherCounts(self.space, self.terms, self.uncertainty.operators)

    def interval_ms(self, genes: Genes, confidence: float = 0.95) -> Array:
        """What a fresh measurement of each lies between, so often; shape (candidates, 2).

        Raises :class:`latency_luts.LutError` if the table cannot say, as the methods below.
        """
        return self.uncertainty.interval_ms(self._counts(genes), confidence)

    def upper_ms(self, genes: Genes, confidence: float) -> Array:
        """What a fresh measurement of each stays below, so often; shape (candidates,)."""
        return self.uncertainty.upper_ms(self._counts(genes), confidence)

    def interval_of(self, candidate: Candidate, confidence: float = 0.95) -> tuple[float, float]:
        """What a fresh measurement of one candidate lies between, so often; nine digits that any process agrees on."""
        low, high = self.interval_ms(self.space.encode(candidate)[None], confidence)[0]
        return float(f"{low:.9g}"), float(f"{high:.9g}")

    def least_upper_ms(self, confidence: float) -> float | None:
        """What :meth:`upper_ms` of no candidate is below; ``None`` if terms are too entangled to tell."""
        fastest = self.fastest()
        if fastest is None:
            return None
        return fastest[0] * float(np.exp(self.uncertainty.quantile(confidence) * self.uncertainty.least_sd))

    def explain(self, candidate: Candidate) -> dict[str, float]:
        """Milliseconds by kind of operator, and of the ``constant``; they sum to the prediction."""
        shares = {"constant": self.sum.constant}
        for operator, count in decompose_terms(self.space, self.terms, candidate).items():
            cost_ms = count * self.calibration.contribution_ms(operator)
            shares[operator.kind] = shares.get(operator.kind, 0.0) + cost_ms
        return shares

    def fastest(self) -> tuple[float, Candidate] | None:
        """The exact minimum over the whole space and who has it; ``None`` if terms are too entangled."""
        return self.sum.least()

    def slowest(self) -> tuple[float, Candidate] | None:
        """The exact maximum over the whole space and who has it; ``None`` if terms are too entangled."""
        return self.sum.most()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the other numbers that the table has of every operator of the space."""
        known = [set(self.lut.rows[operator].metrics) for operator in {term.operator for term in self.terms}]
        return tuple(sorted(set.intersection(*known)))

    def metric(self, name: str) -> TableSum:
        """The plain sum of another number of the table's rows, like ``energy_mj``.

        Raises :class:`latency_luts.LutError` if an operator of the space has none such.
        """
        return TableSum(self.space, self.terms, partial(self.lut.metric, name))


def _refuse_missing(lut: LatencyLut, space: SearchSpace, terms: tuple[Term, ...]) -> None:
    missing = lut.missing(term.operator for term in terms)
    if missing:
        some = ", ".join(str(operator) for operator in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        why = f" ({lut.incomplete})" if lut.incomplete else ""
        raise MissingOperatorError(
            f"the table of {lut.target} lacks {some}{more}{why}; `hwnas profile --space {space.name}` measures them"
        )
