"""Candidates one choice away from another."""

from __future__ import annotations

import random

from hwnas.space import Candidate, SearchSpace


def neighbours(space: SearchSpace, candidate: Candidate, rng: random.Random) -> list[Candidate]:
    """Every candidate that differs in one active choice; what a changed depth makes active is drawn at random."""
    return [
        _changed(space, candidate, choice.name, value, rng)
        for choice in space.choices
        if choice.name in candidate
        for value in choice.values
        if value != candidate[choice.name]
    ]


def neighbour(space: SearchSpace, candidate: Candidate, rng: random.Random) -> Candidate:
    """One of them: the choice drawn at random, then its value (the candidate itself in a space of one)."""
    known = candidate.as_dict()
    free = [choice for choice in space.choices if choice.name in known and len(choice.values) > 1]
    if not free:
        return candidate
    choice = rng.choice(free)
    value = rng.choice([value for value in choice.values if value != known[choice.name]])
    return _changed(space, candidate, choice.name, value, rng)


def _changed(space: SearchSpace, candidate: Candidate, name: str, value: int, rng: random.Random) -> Candidate:
    values = candidate.as_dict() | {name: value}
    return space.decode(
        [
            choice.values.index(values[choice.name]) if choice.name in values else rng.randrange(len(choice.values))
            for choice in space.choices
        ]
    )
