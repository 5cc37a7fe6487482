"""Sums over terms as dense tables: a few gathers per candidate, and exact minima without enumerating.

Each term pays its weight when some choices have given indices. All terms that look at the same
choices make one *factor*: an array with one axis per choice. The sum of the factors at a gene is
what its candidate pays, so everything that is linear in the terms (prediction, and the
expectation under independent choices) follows from the factors alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.errors import SpaceError
from hwnas.families.base import Term
from hwnas.space import Genes, SearchSpace
from latency_luts import OperatorSpec

Array = npt.NDArray[np.float64]

LARGEST_TABLE = 1 << 16
"""Entries of a merged table: half a megabyte, which stays in the second-level cache."""
_LARGEST_ELIMINATION = 1 << 24
_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class Factor:
    """``table[i, j, ...]`` is paid when the choices (positions in the space, ascending) are i, j, ..."""

    choices: tuple[int, ...]
    table: Array


def compile_factors(
    space: SearchSpace, terms: Iterable[Term], weight: Callable[[OperatorSpec], float]
) -> tuple[Factor, ...]:
    """One factor per set of choices that some term looks at, each term worth ``count * weight``."""
    sizes = [len(choice.values) for choice in space.choices]
    tables: dict[tuple[int, ...], Array] = {}
    weights: dict[OperatorSpec, float] = {}
    for term in terms:
        if term.operator not in weights:
            weights[term.operator] = weight(term.operator)
        try:
            cell = sorted((space.index[name], index) for name, index in term.when.items())
        except KeyError as exc:
            raise SpaceError(f"a term of {term.operator} looks at {exc}, no choice of space {space.name!r}") from None
        choices = tuple(position for position, _ in cell)
        if choices not in tables:
            tables[choices] = np.zeros([sizes[position] for position in choices])
        tables[choices][tuple(index for _, index in cell)] += term.count * weights[term.operator]
    return tuple(Factor(choices, table) for choices, table in sorted(tables.items()))


def _add(factors: Sequence[Factor], sizes: Sequence[int]) -> Factor:
    """The sum of factors as one, over the union of their choices."""
    choices = tuple(sorted({position for factor in factors for position in factor.choices}))
    table = np.zeros([sizes[position] for position in choices])
    for factor in factors:
        table += factor.table.reshape([sizes[p] if p in factor.choices else 1 for p in choices])
    return Factor(choices, table)


def merge_factors(factors: Sequence[Factor], sizes: Sequence[int], largest: int) -> tuple[Factor, ...]:
    """Fewer factors with the same sum; those that grow least are merged, up to ``largest`` entries."""
    merged = list(factors)
    while len(merged) > 1:
        best: tuple[float, int, int, int] | None = None
        for i, first in enumerate(merged):
            for j in range(i + 1, len(merged)):
                union = set(first.choices) | set(merged[j].choices)
                entries = math.prod([sizes[position] for position in union])
                growth = entries / (first.table.size + merged[j].table.size)
                if entries <= largest and (best is None or (growth, entries, i, j) < best):
                    best = (growth, entries, i, j)
        if best is None:
            break
        _, _, i, j = best
        both = _add([merged[i], merged[j]], sizes)
        merged = [factor for k, factor in enumerate(merged) if k not in (i, j)] + [both]
    return tuple(merged)


class _Cells:
    """Where genes point to in tables of the given scopes; one matrix product for all of them."""

    def __init__(self, space: SearchSpace, scopes: Sequence[tuple[int, ...]]) -> None:
        self._sizes = np.array([len(choice.values) for choice in space.choices])
        entries = [math.prod(int(self._sizes[position]) for position in scope) for scope in scopes]
        # float32 holds whole numbers up to 2^24 exactly, and float64 up to 2^53: indices are exact
        exact = np.float32 if all(size < 1 << 24 for size in entries) else np.float64
        self._strides = np.zeros((len(self._sizes), len(scopes)), dtype=exact)
        for column, scope in enumerate(scopes):
            stride = 1
            for position in reversed(scope):
                self._strides[position, column] = stride
                stride *= int(self._sizes[position])

    def blocks(self, genes: Genes) -> Iterator[tuple[slice, npt.NDArray[np.intp]]]:
        """Some candidates at a time: which they are, and their cells, of shape (scopes, candidates).

        Raises :class:`SpaceError` for another number of choices or an index out of range.
        """
        if genes.ndim != 2 or genes.shape[1] != len(self._sizes):
            raise SpaceError(f"genes have shape {genes.shape}, not (candidates, {len(self._sizes)})")
        for start in range(0, len(genes), _BLOCK):
            block = genes[start : start + _BLOCK]
            if block.min(initial=0) < 0 or (block.max(axis=0, initial=0) >= self._sizes).any():
                raise SpaceError("a gene has an index that is not one of its choice's values")
            yield slice(start, start + _BLOCK), (block.astype(self._strides.dtype) @ self._strides).T.astype(np.intp)


class GatherSum:
    """``constant`` plus the factors' entries at each gene; a matrix product and a few gathers."""

    def __init__(self, space: SearchSpace, factors: Sequence[Factor], constant: float = 0.0) -> None:
        """Merge ``factors`` and lay them out one after another."""
        sizes = [len(choice.values) for choice in space.choices]
        merged = merge_factors([f for f in factors if f.choices], sizes, LARGEST_TABLE)
        self.constant = constant + sum(float(factor.table) for factor in factors if not factor.choices)
        self._tables = [np.ascontiguousarray(factor.table).reshape(-1) for factor in merged]
        self._cells = _Cells(space, [factor.choices for factor in merged])

    def __call__(self, genes: Genes) -> Array:
        """Sums for genes of shape (candidates, choices), any integer type; shape (candidates,).

        Raises :class:`SpaceError` for another number of choices or an index out of range.
        """
        total = np.full(len(genes), self.constant)
        for block, cells in self._cells.blocks(genes):
            part = total[block]
            for table, index in zip(self._tables, cells, strict=True):
                part += table.take(index)
        return total


class GatherCounts:
    """How often each gene pays each operator: what is not linear in the terms needs the counts themselves."""

    def __init__(self, space: SearchSpace, terms: Iterable[Term], operators: Sequence[OperatorSpec]) -> None:
        """``operators`` gives the columns, and must hold every operator of ``terms``."""
        column = {operator: position for position, operator in enumerate(operators)}
        by_operator: dict[OperatorSpec, list[Term]] = {}
        for term in terms:
            by_operator.setdefault(term.operator, []).append(term)
        scopes: dict[tuple[int, ...], list[tuple[int, Array]]] = {}
        for operator, its in by_operator.items():
            for factor in compile_factors(space, its, lambda _: 1.0):
                scopes.setdefault(factor.choices, []).append((column[operator], factor.table.reshape(-1)))
        self._columns = [np.array([number for number, _ in paid]) for paid in scopes.values()]
        self._tables = [np.column_stack([table for _, table in paid]) for paid in scopes.values()]
        self._cells = _Cells(space, list(scopes))
        self._operators = len(operators)

    def __call__(self, genes: Genes) -> Array:
        """Counts for genes of shape (candidates, choices); shape (candidates, operators)."""
        counts = np.zeros((len(genes), self._operators))
        for block, cells in self._cells.blocks(genes):
            part = counts[block]
            for columns, table, index in zip(self._columns, self._tables, cells, strict=True):
                part[:, columns] += table[index]
        return counts


def minimise(space: SearchSpace, factors: Sequence[Factor]) -> tuple[float, Genes] | None:
    """The smallest sum of the factors over the whole space and a gene that has it, exactly.

    Choices are eliminated one after another (min-sum variable elimination, cheapest first), so
    the work follows the widest set of choices that meet in a term, not the size of the space.
    ``None`` if that set is too wide.
    """
    sizes = [len(choice.values) for choice in space.choices]
    pending = list(factors)
    decisions: list[tuple[int, Factor]] = []
    left = {position for factor in factors for position in factor.choices}
    while left:
        unions = {
            position: {p for factor in pending if position in factor.choices for p in factor.choices}
            for position in left
        }
        entries = {position: math.prod([sizes[p] for p in unions[position]]) for position in left}
        position = min(left, key=lambda p: (entries[p], p))
        if entries[position] > _LARGEST_ELIMINATION:
            return None
        joint = _add([factor for factor in pending if position in factor.choices], sizes)
        axis = joint.choices.index(position)
        pending = [factor for factor in pending if position not in factor.choices]
        pending.append(Factor(tuple(p for p in joint.choices if p != position), joint.table.min(axis=axis)))
        decisions.append((position, joint))
        left.remove(position)
    gene = np.zeros(len(sizes), dtype=np.int64)
    for position, joint in reversed(decisions):
        cell = tuple(slice(None) if p == position else int(gene[p]) for p in joint.choices)
        gene[position] = int(np.argmin(joint.table[cell]))
    return sum(float(factor.table) for factor in pending), gene
