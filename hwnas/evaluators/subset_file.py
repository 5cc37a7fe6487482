"""A chosen subset of validation pairs as a file that says what it was chosen for and how well it ranks: JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from hwnas.errors import SearchError
from hwnas.evaluators.subset import PairSubset
from hwnas.files import write_json

KIND, SCHEMA = "hwnas subset of pairs", 1


@dataclass(frozen=True, slots=True)
class SubsetOf:
    """What a subset is for: digests of space, data and SuperTransformer's weights, and the pairs there are."""

    space: str
    data: str
    weights: str
    pairs: int


@dataclass(frozen=True, slots=True)
class ChosenSubset:
    """A subset with what it was chosen by: ``candidates`` random ones evaluated on all pairs, and a seed.

    ``spearman`` and ``error`` are the :class:`~hwnas.evaluators.subset.Fidelity` of subsets of its size that are chosen
    as it was; ``share`` is that of all tokens, source and target, which evaluating on it reads.
    """

    subset: PairSubset
    of: SubsetOf
    candidates: int
    seed: int
    spearman: float
    error: float
    share: float

    @property
    def digest(self) -> str:
        """Of what a loss on it follows from."""
        return hashlib.sha256(json.dumps(asdict(self.subset)).encode()).hexdigest()[:16]

    @property
    def break_even(self) -> float:
        """How many candidates must be evaluated on it until choosing it has paid, in evaluations on all pairs."""
        return self.candidates / (1 - self.share)

    def summary(self) -> dict[str, object]:
        """JSON-able, without the pairs."""
        return {
            "pairs": len(self.subset.chosen),
            "of": self.of.pairs,
            "share": self.share,
            "spearman": self.spearman,
            "error": self.error,
            "candidates": self.candidates,
            "break_even": self.break_even,
            "seed": self.seed,
        }

    def require(self, wanted: SubsetOf) -> None:
        """Raises :class:`SearchError`, naming what differs, unless it was chosen for ``wanted``."""
        there, here = asdict(self.of), asdict(wanted)
        differing = [name for name in there if there[name] != here[name]]
        if differing:
            raise SearchError(
                f"the subset of pairs was chosen for another search: its {' and '.join(differing)} differ;"
                " make one for this with `hwnas subset`"
            )

    def save(self, path: Path) -> None:
        """Write it as JSON; an old file stays until the new one is complete."""
        write_json(path, {"kind": KIND, "schema": SCHEMA, **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote; raises :class:`SearchError` for any other file."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as exc:
            raise SearchError(f"{path} is not a subset of pairs: {exc}") from exc
        if not isinstance(document, Mapping) or document.get("kind") != KIND:
            raise SearchError(f"{path} is not a subset of pairs; `hwnas subset` makes one")
        if document.get("schema") != SCHEMA:
            raise SearchError(f"{path} has schema {document.get('schema')}, this hwnas reads {SCHEMA}; make it anew")
        try:
            kept = document["subset"]
            subset = PairSubset(
                tuple(int(number) for number in kept["chosen"]),
                tuple(float(weight) for weight in kept["weights"]),
                float(kept["offset"]),
            )
            of, rest = SubsetOf(**document["of"]), ("candidates", "seed", "spearman", "error", "share")
            known = cls(subset, of, *(document[name] for name in rest))
            sound = len(subset.chosen) == len(subset.weights) and set(subset.chosen) <= set(range(of.pairs))
        except (KeyError, TypeError, ValueError) as exc:
            raise SearchError(f"{path} is damaged ({exc}); make it anew with `hwnas subset`") from exc
        if not sound:
            raise SearchError(f"{path} is damaged (its pairs are not those it is of); make it anew with `hwnas subset`")
        return known
