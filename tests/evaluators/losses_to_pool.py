"""Loss functions that other processes can import; also run as a script that is stopped by a test."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import HwnasError
from hwnas.space import Candidate


def length(candidate: Candidate) -> float:
    return float(len(candidate.entries))


def refusing(candidate: Candidate) -> float:
    raise HwnasError(f"no loss for {candidate.key}")


@dataclass(frozen=True)
class Dying:
    """Ends its process ``times`` times, then is ``length``; ``folder`` has a file per death."""

    folder: Path
    times: int

    def __call__(self, candidate: Candidate) -> float:
        for death in range(self.times):
            try:
                (self.folder / f"died-{death}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        return length(candidate)


@dataclass(frozen=True)
class Hanging:
    """Opens a FIFO, which its process holds open as long as it lives, and never returns (``but`` for one)."""

    fifo: Path
    but: Candidate | None = None

    def __call__(self, candidate: Candidate) -> float:
        if candidate == self.but:
            return length(candidate)
        os.write(os.open(self.fifo, os.O_WRONLY), b"x")
        while True:
            signal.pause()


if __name__ == "__main__":
    from training.toy import SPACE

    from hwnas.evaluators.pool import LocalPool

    with LocalPool(Hanging(Path(sys.argv[1])), workers=2) as pool:
        list(pool([SPACE.extreme(0), SPACE.extreme(-1)]))
