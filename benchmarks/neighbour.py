"""A neighbour on the machine: a process that comes and goes, computing and moving memory.

    with neighbour(core=1): ...

Its times of work and of rest come from a seed, so that two runs see the same kind of neighbour.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

LEAST_S, MOST_S = 1.0, 8.0
"""A stretch of work, or of rest, lasts so long."""


@contextmanager
def neighbour(core: int, seed: int = 0) -> Iterator[None]:
    """Keep a neighbour on ``core`` (where the system can pin a process) until the block ends."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.neighbour", str(core), str(seed)], env=environment)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _come_and_go(core: int, seed: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        with suppress(OSError):
            os.sched_setaffinity(0, {core})
    rng = random.Random(seed)
    stream = np.ones(32 * 2**20, dtype=np.uint8)
    target = np.empty_like(stream)
    square = np.ones((256, 256), dtype=np.float32)
    while True:
        until = time.monotonic() + rng.uniform(LEAST_S, MOST_S)
        moving = rng.random() < 0.5
        while time.monotonic() < until:
            if moving:
                np.copyto(target, stream)
            else:
                square @ square
        time.sleep(rng.uniform(LEAST_S, MOST_S))


if __name__ == "__main__":
    _come_and_go(int(sys.argv[1]), int(sys.argv[2]))
