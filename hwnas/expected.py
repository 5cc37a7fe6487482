"""Expected latency of an architecture that is still a distribution: exact, differentiable, from a table alone.

A calibrated prediction is a constant plus a sum of terms, each of which is paid when some choices have given
indices (:mod:`hwnas.factors`); a calibration adds a constant and weighs the terms, and no more. With independent
choices a term is paid with the product of its choices' probabilities, so

    E = constant + sum over terms of weight * product over the term's choices of p(choice = index)

is the expectation of the calibrated prediction itself, not a sum of averages per choice. On a single block whose
choice alone decides the operator it is ProxylessNAS's sum of p_j L_j (Cai et al. 2019, section 3.3.1), with
dE/dlogit_j = p_j (L_j - E). A choice of a layer that a candidate does not have is in no term of that depth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.best_runtime import BestRuntimeLatency
from hwnas.errors import InfeasibleError, SpaceError
from hwnas.factors import Factor
from hwnas.latency import TableLatency, TableSum
from hwnas.space import SearchSpace


class ExpectedLatency(nn.Module):
    """Expectation of a table's calibrated prediction, or of another sum over its rows like energy.

    It has no parameters and no state. ``table`` is the :class:`TableSum` it is the expectation of.
    """

    def __init__(self, latency: TableLatency | TableSum) -> None:
        """Raises :class:`SpaceError` if a term looks at a choice where that choice is inactive."""
        super().__init__()
        self.unit = "ms" if isinstance(latency, TableLatency) else ""
        self.table = latency.sum if isinstance(latency, TableLatency) else latency
        self._expectation = _Expectation([self.table])

    def forward(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Milliseconds (or the table's unit) of shape () or (batch,), in the probabilities' dtype.

        ``probabilities`` maps every choice of the space to its options' probabilities, of shape
        (options,) or (batch, options); those without a batch are the same for the whole batch.
        Computed in float64. Raises :class:`SpaceError` for another set of choices or another shape.
        """
        expected: Tensor = self._expectation(probabilities)
        return expected[..., 0]

    def require_reachable(self, target: float) -> None:
        """Raise :class:`InfeasibleError` for a target that no candidate is below, or none above.

        Exact; silent where the table's terms are too entangled to tell.
        """
        least, most = self.table.least(), self.table.most()
        if least is not None and most is not None and not least[0] <= target <= most[0]:
            unit = f" {self.unit}" if self.unit else ""
            raise InfeasibleError(
                f"a target of {target:.4g}{unit} is out of reach: candidates of space {self.table.space.name!r} have"
                f" {least[0]:.4g} to {most[0]:.4g}{unit}; choose one in between"
            )


class ExpectedLatencies(nn.Module):
    """Expectations for several devices (or of several metrics) at once; one pass over the union of their terms."""

    def __init__(self, each: Mapping[str, ExpectedLatency]) -> None:
        """Raises :class:`SpaceError` if there is none, or they are not all for the same space."""
        super().__init__()
        if not each:
            raise SpaceError("no tables to expect latencies from; give at least one")
        self.names = tuple(each)
        self._expectation = _Expectation([expected.table for expected in each.values()])

    def forward(self, probabilities: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By name; takes, returns and raises as :meth:`ExpectedLatency.forward`."""
        expected: Tensor = self._expectation(probabilities)
        return dict(zip(self.names, expected.unbind(-1), strict=True))


class LeastExpectedLatency(nn.Module):
    """The least of the expectations by several runtimes' tables: of a decided architecture the best runtime's latency.

    Of others it is at least what is expected of the best runtime, which may be another for each candidate. Its gradient
    is that of the runtime that is the fastest so far.
    """

    def __init__(self, latency: BestRuntimeLatency) -> None:
        """Raises as :class:`ExpectedLatency`."""
        super().__init__()
        self._expectation = _Expectation([model.sum for model in latency.models.values()])

    def forward(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Milliseconds; takes, returns and raises as :meth:`ExpectedLatency.forward`."""
        expected: Tensor = self._expectation(probabilities)
        return expected.amin(dim=-1)


class _Expectation(nn.Module):
    """All sums' cells: which probabilities each is the product of, and what each sum pays for it."""

    cells: Tensor  # (most choices of a term, cells): positions in the options of all choices, the last is always 1
    weights: Tensor  # (cells, sums)
    constants: Tensor  # (sums,)

    def __init__(self, sums: Sequence[TableSum]) -> None:
        super().__init__()
        space = sums[0].space
        for other in sums[1:]:
            if other.space.fingerprint != space.fingerprint:
                raise SpaceError(
                    f"tables of different spaces, {space.name!r} and {other.space.name!r}; all must be of one"
                )
        self._space = space
        self._sizes = {choice.name: len(choice.values) for choice in space.choices}
        starts = [0, *accumulate(self._sizes.values())]
        paid: dict[tuple[int, ...], list[float]] = {}
        constants = [table.constant for table in sums]
        for number, table in enumerate(sums):
            for factor in table.factors:
                _refuse_inactive(space, factor)
                for cell in np.argwhere(factor.table):
                    where = tuple(starts[p] + int(i) for p, i in zip(factor.choices, cell, strict=True))
                    paid.setdefault(where, [0.0] * len(sums))[number] += float(factor.table[tuple(cell)])
        for number, fixed in enumerate(paid.pop((), [])):
            constants[number] += fixed
        most = max(map(len, paid), default=1)
        cells = [where + (starts[-1],) * (most - len(where)) for where in paid]
        self.register_buffer("cells", torch.tensor(cells).reshape(-1, most).T.contiguous().long(), persistent=False)
        weights = torch.tensor(list(paid.values()), dtype=torch.float64).reshape(-1, len(sums))
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("constants", torch.tensor(constants, dtype=torch.float64), persistent=False)

    def forward(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Shape (sums,) or (batch, sums)."""
        self._check(probabilities)
        given = [probabilities[name] for name in self._sizes]
        batch = max((p.shape[:-1] for p in given), key=len)
        options = torch.cat([p.to(self.weights.dtype).expand(*batch, -1) for p in given], dim=-1)
        options = torch.cat([options, options.new_ones(*batch, 1)], dim=-1)
        paid = reduce(torch.mul, (options[..., positions] for positions in self.cells))
        return (paid @ self.weights + self.constants).to(given[0].dtype)

    def _check(self, probabilities: Mapping[str, Tensor]) -> None:
        if probabilities.keys() != self._sizes.keys():
            wrong = ", ".join(sorted(probabilities.keys() ^ self._sizes.keys()))
            raise SpaceError(f"probabilities must be given for every choice of space {self._space.name!r}; see {wrong}")
        for name, size in self._sizes.items():
            if probabilities[name].ndim not in (1, 2) or probabilities[name].shape[-1] != size:
                raise SpaceError(
                    f"probabilities of {name!r} have shape {tuple(probabilities[name].shape)},"
                    f" not ({size},) or (batch, {size})"
                )
        batches = {len(p) for p in probabilities.values() if p.ndim == 2}
        if len(batches) > 1:
            raise SpaceError(f"probabilities come in batches of {sorted(batches)}; all must be of one length")


def _refuse_inactive(space: SearchSpace, factor: Factor) -> None:
    """Raise :class:`SpaceError` if what is paid depends on a choice at a depth where it is inactive."""
    for axis, position in enumerate(factor.choices):
        choice = space.choices[position]
        if choice.when is None:
            continue
        gate, least = choice.when
        table = factor.table
        if space.index[gate] in factor.choices:
            values = space.choices[space.index[gate]].values
            inactive = [index for index, value in enumerate(values) if value < least]
            table = table.take(inactive, axis=factor.choices.index(space.index[gate]))
        if not (table == table.take([0], axis=axis)).all():
            raise SpaceError(
                f"terms of space {space.name!r} look at {choice.name!r} where it is inactive ({gate} below {least});"
                f" their `when` must name {gate!r} too"
            )
