"""Latency of candidates from a table: calibrated, vectorised, exact about what it does not know."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from hwnas.factors import Factor, GatherSum, compile_factors, minimise
from hwnas.families.base import Family, Term
from hwnas.space import Candidate, Genes, SearchSpace
from hwnas.workload import Workload
from latency_luts import OperatorSpec
from latency_luts.calibration import Calibration
from latency_luts.errors import MissingOperatorError
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


class TableLatency:
    """The calibrated sum of a table, for many candidates at once (a ``LatencyModel``).

    ``factors`` and ``constant_ms`` are the compiled form: latency = constant + sum of the
    factors at the gene, exactly what ``calibration.predict(decompose(...))`` gives.
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
        self.space = space
        self.workload = workload or space.workload
        lut.require(self.workload.as_dict(), Subject(space.name, space.fingerprint))
        self.calibration = calibration or lut.calibration or Calibration.identity(lut.latencies_ms)
        self.terms = family.terms(space, self.workload)
        _refuse_missing(lut, space, self.terms)
        self.constant_ms = self.calibration.constant_ms
        self.factors: tuple[Factor, ...] = compile_factors(space, self.terms, self.calibration.contribution_ms)
        self._sum = GatherSum(space, self.factors, self.constant_ms)

    @classmethod
    def from_lut(cls, space: SearchSpace, family: Family, lut: LatencyLut) -> TableLatency:
        """For the table's own workload, with the table's own calibration; raises as the constructor."""
        return cls(space, family, lut, workload=Workload.from_dict(lut.workload))

    def latency_ms(self, genes: Genes) -> npt.NDArray[np.float64]:
        """Milliseconds for genes of shape (candidates, choices), any integer type; shape (candidates,)."""
        return self._sum(genes)

    def of(self, candidate: Candidate) -> float:
        """Milliseconds of one candidate."""
        return float(self._sum(self.space.encode(candidate)[None])[0])

    def explain(self, candidate: Candidate) -> dict[str, float]:
        """Milliseconds by kind of operator, and of the ``constant``; they sum to the prediction."""
        shares = {"constant": self.constant_ms}
        for operator, count in decompose_terms(self.space, self.terms, candidate).items():
            cost_ms = count * self.calibration.contribution_ms(operator)
            shares[operator.kind] = shares.get(operator.kind, 0.0) + cost_ms
        return shares

    def fastest(self) -> tuple[float, Candidate] | None:
        """The exact minimum over the whole space and who has it; ``None`` if terms are too entangled."""
        return self._extreme(1.0)

    def slowest(self) -> tuple[float, Candidate] | None:
        """The exact maximum over the whole space and who has it; ``None`` if terms are too entangled."""
        return self._extreme(-1.0)

    def _extreme(self, sign: float) -> tuple[float, Candidate] | None:
        found = minimise(self.space, [Factor(f.choices, sign * f.table) for f in self.factors])
        if found is None:
            return None
        value, gene = found
        return self.constant_ms + sign * value, self.space.decode(gene)


def _refuse_missing(lut: LatencyLut, space: SearchSpace, terms: tuple[Term, ...]) -> None:
    missing = lut.missing(term.operator for term in terms)
    if missing:
        some = ", ".join(str(operator) for operator in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        why = f" ({lut.incomplete})" if lut.incomplete else ""
        raise MissingOperatorError(
            f"the table of {lut.target} lacks {some}{more}{why}; `hwnas profile --space {space.name}` measures them"
        )
