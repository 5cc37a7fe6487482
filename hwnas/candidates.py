"""Candidate files and their spaces: the space a command names, the one the file names, or the file alone."""

from __future__ import annotations

from pathlib import Path

import yaml

from hwnas.families import get_family
from hwnas.families.base import Family
from hwnas.families.seq2seq.hat_yaml import hat_document, read_candidate, read_stand_alone
from hwnas.files import write_text
from hwnas.space import Candidate, SearchSpace
from hwnas.spaces import load_space
from hwnas.workload import Workload

__all__ = ["read_any_candidate", "read_candidate", "runtime_named_in", "write_candidate"]


def read_any_candidate(path: Path, space: str | None, family: str | None) -> tuple[SearchSpace, Family, Candidate]:
    """A candidate with its space: the one named, the one its file names, else the smallest that holds HAT's.

    Raises :class:`hwnas.errors.SpaceError` if the file cannot be read, is not of the space, or is not
    HAT's and no space is named.
    """
    named = space or _named_in(path, "space")
    if named is None:
        loaded, candidate = read_stand_alone(path, Workload())
        return loaded, get_family(loaded.family), candidate
    loaded = load_space(named, family=family)
    return loaded, get_family(loaded.family), read_candidate(path, loaded)


def write_candidate(
    path: Path, space: SearchSpace, candidate: Candidate, *, hat: bool = False, runtime: str | None = None
) -> None:
    """Write a candidate for people and for :func:`read_candidate`, or as HAT's own YAML; atomically.

    ``runtime`` is the one it was chosen for, if there were several.
    """
    if hat:
        write_text(path, hat_document(candidate))
    else:
        chosen_for = {} if runtime is None else {"runtime": runtime}
        document = {"space": space.name, **chosen_for, "choices": candidate.as_dict()}
        write_text(path, yaml.safe_dump(document, sort_keys=False))


def runtime_named_in(path: Path) -> str | None:
    """The runtime that a candidate was chosen for, where its file tells one."""
    return _named_in(path, "runtime")


def _named_in(path: Path, key: str) -> str | None:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None  # whoever reads the candidate says what is wrong with the file
    named = document.get(key) if isinstance(document, dict) else None
    return str(named) if named is not None else None
