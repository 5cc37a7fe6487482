"""What is timed: one graph, or several in a row with loops, exactly as a deployed model runs them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from exporters import Artifact


@dataclass(frozen=True, slots=True)
class Stage:
    """One graph, run ``repeat`` times in a row.

    Inputs are taken, in this order of preference, from: ``carry`` (input name -> the output of
    this stage's previous iteration; zeros of the shape in ``initial`` before the first),
    ``feeds`` (input name -> ``"STAGE.OUTPUT"`` of an earlier stage's last iteration),
    ``counter`` (this input holds the iteration's number, int64 of shape (1,)), and otherwise
    from the artifact's reference inputs.
    """

    name: str
    artifact: Artifact
    repeat: int = 1
    feeds: Mapping[str, str] = field(default_factory=dict)
    carry: Mapping[str, str] = field(default_factory=dict)
    initial: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    counter: str | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """Stages run one after another; an operator is a program of one stage."""

    stages: tuple[Stage, ...]

    @classmethod
    def single(cls, artifact: Artifact) -> Program:
        """One call of one graph on its reference inputs."""
        return cls((Stage("graph", artifact),))

    @property
    def sha256(self) -> str:
        """Digest of the graphs' contents and of how they are wired."""
        content = [
            [s.name, s.artifact.sha256, s.repeat, sorted(s.feeds.items()), sorted(s.carry.items()),
             sorted(s.initial.items()), s.counter]
            for s in self.stages
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Size of the graphs on disk, a lower bound of the memory they take when loaded."""
        return sum(stage.artifact.size_bytes for stage in self.stages)
