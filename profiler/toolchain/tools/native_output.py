"""What native code prints, turned from the terminal to a file."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def printing_to(path: str) -> Iterator[None]:
    """Let ``path`` take what a converter or compiler prints; its native code knows only the descriptors.

    Afterwards both are what stderr was: stdout is the server's. An exception that leaves the block is told there too.
    """
    kept = os.dup(2)
    with Path(path).open("wb", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    try:
        yield
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os.dup2(kept, 1)
        os.dup2(kept, 2)
        os.close(kept)
