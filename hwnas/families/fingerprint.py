"""What tells artifacts of a family's older code from those of today's."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

from hwnas.families.base import Family
from hwnas.families.deployed import own_family


def code_fingerprint(family: Family) -> str:
    """Digest of the family's source and of torch's version: an artifact of older code is not reused.

    The shipped families count for every family, for one of the user's own may be made of their modules.
    """
    import torch

    import hwnas.families

    source = inspect.getsourcefile(type(own_family(family)))
    digest = hashlib.sha256(torch.__version__.encode())
    for file in sorted(Path(hwnas.families.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    if source is not None:
        beside = Path(source)
        package = sorted(beside.parent.glob("*.py")) if (beside.parent / "__init__.py").is_file() else [beside]
        for file in package:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
