"""Finding a family by its name, or the user's own by ``package.module:Class``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from hwnas.errors import SpaceError
from hwnas.families.base import Convention, Count, Family, FixedShapes, GraphStage, ModelGraphs, Term, Vocabularies

__all__ = [
    "Convention",
    "Count",
    "Family",
    "FixedShapes",
    "GraphStage",
    "ModelGraphs",
    "Term",
    "Vocabularies",
    "get_family",
]

_KNOWN = {"seq2seq": "hwnas.families.seq2seq.family:Seq2Seq"}


def get_family(name: str) -> Family:
    """The family called ``name``: ``seq2seq``, or ``package.module:Class`` of the user's own.

    A class of the user's own is looked for on ``sys.path`` and in the working directory.
    Raises :class:`SpaceError` if there is no such family.
    """
    module_name, separator, class_name = _KNOWN.get(name, name).partition(":")
    if not separator or not module_name or not class_name:
        known = ", ".join(sorted(_KNOWN))
        raise SpaceError(f"unknown family {name!r}; known: {known}, or your own as package.module:Class")
    try:
        module = _import(module_name)
    except (ImportError, SyntaxError, TypeError) as exc:  # TypeError: a relative name
        raise SpaceError(f"family {name!r} cannot be imported: {exc}") from exc
    try:
        family: Family = getattr(module, class_name)()
    except (AttributeError, TypeError) as exc:
        raise SpaceError(f"family {name!r}: {exc}") from exc
    return family


def _import(module_name: str) -> object:
    here = str(Path.cwd())
    if here not in sys.path and not module_name.startswith("hwnas."):
        sys.path.append(here)  # for good: a family may import its own files when they are first needed
    return importlib.import_module(module_name)
