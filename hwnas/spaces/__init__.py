"""The search spaces that ship, and how any space file is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hwnas.errors import SpaceError
from hwnas.families import get_family
from hwnas.space import SearchSpace

_SHIPPED = Path(__file__).parent


def shipped_spaces() -> tuple[str, ...]:
    """Names of the spaces that come with hwnas, sorted."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.yaml")))


def load_space(name_or_path: str | Path, *, family: str | None = None) -> SearchSpace:
    """The shipped space of that name, or the one in that YAML file.

    ``family`` (``seq2seq`` or ``package.module:Class``) overrides the family the file names.
    Raises :class:`SpaceError` for an unknown name, an unreadable file or an impossible space.
    """
    shipped = str(name_or_path) in shipped_spaces()
    path = _SHIPPED / f"{name_or_path}.yaml" if shipped else Path(name_or_path)
    document = _read(path, str(name_or_path))
    named = family or document.get("family")
    if not isinstance(named, str):
        raise SpaceError(f"{path}: names no family; add a line like 'family: seq2seq'")
    try:
        return get_family(named).space({**document, "family": named})
    except SpaceError as exc:
        raise SpaceError(f"{path}: {exc}") from exc


def _read(path: Path, asked: str) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(shipped_spaces())
        raise SpaceError(f"{asked!r} is neither a file nor a space that ships; known: {known}") from None
    except OSError as exc:
        raise SpaceError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise SpaceError(f"{path} is not YAML: it is not even text") from exc
    except (yaml.YAMLError, ValueError) as exc:  # a date that cannot be is a ValueError
        raise SpaceError(f"{path} is not YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise SpaceError(f"{path} is not a space: it must be a mapping with name, family, choices …")
    return document
