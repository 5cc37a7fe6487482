"""Search spaces: ordered, named choices; candidates as canonical values; genes as indices."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hwnas.errors import SpaceError
from hwnas.workload import Workload

Genes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision of a space.

    ``when=("decoder_layers", 3)`` makes it active only where the choice ``decoder_layers``,
    which stands earlier and is always active itself, has a value of at least 3. ``precisions``, where a
    choice is of one, tells what each of its values (a number of bits) stands for, like ``int8-dynamic``.
    """

    name: str
    values: tuple[int, ...]
    when: tuple[str, int] | None = None
    precisions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A SubTransformer: the values of the *active* choices, in the order of the space.

    Equal networks are equal values; it hashes, sorts and can be looked up: ``c["decoder_layers"]``.
    """

    entries: tuple[tuple[str, int], ...]

    def __getitem__(self, name: str) -> int:
        for key, value in self.entries:
            if key == name:
                return value
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self.entries)

    def as_dict(self) -> dict[str, int]:
        """The active choices by name."""
        return dict(self.entries)

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that name this candidate in files."""
        return hashlib.sha256(json.dumps(self.entries).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class SearchSpace:
    """An ordered list of choices, the sizes they share (``fixed``), and the default workload.

    Genes are integer arrays of shape ``(choices,)``, one index into ``values`` per choice; the
    gene of a candidate has 0 where a choice is inactive.
    """

    name: str
    family: str
    choices: tuple[Choice, ...]
    fixed: Mapping[str, int]
    workload: Workload

    def __post_init__(self) -> None:
        seen: dict[str, Choice] = {}
        for choice in self.choices:
            if choice.name in seen:
                raise SpaceError(f"space {self.name!r}: choice {choice.name!r} is given twice")
            if not choice.values or len(set(choice.values)) != len(choice.values):
                raise SpaceError(
                    f"space {self.name!r}: {choice.name!r} has no or repeated values: {list(choice.values)}"
                )
            if choice.when is not None:
                gate = seen.get(choice.when[0])
                if gate is None or gate.when is not None:
                    raise SpaceError(
                        f"space {self.name!r}: {choice.name!r} depends on {choice.when[0]!r},"
                        " which must stand before it and be always active"
                    )
            seen[choice.name] = choice

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Position of every choice by name."""
        return {choice.name: position for position, choice in enumerate(self.choices)}

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything that makes this space this space, but for its name."""
        content = [
            self.family,
            [(c.name, c.values, c.when, c.precisions)[: 4 if c.precisions else 3] for c in self.choices],
            sorted(self.fixed.items()),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    @cached_property
    def in_fp32(self) -> SearchSpace:
        """This space without its choices of precision, which weights do not depend on; itself if it has none."""
        choices = tuple(choice for choice in self.choices if not choice.precisions)
        return self if len(choices) == len(self.choices) else replace(self, choices=choices)

    @property
    def mixed(self) -> bool:
        """Whether precision is a choice here."""
        return self.in_fp32 is not self

    def size(self) -> int:
        """Number of different candidates."""
        gates = sorted({choice.when[0] for choice in self.choices if choice.when is not None})
        return self._size({}, gates)

    def _size(self, depths: dict[str, int], gates: list[str]) -> int:
        if gates:
            gate, *rest = gates
            values = self.choices[self.index[gate]].values
            return sum(self._size({**depths, gate: value}, rest) for value in values)
        total = 1
        for choice in self.choices:
            if choice.name not in depths and _active(choice, depths):
                total *= len(choice.values)
        return total

    def candidate(self, values: Mapping[str, int]) -> Candidate:
        """The canonical candidate with these values; entries of inactive choices are dropped.

        Raises :class:`SpaceError` for a value that is missing, unknown or not in the space.
        """
        unknown = sorted(set(values) - set(self.index))
        if unknown:
            raise SpaceError(f"{', '.join(unknown)}: not a choice of space {self.name!r}")
        entries: dict[str, int] = {}
        for choice in self.choices:
            if not _active(choice, entries):
                continue
            if choice.name not in values:
                raise SpaceError(f"candidate lacks {choice.name!r}; space {self.name!r} allows {list(choice.values)}")
            if values[choice.name] not in choice.values:
                raise SpaceError(
                    f"{choice.name} = {values[choice.name]} is not in space {self.name!r};"
                    f" it allows {list(choice.values)}"
                )
            entries[choice.name] = values[choice.name]
        return Candidate(tuple(entries.items()))

    def encode(self, candidate: Candidate) -> Genes:
        """Gene of a candidate; raises :class:`SpaceError` if it is not of this space."""
        values = self.candidate(candidate.as_dict()).as_dict()
        return np.array(
            [choice.values.index(values[choice.name]) if choice.name in values else 0 for choice in self.choices],
            dtype=np.int64,
        )

    def encode_many(self, candidates: Iterable[Candidate]) -> Genes:
        """Genes of shape ``(candidates, choices)``."""
        rows = [self.encode(candidate) for candidate in candidates]
        return np.stack(rows) if rows else np.empty((0, len(self.choices)), dtype=np.int64)

    def decode(self, gene: Sequence[int] | Genes) -> Candidate:
        """The canonical candidate of a gene, whatever stands at its inactive places."""
        if len(gene) != len(self.choices):
            raise SpaceError(f"a gene of space {self.name!r} has {len(self.choices)} entries, not {len(gene)}")
        entries: dict[str, int] = {}
        for choice, position in zip(self.choices, gene, strict=True):
            if _active(choice, entries):
                if not 0 <= position < len(choice.values):
                    raise SpaceError(f"{choice.name}: {position} is not one of its {len(choice.values)} choices")
                entries[choice.name] = choice.values[int(position)]
        return Candidate(tuple(entries.items()))

    def sample(self, rng: random.Random) -> Candidate:
        """A random candidate, every choice uniform (HAT, section 3.1: depth first, then its layers)."""
        return self.decode([rng.randrange(len(choice.values)) for choice in self.choices])

    def mutate(self, candidate: Candidate, rng: random.Random, probability: float) -> Candidate:
        """Each choice is drawn anew with ``probability``; layers that become active are drawn too."""
        known = candidate.as_dict()
        return self.decode(
            [
                rng.randrange(len(choice.values))
                if rng.random() < probability or choice.name not in known
                else choice.values.index(known[choice.name])
                for choice in self.choices
            ]
        )

    def crossover(self, first: Candidate, second: Candidate, rng: random.Random) -> Candidate:
        """Each choice from either parent with equal probability; from the one that has it, if only one."""
        a, b = first.as_dict(), second.as_dict()
        gene = []
        for choice in self.choices:
            one, other = (a, b) if rng.random() < 0.5 else (b, a)
            value = one.get(choice.name, other.get(choice.name))
            gene.append(0 if value is None else choice.values.index(value))
        return self.decode(gene)

    def extreme(self, which: int) -> Candidate:
        """The candidate with every choice at its smallest (0) or largest (-1) value."""
        return self.decode([choice.values.index(sorted(choice.values)[which]) for choice in self.choices])

    def __iter__(self) -> Iterator[Candidate]:
        """Every candidate once; only sensible for small spaces."""
        yield from self._enumerate({}, 0)

    def _enumerate(self, entries: dict[str, int], position: int) -> Iterator[Candidate]:
        if position == len(self.choices):
            yield Candidate(tuple(entries.items()))
            return
        choice = self.choices[position]
        if not _active(choice, entries):
            yield from self._enumerate(entries, position + 1)
            return
        for value in choice.values:
            yield from self._enumerate({**entries, choice.name: value}, position + 1)


def _active(choice: Choice, values: Mapping[str, int]) -> bool:
    return choice.when is None or values[choice.when[0]] >= choice.when[1]
