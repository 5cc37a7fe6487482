"""The seq2seq family as the rest of hwnas sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hwnas.families.base import Convention, Count, Term
from hwnas.families.seq2seq import count as counting
from hwnas.families.seq2seq import terms as listing
from hwnas.families.seq2seq.space import parse_space
from hwnas.space import Candidate, SearchSpace
from hwnas.workload import Workload

if TYPE_CHECKING:
    pass


class Seq2Seq:
    """HAT's encoder-decoder Transformer (Wang et al., ACL 2020); implements :class:`Family`."""

    def space(self, document: Mapping[str, Any]) -> SearchSpace:
        """See :func:`hwnas.families.seq2seq.space.parse_space`."""
        return parse_space(document)

    def terms(self, space: SearchSpace, workload: Workload) -> tuple[Term, ...]:
        """See :func:`hwnas.families.seq2seq.terms.terms`."""
        return listing.terms(space, workload)

    def count(
        self, space: SearchSpace, candidate: Candidate, workload: Workload, convention: Convention
    ) -> Count:
        """See :func:`hwnas.families.seq2seq.count.count`."""
        return counting.count(candidate, space.fixed["qkv"], workload, convention)

    def peak_memory_bytes(self, space: SearchSpace, candidate: Candidate, workload: Workload) -> int:
        """See :func:`hwnas.families.seq2seq.count.peak_memory_bytes`."""
        return counting.peak_memory_bytes(candidate, space.fixed["qkv"], workload)
