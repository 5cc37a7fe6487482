"""To which operator a node of an exported model belongs: exporters keep the module's path in its name."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from hwnas.families.base import Family, Term
from hwnas.space import Candidate, SearchSpace
from latency_luts import OperatorSpec
from profiler.primitives import Primitive

Owner = tuple[str, OperatorSpec | None]
"""A kind of operator, and the one of them it is, where the node's layer tells."""


class Scopes:
    """The operators of one candidate by the module paths that its family names in ``scopes``."""

    def __init__(self, space: SearchSpace, family: Family, terms: tuple[Term, ...], candidate: Candidate) -> None:
        """A family without ``scopes`` owns no node."""
        self._kinds = dict(getattr(family, "scopes", {}))
        gene = space.encode(candidate)
        self._paid = [t for t in terms if all(gene[space.index[name]] == index for name, index in t.when.items())]

    def owners(self, nodes: Sequence[Primitive]) -> list[Owner | None]:
        """The owner of each node; one without a path that runs between two of one owner is its, too."""
        owners = [self._owner(node.name) for node in nodes]
        named = [index for index, owner in enumerate(owners) if owner is not None]
        for before, after in itertools.pairwise(named):
            if owners[before] == owners[after] and nodes[before].stage == nodes[after].stage:
                for between in range(before + 1, after):
                    if "/" not in nodes[between].name:
                        owners[between] = owners[before]
        return owners

    def _owner(self, name: str) -> Owner | None:
        for part in name.split("/"):
            module, _, layer = part.partition(".")
            kind = self._kinds.get(module)
            if kind is not None:
                return kind, self._operator(kind, layer)
        return None

    def _operator(self, kind: str, layer: str) -> OperatorSpec | None:
        terms = [term for term in self._paid if term.operator.kind == kind]
        if re.fullmatch(r"\d+", layer):
            terms = [term for term in terms if any(name.endswith(f".{layer}") for name in term.when)]
        found = {term.operator for term in terms}
        return found.pop() if len(found) == 1 else None
